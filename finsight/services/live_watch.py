"""Whether a new champion's live record is clearly worse than its predecessor's would have been."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from finsight.domain.accuracy import ForecastError
from finsight.domain.significance import diebold_mariano
from finsight.domain.timeframe import Timeframe

LOOKS = 4
"""How often a champion is judged before its watch is over."""

MOST_LIKELY_CHANCE = 0.00125
"""A look's p-value below which a record is clearly worse: an eighth of one in a hundred.

An equally good champion is then sent back in about one case of a hundred over all four
looks: neighbouring blocks still share candles, which doubles what one look gets wrong.
"""

Named = tuple[str, str]
"""A model's name and version, as its forecasts bear them."""


@dataclass(frozen=True)
class LiveRecord:
    """How the champion and its predecessor did on the same origins, as far as was looked.

    `origins` counts those there are, `looked_at` those that the figures are of: always a
    whole number of looks, so that looking more often finds nothing more. The errors are
    mean MASE; `p_value` says how likely the champion would be so much worse by chance.
    """

    origins: int = 0
    looked_at: int = 0
    mase: float | None = None
    mase_before: float | None = None
    naive_mase: float | None = None
    p_value: float | None = None
    clearly_worse: bool = False
    over: bool = False

    def evidence(self) -> dict[str, float]:
        """The figures, as a decision keeps them."""
        figures = {
            "origins": float(self.looked_at),
            "mase": self.mase,
            "mase_before": self.mase_before,
            "naive_mase": self.naive_mase,
            "p_value": self.p_value,
        }
        return {name: figure for name, figure in figures.items() if figure is not None}


@dataclass
class _Origin:
    """One origin's errors, over the series that both forecast from it."""

    mase: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    naive: list[float] = field(default_factory=list)


def compare_live(
    errors: Iterable[ForecastError],
    champion: Named,
    before: Named,
    since: datetime,
    timeframe: Timeframe,
    horizon: int,
    every: int,
) -> LiveRecord:
    """Hold the champion against its predecessor over the origins at or after `since`.

    The predecessor went on forecasting as a shadow, so that both were scored on the same
    candles. An origin counts with the mean MASE of the series that both have. Forecasts
    overlap for a whole horizon, so that the mean over `horizon` origins is one case of the
    test (Diebold and Mariano, one-sided). It is made each `every` horizons, at least eight,
    and at most `LOOKS` times.
    """
    origins = _paired(errors, champion, before, since, timeframe, horizon)
    looks = min(len(origins) // (every * horizon), LOOKS)
    if not looks:
        return LiveRecord(origins=len(origins))
    seen = origins[: looks * every * horizon]
    own = np.array([np.mean(one.mase) for one in seen])
    old = np.array([np.mean(one.before) for one in seen])
    # "The predecessor is better": small where it is.
    p_value = diebold_mariano(_by_block(old, horizon), _by_block(own, horizon), 1).p_value
    return LiveRecord(
        origins=len(origins),
        looked_at=len(seen),
        mase=float(own.mean()),
        mase_before=float(old.mean()),
        naive_mase=float(np.mean([np.mean(one.naive) for one in seen])),
        p_value=p_value,
        clearly_worse=p_value < MOST_LIKELY_CHANCE,
        over=looks == LOOKS,
    )


def _by_block(losses: np.ndarray, size: int) -> np.ndarray:
    means: np.ndarray = losses.reshape(-1, size).mean(axis=1)
    return means


def _paired(
    errors: Iterable[ForecastError],
    champion: Named,
    before: Named,
    since: datetime,
    timeframe: Timeframe,
    horizon: int,
) -> Sequence[_Origin]:
    """The origins that both have, oldest first."""
    own: dict[tuple[datetime, str], ForecastError] = {}
    old: dict[tuple[datetime, str], ForecastError] = {}
    for error in errors:
        if error.series.timeframe is not timeframe or error.horizon != horizon:
            continue
        if error.origin < since or error.mase is None:
            continue
        named = (error.model, error.model_version)
        if named == champion:
            own[error.origin, error.series.key] = error
        elif named == before:
            old[error.origin, error.series.key] = error
    origins: dict[datetime, _Origin] = {}
    for key in sorted(own.keys() & old.keys()):
        one = origins.setdefault(key[0], _Origin())
        one.mase.append(own[key].mase or 0.0)
        one.before.append(old[key].mase or 0.0)
        one.naive.append(own[key].naive_mase or 0.0)
    return list(origins.values())


def first_origin(decided_at: datetime, timeframe: Timeframe) -> datetime:
    """Return the earliest origin that a champion appointed at `decided_at` forecast from."""
    # The newest closed candle opened one timeframe before the one that is still open.
    return timeframe.floor(decided_at) - timeframe.duration - timedelta(milliseconds=1)
