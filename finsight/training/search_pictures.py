"""The pictures of a search, as PNG: losses by step, losses by parameter, the best so far."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from finsight.domain.forecaster_search import (
    SearchPlan,
    TrialRecord,
    TrialState,
    best_of,
    differing,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {
    TrialState.FINISHED: "#1f6f43",
    TrialState.STOPPED: "#b8b8b8",
    TrialState.OPEN: "#d98c1f",
    TrialState.FAILED: "#b00020",
}
_BEST = "#c2185b"


def search_pictures(plan: SearchPlan, records: Sequence[TrialRecord]) -> dict[str, bytes]:
    """Return PNG files by name; none where no trial has a loss yet."""
    judged = [record for record in records if math.isfinite(record.best)]
    best = best_of(judged)
    if best is None:
        return {}
    drawn = {
        "losses.png": _losses(plan, judged, best),
        "best-so-far.png": _best_so_far(plan, judged),
    }
    names = ["family", *differing(judged)] if len(plan.space.families) > 1 else differing(judged)
    if names:
        drawn["parameters.png"] = _parameters(plan, judged, best, names)
    return drawn


def _losses(plan: SearchPlan, records: Sequence[TrialRecord], best: TrialRecord) -> bytes:
    figure = _figure(9, 5)
    axes = figure.subplots()
    for record in records:
        is_best = record.number == best.number
        axes.plot(
            [one.step for one in record.losses],
            [one.loss for one in record.losses],
            color=_BEST if is_best else _COLOURS[record.state],
            linewidth=2.2 if is_best else 1.0,
            marker="o",
            markersize=3,
            zorder=3 if is_best else 2,
            label=f"trial {record.number}, the best" if is_best else None,
        )
    for state in {record.state: None for record in records}:
        axes.plot([], [], color=_COLOURS[state], label=str(state))
    _naive(axes)
    axes.set_xlabel("gradient steps")
    axes.set_ylabel("validation loss, naive = 1")
    axes.set_title(f"{plan.name}: every trial, step by step")
    axes.legend(fontsize=8)
    return _png(figure)


def _best_so_far(plan: SearchPlan, records: Sequence[TrialRecord]) -> bytes:
    ended = sorted((r for r in records if r.ended_s is not None), key=lambda r: r.ended_s or 0)
    figure = _figure(9, 4)
    axes = figure.subplots()
    minutes = [(record.ended_s or 0) / 60 for record in ended]
    losses = [record.best for record in ended]
    axes.scatter(minutes, losses, c=[_COLOURS[record.state] for record in ended], s=24, zorder=3)
    if ended:
        axes.step(minutes, list(accumulate(losses, min)), where="post", color=_BEST)
    _naive(axes)
    axes.set_xlabel("minutes of search")
    axes.set_ylabel("validation loss, naive = 1")
    axes.set_title(f"{plan.name}: the best so far, and each trial as it ended")
    return _png(figure)


def _parameters(
    plan: SearchPlan, records: Sequence[TrialRecord], best: TrialRecord, names: Sequence[str]
) -> bytes:
    """One small picture a parameter that differs: its values against the losses."""
    across = min(4, len(names))
    down = math.ceil(len(names) / across)
    figure = _figure(3.1 * across, 2.7 * down + 0.5)
    grid = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for axes, name in zip(grid, names, strict=False):
        having = [r for r in records if name == "family" or name in r.values]
        values = [str(r.recipe.family) if name == "family" else r.values[name] for r in having]
        labels = sorted(set(values))
        spread = name == "learning_rate"
        places = values if spread else [labels.index(value) for value in values]
        axes.scatter(
            places,
            [record.best for record in having],
            c=[_BEST if r.number == best.number else _COLOURS[r.state] for r in having],
            s=22,
        )
        if spread:
            axes.set_xscale("log")
        else:
            words = [x if isinstance(x, str) else f"{x:g}" for x in labels]
            axes.set_xticks(range(len(labels)), words)
        axes.set_xlabel(name)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    for row in range(down):
        grid[row * across].set_ylabel("loss, naive = 1")
    figure.suptitle(f"{plan.name}: which values went with which loss")
    return _png(figure)


def _naive(axes: Any) -> None:
    axes.axhline(1.0, color="#333", linewidth=1, linestyle="--", label="naive")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot: no window, no state shared by threads.
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    with io.BytesIO() as file:
        figure.savefig(file, format="png")
        return file.getvalue()
