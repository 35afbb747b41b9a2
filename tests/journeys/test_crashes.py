"""kill -9 in the middle of work: nothing lost, nothing twice, ready again by itself."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from finsight.adapters.events.redis_streams import RedisStreamsBus
from finsight.commands.demo import RECORDED_NOW
from finsight.domain.errors import FinSightError, StoreUnavailable
from tests.journeys.whole_platform import WholePlatform, wait_for

pytestmark = pytest.mark.timeout(400)
MINUTES = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1m"}
READY_AGAIN_S = 60
FORECASTER = "ray::ServeReplica:finsight:Forecaster"


def write_feed(folder: Path, name: str, articles: int) -> None:
    """A feed of `articles` short notes, published minutes apart."""
    items = []
    for number in range(articles):
        published = RECORDED_NOW - timedelta(hours=1, minutes=number)
        title = f"Note {number}: bitcoin {'gains' if number % 2 else 'drops'} {number} dollars"
        items.append(
            f"<item><title>{escape(title)}</title>"
            f"<link>https://finsight.example/{name}/{number}</link>"
            f"<pubDate>{format_datetime(published)}</pubDate></item>"
        )
    text = f'<rss version="2.0"><channel><title>{name}</title>{"".join(items)}</channel></rss>'
    (folder / f"{name}.rss").write_text(text)


def read_feed(platform: WholePlatform, name: str, articles: int) -> None:
    """Have the platform collect a new feed of `articles` notes."""
    write_feed(platform.recordings / "feeds", name, articles)
    parts = platform.api.get("/v1/collectors")["collectors"]
    address = next(part["collector"]["news"]["url"] for part in parts if part["collector"]["news"])
    url = f"{address.rsplit('/', 1)[0]}/{name}"
    platform.api.post("/v1/collectors", {"news": {"name": name, "url": url, "poll_s": 1}})


def scores_of(platform: WholePlatform, source: str) -> tuple[int, int]:
    """How many articles of `source` there are, and how many have a score."""
    found = articles_of(platform, source)
    ids = [article["id"] for article in found]
    assert len(set(ids)) == len(ids), "an article is there twice"
    return len(found), sum(article["sentiment"] is not None for article in found)


def articles_of(platform: WholePlatform, source: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = platform.api.get("/v1/news/articles", source=source, limit=500, cursor=cursor)
        found += page["articles"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def assert_all_scored_once(platform: WholePlatform, source: str, articles: int) -> None:
    wait_for(
        lambda: scores_of(platform, source) == (articles, articles),
        READY_AGAIN_S,
        lambda: (scores_of(platform, source), platform.not_ready()),
    )


def assert_ready_again(platform: WholePlatform) -> None:
    wait_for(platform.is_ready, READY_AGAIN_S, platform.not_ready)


def minutes_stored(platform: WholePlatform) -> int:
    for entry in platform.api.get("/v1/market/series", exchange="binance")["series"]:
        if entry["key"] == "binance:BTC-USDT:1m":
            return int(entry["candles"])
    return 0


def is_done(platform: WholePlatform, job: str) -> bool:
    """Whether a backfill is done; a collector that is being rebuilt can't say yet."""
    try:
        return bool(platform.api.get(f"/v1/market/backfills/{job}")["state"] == "done")
    except StoreUnavailable:
        return False


def test_a_collector_killed_in_a_backfill_stores_every_candle_once(
    platform: WholePlatform, shared_data: Path
) -> None:
    start, end = datetime(2025, 8, 1, tzinfo=UTC), datetime(2025, 11, 1, tzinfo=UTC)
    job = platform.api.post(
        "/v1/market/backfills", {**MINUTES, "start": start.isoformat(), "end": end.isoformat()}
    )["id"]
    wait_for(lambda: minutes_stored(platform) > 0, 60, platform.not_ready)
    assert minutes_stored(platform) < 132_480, "the backfill was over before it was killed"
    platform.kill("ray::CandleCollector")

    wait_for(lambda: is_done(platform, job), 120, platform.not_ready)
    assert_ready_again(platform)
    gaps = platform.api.get(
        "/v1/market/gaps", **MINUTES, start=start.isoformat(), end=end.isoformat()
    )
    assert gaps["expected"] == 132_480
    assert (gaps["present"], gaps["not_fetched"]) == (132_480, 0)
    assert minutes_stored(platform) == 132_480


