"""Train one forecaster over every stored series of a timeframe, or over a file, and register it.

    python -m finsight.training.train_forecaster --timeframe 1h --family nhits

Runs as it is under `ray job submit`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finsight.domain.errors import FinSightError, InvalidInput, RunKept, StoreUnavailable
from finsight.domain.forecast_windows import make_examples
from finsight.domain.forecaster_plan import plan_training, segments
from finsight.domain.forecaster_recipe import Family, ForecasterRecipe, Loss, Target
from finsight.domain.history import fingerprint
from finsight.domain.promotion import CHALLENGER
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import (
    ModelReference,
    ModelRegistry,
    TrainedForecaster,
    TrainingProgress,
)
from finsight.services.promotion import appoint
from finsight.settings import Settings
from finsight.training.forecaster_data import (
    MAX_CANDLES,
    TrainingData,
    file_data,
    forecaster_kind,
    stored_data,
)
from finsight.training.forecaster_pictures import loss_curve
from finsight.wiring import default_recipe, learn_forecaster, open_clock, open_model_registry

__all__ = ["MAX_CANDLES", "fit_data", "forecaster_kind", "main", "train_forecaster"]


def train_forecaster(
    settings: Settings,
    timeframe: Timeframe,
    *,
    recipe: ForecasterRecipe | None = None,
    steps: int | None = None,
    only: tuple[str, ...] = (),
    data: TrainingData | None = None,
    make_champion: bool = False,
    over_ray: bool = False,
    progress: TrainingProgress | None = None,
    state_folder: Path | None = None,
) -> ModelReference:
    """Train on the closed candles stored, or on `data`, register the version, and return it.

    It becomes the challenger. A timeframe's first model serves, and so does any other when
    `make_champion` says so. Nothing is registered when the training fails.

    Raises:
        InvalidInput: no series has history enough, or what there is can't be learnt from.
        ModelUnavailable: over Ray, every fresh start was lost.
        StoreUnavailable: the registry is down or a disk is full; try again later.
    """
    recipe = recipe or default_recipe(settings)
    if steps is not None:
        recipe = recipe.model_copy(update={"steps": steps})
    clock = open_clock(settings)
    if data is None:
        data = asyncio.run(stored_data(settings, timeframe, recipe, clock.now(), only))
    model = fit_data(
        settings, data, recipe, over_ray=over_ray, progress=progress, state_folder=state_folder
    )
    registry = open_model_registry(settings)
    reference = _register(settings, registry, data, recipe, model)
    serves_first = data.source == "candles" and registry.champion(data.kind) is None
    if make_champion or serves_first:
        _let_serve(settings, registry, reference, first=serves_first)
    else:
        registry.set_alias(data.kind, CHALLENGER, reference.version)
    return reference


def fit_data(
    settings: Settings,
    data: TrainingData,
    recipe: ForecasterRecipe,
    *,
    over_ray: bool = False,
    progress: TrainingProgress | None = None,
    state_folder: Path | None = None,
) -> TrainedForecaster:
    """Train on `data`, in this process or, with the same result, over Ray."""
    timeframe = None if data.timeframe is None else str(data.timeframe)
    plan = plan_training(data.histories, recipe, timeframe, data.splits)
    if over_ray:
        from finsight.training.forecaster_run import fit_over_ray

        return fit_over_ray(settings, plan, data.histories)
    windows = [make_examples(segment, plan.shape) for segment in segments(data.histories, plan)]
    return learn_forecaster(plan, windows, progress=progress, state_folder=state_folder)


def _register(
    settings: Settings,
    registry: ModelRegistry,
    data: TrainingData,
    recipe: ForecasterRecipe,
    model: TrainedForecaster,
) -> ModelReference:
    """Raises: StoreUnavailable (also a disk that is full before anything is registered)."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        try:
            model.save(folder)
        except (OSError, RuntimeError) as exc:
            raise StoreUnavailable(
                f"the model can't be written to {scratch}: {exc}; free disk space and train "
                "again. Nothing was registered"
            ) from exc
        return registry.register(
            data.kind,
            folder,
            params=model.params,
            metrics=model.metrics,
            tags={
                "model": model.name,
                "timeframe": str(data.timeframe),
                "source": data.source,
                "trained_on": ",".join(sorted(model.trained_on)),
                "trained_until": model.trained_until.isoformat(),
                "trained_at": open_clock(settings).now().isoformat(),
                "horizon": str(model.max_horizon),
                "input_candles": str(model.min_history),
                "data_fingerprint": fingerprint(data.histories),
            },
            history=model.history,
            pictures={"loss.png": loss_curve(model.history, recipe.check_every)},
        )


