"""The main job, end to end, as a new user runs it."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.journeys.whole_platform import WholePlatform

pytestmark = pytest.mark.timeout(400)


def test_candles_of_three_series_from_two_venues_are_stored_without_holes(
    platform: WholePlatform,
) -> None:
    candles = platform.report["candles"]
    assert len(candles) >= 3
    assert {key.split(":")[0] for key in candles} == {"binance", "coinbase"}
    assert all(count > 2_000 for count in candles.values())
    assert all(gap["not_fetched"] == 0 for gap in platform.report["gaps"].values())


def test_every_article_of_at_least_two_feeds_is_scored(platform: WholePlatform) -> None:
    articles = platform.report["articles"]
    assert len(articles) >= 2
    assert all(count >= 10 for count in articles.values())
    assert platform.report["scored"] == sum(articles.values())
    assert sum(platform.report["sentiment"].values()) == platform.report["scored"]


def test_patchtst_forecasts_every_series_with_nested_intervals(platform: WholePlatform) -> None:
    forecasts = platform.report["forecasts"]
    assert len(forecasts) == len(platform.report["candles"])
    for forecast in forecasts:
        assert forecast["model"] == "PatchTST"
        assert forecast["basis"] == "exact series"
        assert forecast["horizon"] == 24
        low_95, high_95 = forecast["interval_95"]
        low_80, high_80 = forecast["interval_80"]
        assert low_95 < low_80 < forecast["median"] < high_80 < high_95
        assert forecast["naive"] == forecast["last_close"]


def test_each_model_is_held_against_naive_on_candles_kept_out_of_training(
    platform: WholePlatform,
) -> None:
    for forecast in platform.report["forecasts"]:
        assert forecast["held_against"] >= 3
        assert 0.2 < forecast["error_against_naive"] < 5
    stages = platform.report["seconds"]
    assert {"collect candles", "read the news", "score sentiment", "train PatchTST"} <= set(stages)


def test_the_api_serves_what_was_collected(platform: WholePlatform) -> None:
    page = platform.api.get(
        "/v1/market/candles", exchange="binance", symbol="BTC/USDT", timeframe="4h", limit=10
    )
    opened = [candle["opened_at"] for candle in page["candles"]]
    assert len(opened) == 10
    assert all(earlier < later for earlier, later in pairwise(opened))
    found = platform.api.get("/v1/news/articles", text="bitcoin", symbol="BTC", limit=5)
    assert found["articles"]
    scores = platform.api.post(
        "/v1/sentiment/score", {"texts": ["Bitcoin surges to a record", "Exchange collapses"]}
    )["scores"]
    assert scores[0]["score"] > scores[1]["score"]


def without_numbers(line: str) -> str:
    # Which labels there are depends on the feeds at hand.
    line = line.split("scored:")[0]
    return " ".join(re.sub(r"[\d.,:–-]*\d", "#", line).split())


def test_the_readme_shows_what_the_demo_prints(platform: WholePlatform) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    shown = re.search(r"```text\n(FinSight on recorded.*?)```", readme, re.DOTALL)
    assert shown is not None
    printed = {without_numbers(line) for line in platform.log.read_text().splitlines()}
    assert [
        line
        for line in shown[1].splitlines()
        if line.strip() and without_numbers(line) not in printed
    ] == []
