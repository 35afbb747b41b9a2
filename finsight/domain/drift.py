"""Whether what a model sees, or how wrong it is, is not what it was when it learnt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import Timeframe, UtcDatetime

MODERATE, LARGE = 0.10, 0.25
"""From where on a PSI is read as "watch it" and as "another population"."""
BINS = 10
FEWEST = 50
"""Values of either side below which a PSI says nothing."""
FEWEST_ERRORS = 10
ERROR_LEVEL = 0.01
"""How likely chance alone may be where errors are said to have drifted."""


class DriftState(StrEnum):
    """How far something is from what it was."""

    STABLE = "stable"
    MODERATE = "moderate"
    DRIFTED = "drifted"


class FeatureDrift(BaseModel):
    """How far the newest values of one feature are from those that were learnt from.

    `usual` is the PSI that 19 of 20 stretches as long as the newest had against the rest
    of the past itself, where the past holds enough of them. A PSI counts rows as if each
    were a draw of its own; volatility comes in clusters, so a quiet month has a large one
    without anything being new. `drifted` therefore takes both: above 0.25, and unusual.
    """

    model_config = ConfigDict(frozen=True)

    feature: str = Field(examples=["log_return"])
    series: str | None = Field(default=None, examples=["binance:BTC-USDT:1h"])
    psi: float = Field(ge=0)
    usual: float | None = None
    state: DriftState
    reference: int = Field(description="values that were learnt from")
    newest: int = Field(description="values held against them")


class ErrorDrift(BaseModel):
    """Whether a model lately loses more to the naive forecast than it did before.

    Units: `before` and `lately` are the mean of MASE minus naive MASE; below 0 is better
    than naive. `p_value`: how likely so large a rise is by chance.
    """

    model_config = ConfigDict(frozen=True)

    before: float
    lately: float
    p_value: float
    state: DriftState
    origins_before: int
    origins_lately: int


class DriftReport(BaseModel):
    """Everything known of one champion's drift; `notes` say what could not be measured."""

    model_config = ConfigDict(frozen=True)

    model: str = Field(examples=["forecaster-1h"])
    version: str
    measured_at: UtcDatetime
    features: tuple[FeatureDrift, ...] = ()
    errors: ErrorDrift | None = None
    notes: tuple[str, ...] = ()

    def beyond(self, psi: float) -> str | None:
        """Say in words what drifted, by a PSI of at least `psi` or by its errors, or None."""
        found = [f for f in self.features if f.psi >= psi and (f.usual is None or f.psi > f.usual)]
        if found:
            worst = max(found, key=lambda f: f.psi)
            of = f" of {worst.series}" if worst.series else ""
            return f"PSI of {worst.feature}{of} is {worst.psi:.2f}"
        if self.errors is not None and self.errors.state is DriftState.DRIFTED:
            return (
                f"errors against naive rose from {self.errors.before:+.2f} to "
                f"{self.errors.lately:+.2f}"
            )
        return None


def population_stability_index(
    reference: np.ndarray, newest: np.ndarray, bins: int = BINS
) -> float:
    """Return the PSI of `newest` against `reference`, over the reference's quantile bins.

    The sum over the bins of (q - p) ln(q / p), p and q the shares in a bin: Siddiqi
    (2006), "Credit Risk Scorecards", where below 0.10 reads as no change and above 0.25
    as a large one. Half a value is added to each bin, so that an empty one is no infinity.
    Without any change its mean is about (bins - 1) (1/n + 1/m) (Yurdakul 2018).

    Raises: InvalidInput (fewer than `FEWEST` values, or values not finite).
    """
    for name, values in (("reference", reference), ("newest", newest)):
        if len(values) < FEWEST:
            raise InvalidInput(f"{len(values)} values of the {name} are too few; {FEWEST} needed")
        if not np.isfinite(values).all():
            raise InvalidInput(f"the {name} holds values that are not finite numbers")
    return _psi(_shares(reference, edges := _edges(reference, bins)), _shares(newest, edges))


def _edges(reference: np.ndarray, bins: int) -> np.ndarray:
    # Where many values are the same (no volume, say), some quantiles are too.
    return np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    shares: np.ndarray = (counts + 0.5) / (len(values) + 0.5 * (len(edges) + 1))
    return shares


def _psi(expected: np.ndarray, actual: np.ndarray) -> float:
    return float(((actual - expected) * np.log(actual / expected)).sum())


