"""Settings to what keeps things, and to the venues and feeds they come from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from finsight.adapters.clock import SystemClock
from finsight.domain.collector import NewsFeed
from finsight.domain.errors import Misconfigured, StoreUnavailable
from finsight.settings import ExchangeSettings, Settings

if TYPE_CHECKING:
    from finsight.adapters.events.valkey_server import ValkeyServer
    from finsight.ports.backtests import BacktestStore
    from finsight.ports.clock import Clock
    from finsight.ports.events import EventBus
    from finsight.ports.forecasts import ForecastStore
    from finsight.ports.market import CandleStore, Exchange
    from finsight.ports.news import ArticleStore, NewsSource
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
