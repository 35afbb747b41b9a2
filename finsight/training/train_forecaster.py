"""Train one forecaster over every stored series of a timeframe, and register it.

    python -m finsight.training.train_forecaster --timeframe 1h

Runs as it is under `ray job submit`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import FinSightError, InvalidInput
from finsight.domain.timeframe import Timeframe
from finsight.ports.market import CandleStore
from finsight.ports.models import ModelReference, TrainingProgress
from finsight.settings import Settings
from finsight.wiring import (
    default_recipe,
    fit_forecaster,
    open_candle_store,
    open_clock,
    open_model_registry,
)

MAX_CANDLES = 20_000
"""The newest candles of each series that are learnt from."""


def forecaster_kind(timeframe: Timeframe) -> str:
    """The registry's name of the forecasters of a timeframe: 'forecaster-1h'."""
    return f"forecaster-{timeframe}"


def train_forecaster(
    settings: Settings,
    timeframe: Timeframe,
    *,
    steps: int | None = None,
    make_champion: bool = False,
    progress: TrainingProgress | None = None,
) -> ModelReference:
    """Train on the closed candles stored, register the version, and return it.

    It becomes the champion when there is none, or when `make_champion` says so.

    Raises:
        InvalidInput: no series has history enough; says how much each has.
        StoreUnavailable: try again later.
    """
    store, clock = open_candle_store(settings), open_clock(settings)
    now = clock.now()
    candles = asyncio.run(_read(settings, store, timeframe, now))
    recipe = default_recipe(settings)
    if steps is not None:
        recipe = recipe.model_copy(update={"steps": steps})
    model = fit_forecaster(settings, timeframe, candles, recipe, progress=progress)
    registry, kind = open_model_registry(settings), forecaster_kind(timeframe)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        model.save(folder)
        reference = registry.register(
            kind,
            folder,
            params=model.params,
            metrics=model.metrics,
            tags={
                "model": model.name,
                "timeframe": str(timeframe),
                "trained_on": ",".join(sorted(model.trained_on)),
                "trained_until": model.trained_until.isoformat(),
                "trained_at": now.isoformat(),
                "horizon": str(model.max_horizon),
                "input_candles": str(model.min_history),
            },
        )
    if make_champion or registry.champion(kind) is None:
        registry.set_champion(kind, reference.version)
    return reference


async def _read(
    settings: Settings, store: CandleStore, timeframe: Timeframe, now: datetime
) -> Mapping[str, CandleTable]:
    """Return the newest closed candles of every series with enough of them, by key."""
    needed = settings.forecasting.min_train_candles
    open_now = timeframe.floor(now)
    candles: dict[str, CandleTable] = {}
    too_short: list[str] = []
    for series in await store.list_series():
        if series.timeframe is not timeframe:
            continue
        start = open_now - MAX_CANDLES * timeframe.duration
        found = await store.read(series, start, open_now)
        if len(found) >= needed:
            candles[series.key] = found
        else:
            too_short.append(f"{series} has {len(found)}")
    if not candles:
        raise InvalidInput(
            f"no {timeframe} series has the {needed} candles that training needs"
            f" ({'; '.join(too_short) or 'none is stored'}): backfill more"
        )
    return candles


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeframe", type=Timeframe, default=Timeframe.H1)
    parser.add_argument("--steps", type=int, help="gradient steps; unset: the settings'")
    parser.add_argument("--champion", action="store_true", help="let it serve at once")
    parser.add_argument("--data-dir", type=Path, help="where the platform keeps its data")
    given = parser.parse_args(arguments)
    try:
        settings = Settings.load({"data_dir": given.data_dir} if given.data_dir else None)
        reference = train_forecaster(
            settings,
            given.timeframe,
            steps=given.steps,
            make_champion=given.champion,
            progress=_print_progress,
        )
    except FinSightError as exc:
        print(f"training failed: {exc}", file=sys.stderr)
        return 1
    print(json.dumps({"kind": reference.kind, "version": reference.version, **reference.metrics}))
    return 0


def _print_progress(step: int, steps: int, loss: float) -> None:
    if step % 50 == 0 or step == steps:
        print(f"step {step} of {steps}, loss {loss:.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
