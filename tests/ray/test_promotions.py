"""The gateway's way to promote: in a process of its own, errors and answers come back whole."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from finsight.adapters.models.mlflow_registry import MlflowRegistry
from finsight.deployments.http_errors import error_as_problem
from finsight.deployments.promotions import RemotePromotion
from finsight.domain.forecaster_recipe import ForecasterRecipe
from finsight.domain.promotion import Verdict
from finsight.domain.timeframe import Timeframe
from finsight.wiring import fit_forecaster, open_candle_store
from tests.builders import BTC_HOURLY, HOUR, TIDE_START, a_tide

KIND = "forecaster-1h"


async def test_a_version_is_judged_in_a_process_of_its_own(ray_cluster, settings, tmp_path: Path):
    # That process asks the clock, too: to it, these candles are the newest.
    behind = (TIDE_START + 601 * HOUR - datetime.now(UTC)).total_seconds()
    settings = settings.model_copy(update={"clock_offset_s": behind})
    await open_candle_store(settings).upsert(BTC_HOURLY, a_tide(600))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.txt").write_text("weights")
    registry = MlflowRegistry(None, settings.data_dir / "mlflow")
    tags = {"trained_until": TIDE_START.isoformat()}
    registry.register(KIND, tmp_path / "model", params={}, metrics={}, tags=tags)
    promotion = RemotePromotion(settings)
    # What raises there is told here as what it is.
    with pytest.raises(Exception, match="can't be read") as told:
        await promotion.compare(KIND, "1")
    problem, _ = error_as_problem(told.value, "/v1/models")
    assert (problem.status, problem.type) == (503, "urn:finsight:model-unavailable")
    with pytest.raises(Exception, match="no version 7") as missing:
        await promotion.promote(KIND, "7", by="ada")
    assert error_as_problem(missing.value, "/v1/models")[0].status == 404
    recipe = ForecasterRecipe(input_size=48, horizon=12, steps=30, check_every=30)
    candles = {BTC_HOURLY.key: a_tide(600)}
    model = fit_forecaster(settings, Timeframe.H1, candles, recipe)
    model.save(tmp_path / "tidal")
    tags = {"trained_until": (TIDE_START + 400 * HOUR).isoformat()}
    tidal = registry.register(KIND, tmp_path / "tidal", params={}, metrics={}, tags=tags)
    decision = await promotion.promote(KIND, tidal.version, by="ada")
    assert decision.verdict is Verdict.PROMOTED, decision.reason
    assert registry.champion(KIND) == tidal