def usual_psi(reference: np.ndarray, length: int, bins: int = BINS) -> float | None:
    """Return the PSI that 95 % of the reference's own stretches of `length` stay below.

    Each stretch is held against the rest. None where there are fewer than 10 of them.
    """
    stretches = len(reference) // length if length else 0
    if stretches < 10 or length < FEWEST:
        return None
    parts = np.split(reference[-stretches * length :], stretches)
    found = []
    for index, part in enumerate(parts):
        rest = np.concatenate(parts[:index] + parts[index + 1 :])
        edges = _edges(rest, bins)
        found.append(_psi(_shares(rest, edges), _shares(part, edges)))
    return float(np.quantile(found, 0.95))


def feature_drift(
    feature: str, reference: np.ndarray, newest: np.ndarray, series: str | None = None
) -> FeatureDrift:
    """Hold `newest` against `reference`, both oldest first. Raises: InvalidInput."""
    psi = population_stability_index(reference, newest)
    usual = usual_psi(reference, len(newest))
    state = DriftState.STABLE if psi < MODERATE else DriftState.MODERATE
    if psi >= LARGE and (usual is None or psi > usual):
        state = DriftState.DRIFTED
    return FeatureDrift(
        feature=feature,
        series=series,
        psi=psi,
        usual=usual,
        state=state,
        reference=len(reference),
        newest=len(newest),
    )


def candle_features(candles: CandleTable, timeframe: Timeframe) -> Mapping[str, np.ndarray]:
    """Return what is watched of a series, oldest first; only neighbours count as steps.

    Units: log_return and absolute_return per candle; range as a share of the close;
    volume as the logarithm of its ratio to the mean of the day (24 candles) before.
    """
    ts, close = candles.ts_ms, candles.column("close")
    if len(ts) < 2:
        return {}
    steps = np.diff(np.log(close))[ts[1:] == timeframe.next_ms(ts[:-1])]
    features = {
        "log_return": steps,
        "absolute_return": np.abs(steps),
        "range": (candles.column("high") - candles.column("low")) / close,
    }
    volume = candles.column("volume")
    if len(volume) > 24:
        sums = np.cumsum(np.insert(volume, 0, 0.0))
        before = (sums[24:-1] - sums[:-25]) / 24
        traded = (before > 0) & (volume[24:] > 0)
        features["volume_ratio"] = np.log(volume[24:][traded] / before[traded])
    return features


def error_drift(losses: Sequence[float], newest: int, horizon: int) -> ErrorDrift:
    """Ask whether the mean of the `newest` losses is above that of those before.

    `losses` are one number an origin, oldest first. Errors of origins less than `horizon`
    apart overlap, so each mean's variance sums that many autocovariances (Newey and West
    1987, Bartlett weights); the two are compared as in Welch's test.

    Raises: InvalidInput (fewer than `FEWEST_ERRORS` origins on either side).
    """
    before, lately = np.asarray(losses[:-newest], float), np.asarray(losses[-newest:], float)
    if min(len(before), len(lately)) < FEWEST_ERRORS:
        raise InvalidInput(
            f"{len(before)} forecasts before and {len(lately)} lately are too few to compare; "
            f"{FEWEST_ERRORS} of each are needed"
        )
    rise = float(lately.mean() - before.mean())
    variance = _variance_of_mean(before, horizon) + _variance_of_mean(lately, horizon)
    # As many independent values as there are stretches without overlap.
    freedom = max(1.0, len(lately) / max(1, horizon) - 1)
    if variance > 0:
        p_value = float(stats.t.sf(rise / math.sqrt(variance), freedom))
    else:
        p_value = 0.5 if rise == 0 else float(rise < 0)
    return ErrorDrift(
        before=float(before.mean()),
        lately=float(lately.mean()),
        p_value=p_value,
        state=DriftState.DRIFTED if p_value < ERROR_LEVEL else DriftState.STABLE,
        origins_before=len(before),
        origins_lately=len(lately),
    )


def _variance_of_mean(values: np.ndarray, horizon: int) -> float:
    centred, count = values - values.mean(), len(values)
    variance = float(centred @ centred) / count
    overlap = min(max(1, horizon), count - 1)
    for lag in range(1, overlap):
        variance += 2 * (1 - lag / overlap) * float(centred[lag:] @ centred[:-lag]) / count
    return max(0.0, variance) / count
