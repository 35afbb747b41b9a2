"""One running demo for every journey: starting it is the expensive part."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from finsight.commands.demo import SERIES
from finsight.recordings.server import RECORDINGS
from tests.conftest import SHARED_DATA
from tests.journeys.whole_platform import WholePlatform, started_demo


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's recordings with, where it is there, more of the real data.

    One-minute candles give the collectors long work to be killed in, and the
    publishers' own feeds are longer than our notes.
    """
    folder = tmp_path_factory.mktemp("recordings")
    shutil.copytree(RECORDINGS / "candles", folder / "candles")
    shutil.copytree(RECORDINGS / "feeds", folder / "feeds")
    minutes = SHARED_DATA / "candles/binance/BTC-USDT/1m.parquet"
    if minutes.exists():
        (folder / "candles/binance/BTC-USDT/1m.parquet").symlink_to(minutes)
        for feed in (SHARED_DATA / "rss/real").glob("*.rss"):
            shutil.copy(feed, folder / "feeds" / feed.name)
    assert {venue for venue, _ in SERIES} == {"binance", "coinbase"}
    return folder


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, recordings: Path) -> Iterator[WholePlatform]:
    with started_demo(tmp_path_factory.mktemp("platform"), recordings) as running:
        yield running