def _let_serve(
    settings: Settings, registry: ModelRegistry, reference: ModelReference, *, first: bool
) -> None:
    ratio = reference.metrics.get("held_out_ratio_to_naive")
    beside_naive = "" if ratio is None else f"; its held-out error is {ratio:.3f} of naive's"
    why = "it is the first model of its timeframe" if first else "its training asked for it"
    appoint(
        registry,
        open_clock(settings),
        reference.kind,
        reference.version,
        by="finsight",
        reason=f"{why}{beside_naive}",
        evidence={} if ratio is None else {"held_out_ratio_to_naive": ratio},
    )


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 1 with the reason on standard error."""
    given = _parser().parse_args(arguments)
    try:
        settings = Settings.load({"data_dir": given.data_dir} if given.data_dir else None)
        only = tuple(given.series)
        data = file_data(given.data, given.splits, only) if given.data else None
        if given.splits and not given.data:
            raise InvalidInput("--splits counts the rows of a file; name one with --data")
        reference = train_forecaster(
            settings,
            given.timeframe,
            recipe=_recipe(settings, given),
            only=only,
            data=data,
            make_champion=given.champion,
            over_ray=given.ray or bool(os.environ.get("RAY_ADDRESS")),
            progress=_print_progress,
            state_folder=given.state,
        )
    except RunKept as exc:
        print(f"trained, and not registered: {exc}", file=sys.stderr)
        return 1
    except FinSightError as exc:
        print(f"training failed: {exc}", file=sys.stderr)
        return 1
    print(json.dumps({"kind": reference.kind, "version": reference.version, **reference.metrics}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeframe", type=Timeframe, default=Timeframe.H1)
    parser.add_argument("--data", type=Path, help="a CSV or Parquet file instead of candles")
    parser.add_argument("--splits", help="rows of training,validation,test; or ett-hour")
    parser.add_argument("--series", nargs="*", default=[], help="only those named like this")
    parser.add_argument("--family", type=Family)
    parser.add_argument("--target", type=Target)
    parser.add_argument("--loss", type=Loss)
    parser.add_argument("--exogenous", action="store_true", default=None)
    parser.add_argument("--instance-norm", action="store_true", default=None)
    for name in ("horizon", "input-size", "steps", "check-every", "patience", "batch-size"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("patch-length", "stride", "hidden-size", "layers", "heads", "threads", "seed"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("learning-rate", "dropout", "averaging", "held-out-share"):
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--champion", action="store_true", help="let it serve at once")
    parser.add_argument("--ray", action="store_true", help="on a Ray Train worker")
    parser.add_argument("--state", type=Path, help="a folder to go on from after a crash")
    parser.add_argument("--data-dir", type=Path, help="where the platform keeps its data")
    return parser


def _recipe(settings: Settings, given: argparse.Namespace) -> ForecasterRecipe:
    """The settings' recipe with what was given. Raises: InvalidInput."""
    changed: dict[str, Any] = {
        name: value
        for name in ForecasterRecipe.model_fields
        if (value := getattr(given, name, None)) is not None
    }
    fields = default_recipe(settings).model_dump() | changed
    if "patch_length" not in changed:
        fields["patch_length"] = min(fields["patch_length"], fields["input_size"])
    try:
        return ForecasterRecipe(**fields)
    except ValidationError as exc:
        wrong = exc.errors()[0]
        where = ".".join(str(part) for part in wrong["loc"])
        raise InvalidInput(
            f"the recipe is wrong: {where} {wrong['msg']}".replace("  ", " ")
        ) from exc


def _print_progress(step: int, steps: int, loss: float) -> None:
    if step % 50 == 0 or step == steps:
        print(f"step {step} of {steps}, loss {loss:.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
