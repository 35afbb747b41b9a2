"""Whether a forecaster beats the naive one, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.accuracy import wilson_interval
from finsight.domain.forecast_evaluation import MEDIAN, Scale, StepLosses, directions, step_losses
from finsight.domain.significance import FEWEST, diebold_mariano
from finsight.domain.timeframe import UtcDatetime, from_ms

SURE = 0.05
"""The p-value below which a difference counts as one."""


@dataclass(frozen=True)
class Outcomes:
    """Forecasts of many origins and series with what happened; one row an origin and series.

    `series` are keys and `origins` UTC milliseconds, shape (rows,); `quantiles` and `naive`
    (rows, horizon, len(QUANTILES)); `truth` (rows, horizon); `last` (rows,) the close at the
    origin. Origins are `every` candles apart.
    """

    series: np.ndarray
    origins: np.ndarray
    quantiles: np.ndarray
    naive: np.ndarray
    truth: np.ndarray
    last: np.ndarray
    scale: Scale
    every: int

    def of(self, rows: np.ndarray) -> Outcomes:
        """Those of `rows` alone, a mask or numbers."""
        return Outcomes(
            self.series[rows],
            self.origins[rows],
            self.quantiles[rows],
            self.naive[rows],
            self.truth[rows],
            self.last[rows],
            Scale(self.scale.absolute[rows], self.scale.square[rows]),
            self.every,
        )


class Measures(BaseModel):
    """How one forecaster did; `domain/forecast_evaluation.py` has the formulas."""

    model_config = ConfigDict(frozen=True)

    mase: float
    rmsse: float
    pinball: float
    coverage_80: float = Field(description="0.80 is right")
    coverage_95: float = Field(description="0.95 is right")
    width_80: float
    width_95: float


class Judgement(BaseModel):
    """A model beside naive, over all origins and steps or some of them.

    Units:
        series, step: None where it is over all of them; a step counts candles ahead.
        origins: forecasts; several series may share an origin's moment.
        independent: moments so far apart that no two forecasts share a candle. Intervals
            are reckoned with these alone: coins move together, and overlapping forecasts
            are wrong together.
        dm_p, dm_p_pinball: one-sided Diebold-Mariano, the chance to lose so much less than
            naive (absolute error of the median; pinball loss) without being better; small
            means better, near 1 worse. None with fewer than `significance.FEWEST` moments.
        direction_share: of the forecasts that said up or down, and it moved; with the 95 %
            Wilson interval of as many independent ones.
    """

    model_config = ConfigDict(frozen=True)

    series: str | None = None
    step: int | None = None
    origins: int
    independent: int
    model: Measures
    naive: Measures
    mase_ratio: float | None
    pinball_ratio: float | None
    dm_p: float | None
    dm_p_pinball: float | None
    directions: int
    direction_share: float | None
    direction_low: float | None
    direction_high: float | None


class ForecasterVerdict(BaseModel):
    """What is said of a forecaster once it was judged; `words` is the same for a reader."""

    model_config = ConfigDict(frozen=True)

    name: str
    first_origin: UtcDatetime
    last_origin: UtcDatetime
    horizon: int
    every: int
    beats_naive: bool
    words: tuple[str, ...]
    overall: Judgement
    by_series: tuple[Judgement, ...]
    by_step: tuple[Judgement, ...]


def verdict_on(name: str, outcomes: Outcomes) -> ForecasterVerdict:
    """Judge at least one outcome, all of them with a scale; `name` is the model's."""
    horizon = outcomes.truth.shape[1]
    overall = judgement(outcomes)
    by_series = tuple(
        judgement(outcomes.of(outcomes.series == key), series=str(key))
        for key in np.unique(outcomes.series)
    )
    return ForecasterVerdict(
        name=name,
        first_origin=from_ms(int(outcomes.origins.min())),
        last_origin=from_ms(int(outcomes.origins.max())),
        horizon=horizon,
        every=outcomes.every,
        beats_naive=overall.dm_p is not None and overall.dm_p < SURE,
        words=tuple(_words(name, overall, by_series)),
        overall=overall,
        by_series=by_series,
        by_step=tuple(judgement(outcomes, step=step) for step in shown_steps(horizon)),
    )


def shown_steps(horizon: int) -> list[int]:
    """The steps that are told of: the first, some between, and the last."""
    return sorted({1, horizon, *(step for step in (6, 12, 24, 48, 96, 168, 336) if step < horizon)})


