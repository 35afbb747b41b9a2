"""Settings to adapters: the only file that names them all.

Each function imports its vendor when it is called, so that a part installs and
loads only what it uses.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from finsight.adapters.clock import SystemClock
from finsight.domain.collector import NewsFeed
from finsight.domain.errors import Misconfigured, StoreUnavailable
from finsight.settings import ExchangeSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from finsight.adapters.events.valkey_server import ValkeyServer
    from finsight.adapters.models.unsent_runs import UnsentRuns
    from finsight.domain.candle_table import CandleTable
    from finsight.domain.forecast_windows import Examples
    from finsight.domain.forecaster_plan import TrainingPlan
    from finsight.domain.forecaster_recipe import ForecasterRecipe
    from finsight.domain.timeframe import Timeframe
    from finsight.ports.backtests import BacktestStore
    from finsight.ports.clock import Clock
    from finsight.ports.events import EventBus
    from finsight.ports.forecasts import ForecastStore
    from finsight.ports.market import CandleStore, Exchange
    from finsight.ports.models import (
        Forecaster,
        ModelReaders,
        ModelReference,
        ModelRegistry,
        SentimentModel,
        TrainedForecaster,
        TrainingProgress,
    )
    from finsight.ports.news import ArticleStore, KnownSentiment, NewsSource
    from finsight.ports.state import StateStore
    from finsight.ports.training_jobs import TrainingJobStore


def open_clock(settings: Settings) -> Clock:
    return SystemClock(settings.clock_offset_s)


def open_exchange(settings: Settings, exchange: str) -> Exchange:
    """Raises: NotFound (ccxt has no such venue)."""
    from finsight.adapters.market.ccxt_exchange import CcxtExchange

    return CcxtExchange.open(
        exchange, settings.exchanges.get(exchange, ExchangeSettings()), open_clock(settings)
    )


def open_candle_store(settings: Settings) -> CandleStore:
    """Raises: Misconfigured (an address no file system answers to)."""
    from finsight.adapters.filesystems import open_folder
    from finsight.adapters.market.parquet_candles import ParquetCandleStore

    return ParquetCandleStore(
        open_folder(settings.candles_url or str(settings.data_dir / "candles"))
    )


def open_backtest_store(settings: Settings) -> BacktestStore:
    from finsight.adapters.backtests.parquet_backtests import ParquetBacktestStore

    return ParquetBacktestStore(settings.data_dir / "backtests")


def open_news_source(settings: Settings, feed: NewsFeed) -> NewsSource:
    """Raises: Misconfigured (no address, no key)."""
    clock = open_clock(settings)
    if feed.kind == "tavily":
        from finsight.adapters.news.tavily_source import TavilySource

        if settings.tavily_api_key is None:
            raise Misconfigured(f"the feed {feed.name} needs FINSIGHT_TAVILY_API_KEY")
        key = settings.tavily_api_key.get_secret_value()
        return TavilySource(feed.name, feed.query or "", key, settings.tavily_url, clock)
    from finsight.adapters.news.rss_source import RssSource

    return RssSource.open(feed.name, feed.url, clock, allow_private=settings.allow_private_feeds)


def open_article_store(settings: Settings) -> ArticleStore:
    from finsight.adapters.news.sqlite_articles import SqliteArticleStore

    return SqliteArticleStore(settings.data_dir / "articles.sqlite")


def redis_address(settings: Settings) -> str:
    """The address of the Redis in use, password included.

    Raises:
        StoreUnavailable: none is configured and the embedded Valkey isn't running.
    """
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    try:
        address = json.loads(settings.valkey_address_file.read_text())
    except (OSError, ValueError) as exc:
        raise StoreUnavailable(
            "the embedded event server isn't running; start the platform with `finsight up`, "
            "or set FINSIGHT_REDIS_URL"
        ) from exc
    return str(address["url"])


def open_valkey_server(settings: Settings) -> ValkeyServer:
    """The embedded event server, not started yet; its address goes to `valkey_address_file`."""
    from finsight.adapters.events.valkey_server import ValkeyServer

    return ValkeyServer(settings.valkey_address_file.parent)


def open_event_bus(settings: Settings) -> EventBus:
    """Raises: StoreUnavailable."""
    from finsight.adapters.events.redis_streams import RedisStreamsBus

    return RedisStreamsBus(redis_address(settings))


def open_state_store(settings: Settings) -> StateStore:
    """Raises: StoreUnavailable."""
    from finsight.adapters.state.redis_state import RedisStateStore

    return RedisStateStore(redis_address(settings))


def open_forecast_store(settings: Settings) -> ForecastStore:
    from finsight.adapters.models.sqlite_forecasts import SqliteForecastStore

    return SqliteForecastStore(settings.data_dir / "forecasts.sqlite")


def open_training_jobs(settings: Settings) -> TrainingJobStore:
    from finsight.adapters.state.sqlite_training_jobs import SqliteTrainingJobs

    return SqliteTrainingJobs(settings.data_dir / "training-jobs.sqlite")


def open_model_registry(settings: Settings) -> ModelRegistry:
    """The registry. A run that it can't take is kept, and `register` raises RunKept."""
    from finsight.adapters.models.unsent_runs import KeepingRegistry

    place = settings.data_dir / "mlflow"
    return KeepingRegistry(settings.mlflow_tracking_uri, place, open_unsent_runs(settings))


def open_unsent_runs(settings: Settings) -> UnsentRuns:
    """The runs that wait for the registry, below the data folder."""
    from finsight.adapters.models.unsent_runs import UnsentRuns

    return UnsentRuns(settings.data_dir / "unsent")