def test_a_sentiment_worker_killed_while_scoring_leaves_no_article_behind(
    platform: WholePlatform,
) -> None:
    read_feed(platform, "worker-killed", 400)
    wait_for(lambda: scores_of(platform, "worker-killed")[0] > 0, 60, platform.not_ready)
    platform.kill("ray::SentimentWorker")
    assert_all_scored_once(platform, "worker-killed", 400)
    assert_ready_again(platform)


def test_a_killed_sentiment_replica_is_replaced_and_every_article_scored(
    platform: WholePlatform,
) -> None:
    read_feed(platform, "replica-killed", 400)
    wait_for(lambda: scores_of(platform, "replica-killed")[0] > 0, 60, platform.not_ready)
    platform.kill("ray::ServeReplica:finsight:Sentiment")
    assert_all_scored_once(platform, "replica-killed", 400)
    assert_ready_again(platform)


def test_a_killed_event_server_comes_back_with_every_event(platform: WholePlatform) -> None:
    read_feed(platform, "valkey-killed", 400)
    wait_for(lambda: scores_of(platform, "valkey-killed")[0] > 0, 60, platform.not_ready)
    platform.kill("valkey-server")
    assert_all_scored_once(platform, "valkey-killed", 400)
    assert_ready_again(platform)


def test_a_killed_news_collector_reads_on(platform: WholePlatform) -> None:
    platform.kill("ray::NewsCollector")
    read_feed(platform, "collector-killed", 100)
    assert_all_scored_once(platform, "collector-killed", 100)
    assert_ready_again(platform)


def test_a_killed_supervisor_and_a_killed_gateway_come_back(platform: WholePlatform) -> None:
    platform.kill("ray::Supervisor")
    platform.kill("ray::ServeReplica:finsight:Gateway")
    assert_ready_again(platform)


def test_a_killed_forecaster_answers_again_with_its_model(platform: WholePlatform) -> None:
    platform.kill(FORECASTER)
    wait_for(lambda: forecasting_model(platform) == "PatchTST", READY_AGAIN_S, platform.not_ready)
    assert platform.is_back(FORECASTER)
    assert_ready_again(platform)


def test_with_almost_everything_killed_at_once_everything_comes_back(
    platform: WholePlatform,
) -> None:
    read_feed(platform, "all-killed", 400)
    wait_for(lambda: scores_of(platform, "all-killed")[0] > 0, 60, platform.not_ready)
    killed = [
        "ray::EmbeddedValkey",
        "ray::Supervisor",
        "ray::CandleCollector",
        "ray::NewsCollector",
        "ray::SentimentWorker",
        "ray::ForecastWorker",
        "ray::ServeReplica:finsight:Sentiment",
        "ray::ServeReplica:finsight:Platform",
        FORECASTER,
    ]
    for title in killed:
        platform.kill(title)
    wait_for(
        lambda: all(platform.is_back(title) for title in [*killed, "valkey-server"]),
        READY_AGAIN_S,
        lambda: [title for title in killed if not platform.is_back(title)],
    )
    assert_ready_again(platform)
    assert_all_scored_once(platform, "all-killed", 400)


def forecasting_model(platform: WholePlatform) -> str | None:
    """Which model answers a request now, or None while none does."""
    asked = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1h", "horizon": 3}
    try:
        return str(platform.api.post("/v1/predictions", asked)["forecast"]["model"])
    except FinSightError:
        return None


def test_nothing_was_scored_twice_or_given_up(platform: WholePlatform) -> None:
    assert platform.api.get("/v1/operations/dead-letters")["count"] == 0
    articles = articles_of(platform, None)
    assert all(article["sentiment"] is not None for article in articles)
    told = asyncio.run(scores_told(platform))
    assert set(told) == {article["id"] for article in articles}
    # A score is told once; only a kill between telling and noting it may tell it again.
    assert len(told) - len(set(told)) <= 64


async def scores_told(platform: WholePlatform) -> list[str]:
    """The articles whose scores were announced, as the event stream has them."""
    bus = RedisStreamsBus(
        json.loads((platform.data_dir / "valkey/address.json").read_text())["url"]
    )
    told = []
    try:
        while deliveries := await bus.receive("test", "one", ["SentimentScored"], 1000, 0.5):
            told += [delivery.event.article_id for delivery in deliveries]
            await bus.acknowledge("test", [delivery.id for delivery in deliveries])
    finally:
        await bus.close()
    return told
