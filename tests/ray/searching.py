"""A search that needs no network: a driver for subprocesses, and how its trials learn.

python -m tests.ray.searching DATA_DIR TRIALS [--resume NAME]
"""

import math
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from finsight.domain.errors import InvalidInput
from finsight.domain.forecaster_recipe import ForecasterRecipe
from finsight.domain.interval import Interval
from finsight.ports.models import TrainedForecaster
from finsight.settings import ForecastingSettings, Settings
from finsight.training.forecaster_data import TrainingData
from finsight.training.search_session import teach
from finsight.training.tune_forecaster import Lines, SearchRequest, tune_forecaster
from finsight.wiring import open_candle_store, open_clock
from tests.builders import BTC_HOURLY, a_walk

STEPS, CHECK_EVERY = 12, 2
SHAPE = ForecastingSettings(horizon=4, input_candles=24, train_steps=STEPS, min_train_candles=200)
SMALL = ("input_size=16,24", "hidden_size=8,16", "batch_size=16", "learning_rate=1e-4..1e-2")
SMALLER = (*SMALL, "patch_length=8,16", "stride=8", "heads=1,2", "layers=1")


def slow(
    data: TrainingData,
    recipe: ForecasterRecipe,
    report: Callable[[int, float], None],
    state_folder: Path,
) -> TrainedForecaster:
    """Learn nothing, slowly, with a loss that the learning rate decides; then train for real.

    Every step it takes is a line in `steps.txt`, which it goes on from, so that a test can
    count them.
    """
    if abs(math.log10(recipe.learning_rate) + 2.0) < 0.02:
        raise InvalidInput("this learning rate is refused")
    state_folder.mkdir(parents=True, exist_ok=True)
    taken = state_folder / "steps.txt"
    first = int(taken.read_text().split()[-1]) + 1 if taken.exists() else 1
    for step in range(first, recipe.steps + 1):
        time.sleep(0.1)
        with taken.open("a") as file:
            file.write(f"{step}\n")
        if step % recipe.check_every == 0:
            report(step, abs(math.log10(recipe.learning_rate) + 3) + 1 / step)
    short = recipe.model_copy(update={"steps": 1, "check_every": 1})
    return teach(data, short, lambda _step, _loss: None, state_folder)


async def store_a_walk(settings: Settings, rows: int = 400) -> None:
    last = BTC_HOURLY.timeframe.floor(open_clock(settings).now()) - timedelta(hours=1)
    first = last - (rows - 1) * timedelta(hours=1)
    await open_candle_store(settings).upsert(
        BTC_HOURLY, a_walk(rows, first), [Interval(first, last + timedelta(hours=1))]
    )


def request(**changed: Any) -> SearchRequest:
    given: dict[str, Any] = {
        "families": ("patchtst",),
        "values": SMALLER,
        "trials": 6,
        "steps": STEPS,
        "check_every": CHECK_EVERY,
    }
    return SearchRequest(**given | changed)


def main() -> None:
    folder, trials, *rest = sys.argv[1:]
    settings = Settings(data_dir=Path(folder), forecasting=SHAPE)
    asked = request(resume=rest[1]) if rest else request(trials=int(trials), name="shared")
    result = tune_forecaster(settings, asked, Lines(), slow)
    print("ended" if not result.interrupted else "interrupted", len(result.records))


if __name__ == "__main__":
    main()
