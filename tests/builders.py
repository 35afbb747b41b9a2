"""Valid domain objects; a test names only what it cares about."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from finsight.domain.article import Article, article_id
from finsight.domain.candle import Candle, Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.sentiment import ArticleScore, SentimentScore
from finsight.domain.timeframe import Timeframe, to_ms

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TIDE_START = datetime(2024, 1, 1, tzinfo=UTC)
BTC_HOURLY = Series(exchange="binance", symbol="BTC/USDT", timeframe=Timeframe.H1)
ETH_HOURLY = Series(exchange="binance", symbol="ETH/USDT", timeframe=Timeframe.H1)
BTC_MINUTES = Series(exchange="binance", symbol="BTC/USDT", timeframe=Timeframe.M1)


def a_candle(**given: Any) -> Candle:
    close = given.get("close", 100.0)
    values = {"opened_at": NOON, "open": 100.0, "close": close, "volume": 5.0}
    values |= {"high": max(100.0, close) + 1, "low": min(100.0, close) - 1}
    return Candle(**(values | given))


def candles_at(*moments: datetime, close: float = 100.0) -> CandleTable:
    """One plain candle at each moment, in the order given."""
    return CandleTable.from_candles([a_candle(opened_at=m, close=close) for m in moments])


def a_walk(
    rows: int, start: datetime = NOON, timeframe: Timeframe = Timeframe.H1, seed: int = 0
) -> CandleTable:
    """`rows` consecutive candles of a random walk."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    open_ = np.concatenate([[100.0], close[:-1]])
    spread = 1 + np.abs(rng.normal(0, 0.005, rows))
    high, low = np.maximum(open_, close) * spread, np.minimum(open_, close) / spread
    ts = to_ms(timeframe.ceil(start)) + np.arange(rows, dtype=np.int64) * timeframe.duration_ms
    return CandleTable.from_columns(ts, open_, high, low, close, rng.uniform(1, 10, rows))


def a_tide(rows: int, seed: int = 0) -> CandleTable:
    """Closes that rise and fall within every day, a little unsteadily."""
    hours = np.arange(rows)
    moves = 0.05 * np.sin(2 * np.pi * hours / 24)
    close = 100 * np.exp(moves + np.random.default_rng(seed).normal(0, 0.003, rows))
    ts = np.array(a_walk(rows, TIDE_START).ts_ms)
    return CandleTable.from_columns(ts, close, close * 1.01, close * 0.99, close, close)


def an_article(**given: Any) -> Article:
    url = given.get("canonical_url", given.get("url", "https://news.example/bitcoin-rises"))
    values = {
        "id": article_id(url),
        "url": url,
        "canonical_url": url,
        "title": "Bitcoin rises",
        "source": "example",
        "story_id": article_id(url),
        "published_at": NOON,
        "first_seen_at": NOON + timedelta(minutes=1),
        "symbols": ("BTC",),
    }
    return Article(**(values | given))


def a_sentiment(**given: Any) -> SentimentScore:
    values = {"negative": 0.1, "neutral": 0.2, "positive": 0.7, "model": "m", "model_version": "1"}
    return SentimentScore(**(values | given))


def a_score(article: Article, **given: Any) -> ArticleScore:
    values = {
        "article_id": article.id,
        "sentiment": a_sentiment(),
        "scored_at": article.known_at + timedelta(seconds=1),
    }
    return ArticleScore(**(values | given))
