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
from finsight.settings import ForecastingSettings, Settings
from finsight.training.search_session import Teaching
from finsight.training.tune_forecaster import Lines, SearchRequest, tune_forecaster
from finsight.wiring import fit_forecaster, open_candle_store, open_clock
from tests.builders import BTC_HOURLY, a_walk

STEPS, CHECK_EVERY = 12, 2
SHAPE = ForecastingSettings(horizon=4, input_candles=24, train_steps=STEPS, min_train_candles=200)
SMALL = ("input_size=16,24", "hidden_size=8,16", "batch_size=16", "learning_rate=1e-4..1e-2")
SMALLER = (*SMALL, "patch_length=8,16", "stride=8", "heads=1,2", "layers=1")


def naive_is_one(*_: Any) -> float:
    return 1.0


def slow_fit(
    _settings: Settings,
    _timeframe: Any,
    _candles: Any,
    recipe: ForecasterRecipe,
    *,
    state_folder: Path,
    checked: Callable[[int, float], bool] | None = None,
    sentiment: Any = None,
) -> Any:
    """Learn nothing, slowly, with a loss that the learning rate decides, and keep a state.

    Every step it takes is a line in `steps.txt`, so that a test can count them. Without
    `checked` it is the winner that is asked for: a real, tiny training.
    """
    if checked is None:
        return fit_forecaster(
            _settings, _timeframe, _candles, recipe.model_copy(update={"steps": 2})
        )
    state_folder.mkdir(parents=True, exist_ok=True)
    if abs(math.log10(recipe.learning_rate) + 2.0) < 0.02:
        raise InvalidInput("this learning rate is refused")
    taken = state_folder / "steps.txt"
    first = int(taken.read_text().split()[-1]) + 1 if taken.exists() else 1
    for step in range(first, recipe.steps + 1):
        time.sleep(0.12)
        with taken.open("a") as file:
            file.write(f"{step}\n")
        if step % recipe.check_every == 0:
            checked(step, abs(math.log10(recipe.learning_rate) + 3) + 1 / step)
    return None


SLOW = Teaching(slow_fit, naive_is_one)


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
    result = tune_forecaster(settings, asked, Lines(), SLOW)
    print("ended" if not result.interrupted else "interrupted", len(result.records))


if __name__ == "__main__":
    main()
