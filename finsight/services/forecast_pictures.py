"""The pictures of a forecaster that was judged, as PNG files."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np

from finsight.domain.forecast_evaluation import (
    HIGH_80,
    HIGH_95,
    LOW_80,
    LOW_95,
    MEDIAN,
    step_losses,
)
from finsight.domain.forecast_verdict import Outcomes
from finsight.domain.timeframe import from_ms

_OURS, _NAIVE, _TRUE = "#1f5fa8", "#c0651a", "#222222"
_POINTS_OVER_TIME = 24


def pictures_of(name: str, outcomes: Outcomes) -> dict[str, bytes]:
    """Draw them, by file name; `name` is the model's."""
    losses = step_losses(outcomes.quantiles, outcomes.truth, outcomes.scale)
    by_origin = losses.pinball.mean(axis=1)
    worst = int(by_origin.argmax())
    typical = int(np.argsort(by_origin, kind="stable")[(len(by_origin) - 1) // 2])
    return {
        "worst_forecast.png": _forecast(name, "the worst forecast", outcomes, worst),
        "typical_forecast.png": _forecast(name, "the median loss", outcomes, typical),
        "error_by_step.png": _error_by_step(name, outcomes),
        "coverage_over_time.png": _coverage_over_time(name, outcomes),
    }


def _forecast(name: str, which: str, outcomes: Outcomes, row: int) -> bytes:
    path, naive = outcomes.quantiles[row], outcomes.naive[row]
    steps = np.arange(len(path) + 1)
    last, moment = outcomes.last[row], from_ms(int(outcomes.origins[row]))

    def from_origin(values: np.ndarray) -> np.ndarray:
        return np.concatenate([[last], values])

    def draw(axes: Any) -> None:
        for low, high, opacity in ((LOW_95, HIGH_95, 0.15), (LOW_80, HIGH_80, 0.3)):
            axes.fill_between(
                steps,
                from_origin(path[:, low]),
                from_origin(path[:, high]),
                color=_OURS,
                alpha=opacity,
                linewidth=0,
                label=f"{'95' if low == LOW_95 else '80'} % interval",
            )
        axes.plot(steps, from_origin(path[:, MEDIAN]), color=_OURS, label=name)
        axes.plot(steps, from_origin(naive[:, MEDIAN]), color=_NAIVE, ls="--", label="naive")
        for end in (LOW_80, HIGH_80):
            axes.plot(steps, from_origin(naive[:, end]), color=_NAIVE, ls=":", linewidth=1)
        axes.plot(steps, from_origin(outcomes.truth[row]), color=_TRUE, label="what happened")
        axes.set(
            title=f"{outcomes.series[row]} from {moment:%Y-%m-%d %H:%M} UTC: {which}",
            xlabel="candles ahead (dotted: naive's 80 % interval)",
            ylabel="close",
        )

    return _png(draw)


def _error_by_step(name: str, outcomes: Outcomes) -> bytes:
    ours = step_losses(outcomes.quantiles, outcomes.truth, outcomes.scale).absolute.mean(axis=0)
    naive = step_losses(outcomes.naive, outcomes.truth, outcomes.scale).absolute.mean(axis=0)
    steps = np.arange(1, len(ours) + 1)

    def draw(axes: Any) -> None:
        axes.plot(steps, ours, color=_OURS, marker=".", label=name)
        axes.plot(steps, naive, color=_NAIVE, marker=".", ls="--", label="naive")
        axes.set(title="error of the median by step", xlabel="candles ahead", ylabel="MASE")
        axes.set_ylim(bottom=0)

    return _png(draw)


def _coverage_over_time(name: str, outcomes: Outcomes) -> bytes:
    order = np.argsort(outcomes.origins, kind="stable")
    parts = np.array_split(order, min(_POINTS_OVER_TIME, len(order)))
    times = [from_ms(int(outcomes.origins[part].mean())) for part in parts]
    ours = step_losses(outcomes.quantiles, outcomes.truth, outcomes.scale)
    naive = step_losses(outcomes.naive, outcomes.truth, outcomes.scale)

    def draw(axes: Any) -> None:
        for share, mine, theirs in (
            (0.95, ours.inside_95, naive.inside_95),
            (0.80, ours.inside_80, naive.inside_80),
        ):
            axes.axhline(share, color="#999999", linewidth=1)
            axes.plot(
                times,
                [mine[part].mean() for part in parts],
                color=_OURS,
                marker=".",
                label=f"{name}, {share:.0%}",
            )
            axes.plot(
                times,
                [theirs[part].mean() for part in parts],
                color=_NAIVE,
                marker=".",
                ls="--",
                label=f"naive, {share:.0%}",
            )
        axes.set(title="closes inside the intervals, over time", ylabel="share")
        axes.set_ylim(0.0, 1.02)
        axes.figure.autofmt_xdate()

    return _png(draw)


def _png(draw: Callable[[Any], None]) -> bytes:
    # Without pyplot: nothing global, no window, and safe in any thread.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.25)
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()