def judgement(
    outcomes: Outcomes, *, series: str | None = None, step: int | None = None
) -> Judgement:
    """Judge `outcomes`, or one `step` of them; `series` only names the answer."""
    steps = slice(None) if step is None else slice(step - 1, step)
    truth, quantiles = outcomes.truth[:, steps], outcomes.quantiles[:, steps]
    ours = step_losses(quantiles, truth, outcomes.scale)
    theirs = step_losses(outcomes.naive[:, steps], truth, outcomes.scale)
    model, naive = measures(ours), measures(theirs)
    span = math.ceil((step or outcomes.truth.shape[1]) / outcomes.every)
    independent = math.ceil(len(np.unique(outcomes.origins)) / span)
    right = directions(quantiles[:, -1, MEDIAN], truth[:, -1], outcomes.last)
    right = right[~np.isnan(right)]
    low, high = _direction_interval(right, independent / len(outcomes.origins))
    return Judgement(
        series=series,
        step=step,
        origins=len(outcomes.origins),
        independent=independent,
        model=model,
        naive=naive,
        mase_ratio=model.mase / naive.mase if naive.mase else None,
        pinball_ratio=model.pinball / naive.pinball if naive.pinball else None,
        dm_p=_better(ours.absolute, theirs.absolute, outcomes.origins, span),
        dm_p_pinball=_better(ours.pinball, theirs.pinball, outcomes.origins, span),
        directions=len(right),
        direction_share=float(right.mean()) if len(right) else None,
        direction_low=low,
        direction_high=high,
    )


def measures(losses: StepLosses) -> Measures:
    """The means over all origins and steps of `losses`."""
    return Measures(
        mase=float(losses.absolute.mean()),
        rmsse=float(np.sqrt(losses.square.mean())),
        pinball=float(losses.pinball.mean()),
        coverage_80=float(losses.inside_80.mean()),
        coverage_95=float(losses.inside_95.mean()),
        width_80=float(losses.width_80.mean()),
        width_95=float(losses.width_95.mean()),
    )


def _better(ours: np.ndarray, theirs: np.ndarray, origins: np.ndarray, span: int) -> float | None:
    """One number a moment: the mean over the series that have it, so that none counts twice."""
    _, places, counts = np.unique(origins, return_inverse=True, return_counts=True)
    if len(counts) < FEWEST:
        return None

    def by_moment(losses: np.ndarray) -> np.ndarray:
        summed: np.ndarray = np.bincount(places, losses.mean(axis=1)) / counts
        return summed

    return diebold_mariano(by_moment(ours), by_moment(theirs), span).p_value


def _direction_interval(right: np.ndarray, share: float) -> tuple[float | None, float | None]:
    if not len(right):
        return None, None
    counted = max(1, round(len(right) * min(share, 1.0)))
    return wilson_interval(round(float(right.mean()) * counted), counted)


def _words(name: str, overall: Judgement, by_series: Sequence[Judgement]) -> list[str]:
    model, naive = overall.model, overall.naive
    words = [
        f"{name} {_compared('MASE', overall.mase_ratio, overall.dm_p)}",
        "with its intervals it "
        + _compared("pinball", overall.pinball_ratio, overall.dm_p_pinball),
        f"its 80 % interval held {model.coverage_80:.1%} of closes and its 95 % interval "
        f"{model.coverage_95:.1%}; naive's {naive.coverage_80:.1%} and {naive.coverage_95:.1%}",
    ]
    if overall.direction_share is None:
        words.append("it never said a direction: its median is the last close")
    else:
        words.append(
            f"direction right in {overall.direction_share:.1%} of {overall.directions:,} forecasts "
            f"(95 % interval {overall.direction_low:.1%} to {overall.direction_high:.1%}, reckoned "
            f"with {overall.independent:,} moments that don't overlap; a coin reaches 50 %)"
        )
    better = [one.series for one in by_series if one.dm_p is not None and one.dm_p < SURE]
    if len(by_series) > 1:
        words.append(
            f"taken one by one it beats naive on {len(better)} of {len(by_series)} series; by "
            f"luck alone it would on {SURE * len(by_series):.1f}"
        )
    return words


def _compared(measure: str, ratio: float | None, p_value: float | None) -> str:
    if ratio is None or p_value is None:
        return f"can't be compared with naive: fewer than {FEWEST} moments, or closes that stood"
    figures = f"{measure} ratio {ratio:.3f}, Diebold-Mariano p = {p_value:.2g}"
    if p_value < SURE:
        return f"beats naive: {figures}"
    worse = ", and is surely worse" if p_value > 1 - SURE else ""
    return f"does not beat naive{worse}: {figures}"