def load_sentiment_model(settings: Settings, demanded: str | None = None) -> SentimentModel:
    """Load, in this order: the registry's champion, the settings' model, the compact one.

    `demanded` (a folder, a hub id or "compact") goes before them all.

    Raises: ModelUnavailable (a hub or folder that can't be read; the message says what to do).
    """
    from finsight.adapters.models.sentiment_loading import load_sentiment_model as load

    sentiment = settings.sentiment
    return load(
        open_model_registry(settings),
        configured=sentiment.model,
        device=sentiment.device,
        threads=sentiment.threads,
        cache_folder=settings.data_dir / "models",
        demanded=demanded,
    )


def read_sentiment_model(settings: Settings, reference: ModelReference) -> SentimentModel:
    """Load one version of the sentiment model. Raises: StoreUnavailable, ModelUnavailable."""
    from finsight.adapters.models.sentiment_loading import read_sentiment_version

    return read_sentiment_version(
        open_model_registry(settings),
        reference,
        device=settings.sentiment.device,
        threads=settings.sentiment.threads,
        cache_folder=settings.data_dir / "models",
    )


def load_forecaster(settings: Settings, kind: str) -> Forecaster | None:
    """Load the registry's champion of `kind` ("forecaster-1h"), or None when there is none."""
    reference = open_model_registry(settings).champion(kind)
    return None if reference is None else read_forecaster(settings, reference)


def naive_forecaster() -> Forecaster:
    """The baseline, and the last resort."""
    from finsight.adapters.models.naive_forecaster import NaiveForecaster

    return NaiveForecaster()


def read_forecaster(settings: Settings, reference: ModelReference) -> Forecaster:
    """Load one version of a forecaster. Raises: StoreUnavailable, ModelUnavailable."""
    from finsight.adapters.models.neural_forecaster import NeuralForecaster

    folder = open_model_registry(settings).fetch(reference, settings.data_dir / "models")
    return NeuralForecaster.load(folder, version=reference.version)


def open_model_readers(settings: Settings) -> ModelReaders:
    """What reads versions that don't serve, for comparing them with those that do."""
    from finsight.adapters.models.texts_seen import read_texts_seen
    from finsight.ports.models import ModelReaders

    def sentiment(reference: ModelReference | None) -> SentimentModel:
        if reference is None:
            return load_sentiment_model(settings, settings.sentiment.model or "compact")
        return read_sentiment_model(settings, reference)

    def texts_seen(reference: ModelReference | None) -> frozenset[str] | None:
        if reference is None:
            return None
        registry = open_model_registry(settings)
        return read_texts_seen(registry.fetch(reference, settings.data_dir / "models"))

    return ModelReaders(
        forecaster=lambda reference: read_forecaster(settings, reference),
        naive=naive_forecaster(),
        sentiment=sentiment,
        texts_seen=texts_seen,
    )


def prepare_forecasters() -> None:
    """Import what reading a forecaster takes (seconds), ahead of the first one."""
    from finsight.adapters.models.forecast_network import import_neuralforecast
    from finsight.adapters.models.mlflow_connection import import_mlflow

    import_neuralforecast()
    import_mlflow()


def default_recipe(settings: Settings) -> ForecasterRecipe:
    """The recipe that the settings stand for."""
    from finsight.domain.forecaster_recipe import ForecasterRecipe

    forecasting = settings.forecasting
    return ForecasterRecipe(
        input_size=forecasting.input_candles,
        horizon=forecasting.horizon,
        steps=forecasting.train_steps,
        patch_length=min(24, forecasting.input_candles),
    )


def open_trained(
    folder: Path, metrics: Mapping[str, float], history: Mapping[str, Sequence[float]]
) -> TrainedForecaster:
    """Load a forecaster that another process saved in `folder`. Raises: ModelUnavailable."""
    from finsight.adapters.models.neural_forecaster import NeuralForecaster

    return NeuralForecaster.load(folder, "unregistered", metrics, history)


def learn_forecaster(
    plan: TrainingPlan,
    windows: Sequence[Examples],
    *,
    progress: TrainingProgress | None = None,
    checked: Callable[[int, float], bool] | None = None,
    state_folder: Path | None = None,
) -> TrainedForecaster:
    """Turn windows, in the order of the plan's segments, into a model; see `fit_forecaster`.

    Raises: InvalidInput, StoreUnavailable (the state can't be written).
    """
    from finsight.adapters.models.neural_training import learn

    return learn(plan, windows, progress=progress, checked=checked, state_folder=state_folder)


def fit_forecaster(
    settings: Settings,
    timeframe: Timeframe,
    candles: Mapping[str, CandleTable],
    recipe: ForecasterRecipe | None = None,
    *,
    progress: TrainingProgress | None = None,
    checked: Callable[[int, float], bool] | None = None,
    sentiment: Mapping[str, Sequence[KnownSentiment]] | None = None,
    state_folder: Path | None = None,
) -> TrainedForecaster:
    """Train one model over `candles`, by series key, by `recipe` or as the settings say.

    `checked(step, validation_loss)` is called every `recipe.check_every` steps; True ends
    the training. `sentiment`, by series key, is what an exogenous recipe learns from
    besides. `state_folder` keeps the state at each check: a later call goes on from it.

    Raises: InvalidInput (too little unbroken history).
    """
    from finsight.adapters.models.neural_training import fit_neural
    from finsight.domain.history import History

    recipe = recipe or default_recipe(settings)
    known = sentiment or {}
    histories = {
        key: History.of_candles(table, timeframe, known.get(key, ()) if recipe.exogenous else None)
        for key, table in candles.items()
    }
    return fit_neural(
        histories,
        recipe,
        str(timeframe),
        progress=progress,
        checked=checked,
        state_folder=state_folder,
    )
