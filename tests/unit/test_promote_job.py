"""The command of a promotion job: a refusal is an answer, and what can't be asked a failure."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from finsight.domain.forecaster_recipe import ForecasterRecipe
from finsight.domain.promotion import CHALLENGER, Verdict
from finsight.domain.timeframe import Timeframe
from finsight.domain.training_job import registered_in
from finsight.settings import Settings
from finsight.training.promote import main
from finsight.wiring import fit_forecaster, open_candle_store, open_model_registry
from tests.builders import BTC_HOURLY, HOUR, a_walk

KIND = "forecaster-1h"


async def a_forecaster_of_a_random_walk(settings: Settings, folder: Path) -> str:
    """Register one that learnt nothing, for there was nothing to learn; return its version."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    walk = a_walk(1100, now - 1100 * HOUR, seed=8)
    await open_candle_store(settings).upsert(BTC_HOURLY, walk)
    recipe = ForecasterRecipe(input_size=48, horizon=12, steps=20, check_every=10)
    model = fit_forecaster(settings, Timeframe.H1, {BTC_HOURLY.key: walk}, recipe)
    model.save(folder)
    tags = {
        "model": model.name,
        "timeframe": "1h",
        "trained_on": BTC_HOURLY.key,
        "trained_until": model.trained_until.isoformat(),
        "horizon": "12",
        "input_candles": "48",
    }
    registry = open_model_registry(settings)
    return registry.register(KIND, folder, params={}, metrics={}, tags=tags).version


async def test_a_refusal_is_an_answer_and_leaves_a_challenger(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FINSIGHT_FORECASTING__INPUT_CANDLES", "48")
    version = await a_forecaster_of_a_random_walk(settings, tmp_path / "model")
    asked = ["--model", KIND, "--version", version, "--data-dir", str(settings.data_dir)]
    # A job runs it without a loop of its own; so must the test.
    assert await asyncio.to_thread(main, [*asked, "--by", "retraining"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed.splitlines()[-1])["serves"] is False
    assert registered_in(printed) is None  # it registered nothing, and nothing is promoted twice
    registry = open_model_registry(settings)
    [decision] = registry.decisions(KIND)
    assert (decision.verdict, decision.by) == (Verdict.REFUSED, "retraining")
    assert registry.champion(KIND) is None
    challenger = registry.holder(KIND, CHALLENGER)
    assert challenger is not None
    assert challenger.version == version


def test_a_version_that_is_not_there_is_said(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--model", KIND, "--version", "7", "--data-dir", str(settings.data_dir)]
    assert main(asked) == 1
    assert "promotion failed: " in capsys.readouterr().err
