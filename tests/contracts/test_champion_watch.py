"""A champion that disappoints goes back: on a real registry and a real store of forecasts."""

from pathlib import Path

import pytest

from finsight.actors.champion_watch import BY, ChampionWatch
from finsight.actors.forecast_worker import ForecastWorker
from finsight.adapters.models.mlflow_registry import MlflowRegistry
from finsight.adapters.models.sqlite_forecasts import SqliteForecastStore
from finsight.domain.forecast import Role
from finsight.domain.promotion import CHALLENGER, Verdict
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ModelReference, ModelRegistry
from finsight.services.promotion import appoint
from finsight.settings import ForecastingSettings, ModelsSettings, Settings
from finsight.wiring import open_forecast_store, open_model_registry
from tests.builders import BTC_HOURLY, HOUR, NOON
from tests.fixed_clock import FixedClock
from tests.unit.test_accuracy import a_forecast, an_error

KIND, HORIZON = "forecaster-1h", 2
LOOK = 8 * HORIZON


class Followed:
    """Remembers which versions were to forecast as shadows."""

    def __init__(self) -> None:
        self.versions: list[str] = []

    def follow(self, timeframe: Timeframe, versions: list[ModelReference]) -> None:
        self.versions = [one.version for one in versions]


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions; made once, for MLflow takes seconds over its first."""
    folder = tmp_path_factory.mktemp("data")
    files = tmp_path_factory.mktemp("files")
    (files / "weights").write_text("none")
    registry = MlflowRegistry(None, folder / "mlflow")
    for _ in range(3):
        registry.register(KIND, files, params={}, metrics={}, tags={"model": "PatchTST"})
    return folder


@pytest.fixture
def settings(empty_registry: Path) -> Settings:
    return Settings(
        data_dir=empty_registry,
        forecasting=ForecastingSettings(horizon=HORIZON),
        models=ModelsSettings(shadow=True),
    )


@pytest.fixture
def registry(settings: Settings) -> ModelRegistry:
    return open_model_registry(settings)


@pytest.fixture
def store(tmp_path: Path) -> SqliteForecastStore:
    return SqliteForecastStore(tmp_path / "forecasts.sqlite")


async def live(store: SqliteForecastStore, version: str, role: Role, mase: float) -> None:
    """A record of one look: `mase` on average, a little to and fro."""
    forecasts, errors = [], []
    for number in range(LOOK):
        given = {
            "model": "PatchTST",
            "model_version": version,
            "origin": NOON + number * HOUR,
            "role": role,
        }
        name = f"{version}-{number}"
        forecasts.append(a_forecast([101.0, 102.0], id=name, **given))
        error = mase * (1 + 0.1 * (number % 3 - 1))
        errors.append(
            an_error(forecast_id=name, horizon=HORIZON, mase=error, naive_mase=1.0, **given)
        )
    await store.save(forecasts)
    await store.save_errors(errors)


async def look(
    settings: Settings, registry: ModelRegistry, store: SqliteForecastStore
) -> tuple[ChampionWatch, Followed]:
    followed = Followed()
    watch = ChampionWatch(settings, FixedClock(NOON), registry, store, followed)  # type: ignore[arg-type]
    await watch.look(Timeframe.H1, registry.champion(KIND))
    return watch, followed


def promote(registry: ModelRegistry, version: str) -> None:
    registry.set_champion(KIND, "1")
    appoint(registry, FixedClock(NOON), KIND, version, by="a test", reason="to see")


async def test_one_clearly_worse_is_sent_back_and_does_not_come_again(
    settings: Settings, registry: ModelRegistry, store: SqliteForecastStore
) -> None:
    promote(registry, "2")
    await live(store, "2", Role.CHAMPION, 2.0)
    await live(store, "1", Role.SHADOW, 1.0)
    watch, followed = await look(settings, registry, store)
    assert followed.versions == ["1"]
    champion = registry.champion(KIND)
    assert champion is not None
    assert champion.version == "1"
    decision = registry.decisions(KIND)[0]
    assert (decision.verdict, decision.version, decision.before) == (Verdict.ROLLED_BACK, "1", "2")
    assert decision.by == BY
    assert "version 2 was off by a MASE of 1.988" in decision.reason
    assert decision.evidence["origins"] == LOOK
    assert decision.evidence["p_value"] < 0.01

    await watch.look(Timeframe.H1, champion)
    assert watch.said() == []
    assert followed.versions == []
    assert registry.decisions(KIND)[0] == decision


async def test_one_as_good_stays_and_is_watched_on(
    settings: Settings, registry: ModelRegistry, store: SqliteForecastStore
) -> None:
    promote(registry, "3")
    await live(store, "3", Role.CHAMPION, 0.99)
    await live(store, "1", Role.SHADOW, 1.0)
    watch, _ = await look(settings, registry, store)
    champion = registry.champion(KIND)
    assert champion is not None
    assert champion.version == "3"
    [said] = watch.said()
    assert said == f"{KIND}: version 3 is watched beside version 1, {LOOK} of {4 * LOOK} origins"


async def test_the_challenger_shadows_where_the_settings_say_so(
    settings: Settings, registry: ModelRegistry, store: SqliteForecastStore
) -> None:
    promote(registry, "3")
    registry.set_alias(KIND, CHALLENGER, "2")
    _, followed = await look(settings, registry, store)
    assert sorted(followed.versions) == ["1", "2"]
    quiet = settings.model_copy(update={"models": ModelsSettings(roll_back=False)})
    _, followed = await look(quiet, registry, store)
    assert followed.versions == []
    registry.set_alias(KIND, CHALLENGER, None)


async def test_a_champion_that_nobody_decided_on_is_not_watched(
    settings: Settings, registry: ModelRegistry, store: SqliteForecastStore
) -> None:
    promote(registry, "2")
    registry.set_champion(KIND, "3")
    watch, followed = await look(settings, registry, store)
    assert watch.said() == []
    assert followed.versions == []


async def test_the_worker_judges_by_itself(settings: Settings, registry: ModelRegistry) -> None:
    from finsight.wiring import open_candle_store
    from tests.builders import a_walk

    promote(registry, "2")
    store = open_forecast_store(settings)
    await live(store, "2", Role.CHAMPION, 2.0)  # type: ignore[arg-type]
    await live(store, "1", Role.SHADOW, 1.0)  # type: ignore[arg-type]
    await open_candle_store(settings).upsert(BTC_HOURLY, a_walk(60, NOON))
    worker = ForecastWorker(settings)
    await worker._models._watch.look(Timeframe.H1, registry.champion(KIND))
    assert registry.decisions(KIND)[0].by == BY
