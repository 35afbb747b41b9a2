"""From an article appearing in a feed to its score being served over HTTP.

    python -m benchmarks.news_latency [DATA_FOLDER]

The whole platform runs on the recorded world, with one feed more, to which articles are
added at random moments. The news collector reads it every second; what is printed is the
95th percentile of the time beyond that second. No model is trained meanwhile.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import print_figure
from benchmarks.sentiment_texts import DEFAULT_DATA, headlines
from benchmarks.sentiment_throughput import free_port
from finsight.commands.api_client import ApiClient
from finsight.commands.demo import demo_clock, demo_config
from finsight.commands.local_platform import finsight_application, running_platform
from finsight.ports.clock import Clock
from finsight.recordings.feed_writing import Note, write_rss
from finsight.recordings.server import RECORDINGS, start_recorded_world

FEED = "latency"
POLL_S = 1.0
ARTICLES = int(os.environ.get("BENCH_ARTICLES", "80"))
LONGEST_PAUSE_S = 2.0
LOOK_EVERY_S = 0.02
START_LIMIT_S = 180.0
LAST_LIMIT_S = 60.0
TARGET_S = 2.0


class Feed:
    """A feed file to which one article after the other is added, in a thread of its own."""

    def __init__(self, folder: Path, titles: list[str], clock: Clock) -> None:
        self._path = folder / f"{FEED}.rss"
        self._titles = titles
        self._clock = clock
        self._notes: list[Note] = []
        self.appeared: dict[str, float] = {}
        """When each article could first be read, by title, on `time.monotonic`."""

    def add(self, title: str) -> None:
        now = self._clock.now()
        note = Note(f"{FEED}-{len(self._notes)}", now, title, f"What is known: {title}")
        self._notes.append(note)
        # Seen whole or not at all.
        part = self._path.with_suffix(".part")
        write_rss(part, self._notes, "articles that appear at random moments", now)
        part.replace(self._path)
        self.appeared[title] = time.monotonic()

    def add_all(self) -> None:
        for title in self._titles:
            time.sleep(random.uniform(0, LONGEST_PAUSE_S))
            self.add(title)


def main() -> int:
    """Start the platform, add the articles, and print."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_DATA
    first, *titles = headlines(data, ARTICLES + 1)
    clock = demo_clock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        feeds = folder / "feeds"
        feeds.mkdir()
        (folder / "candles").symlink_to(RECORDINGS / "candles")
        feed = Feed(feeds, titles, clock)
        feed.add(first)
        with running(folder, clock) as api:
            wait_for_score(api, first)
            served = follow(api, feed, titles)
    seconds = np.array([served[title] - feed.appeared[title] for title in titles])
    print(
        f"{len(titles)} articles: median {np.median(seconds):.2f} s, 95th percentile "
        f"{np.quantile(seconds, 0.95):.2f} s, longest {seconds.max():.2f} s, polling included"
    )
    beyond = float(np.quantile(seconds, 0.95)) - POLL_S
    met = print_figure(
        "95th percentile beyond the polling interval, vs the limit",
        max(beyond, 0.0),
        TARGET_S,
        "s",
        1.0,
    )
    return 0 if met else 1


@contextmanager
def running(folder: Path, clock: Any) -> Iterator[ApiClient]:
    """The platform as the demo starts it, reading `FEED` every second."""
    with start_recorded_world(folder, clock) as world:
        config = demo_config(world, [FEED], clock, folder / "data", free_port())
        args = finsight_application(config)["args"]
        args["feeds"] = [{**feed, "poll_s": POLL_S} for feed in args["feeds"]]
        args["forecasting"]["train_when_missing"] = False
        with (
            running_platform(config, lambda _: nullcontext()) as addresses,
            ApiClient(addresses.api) as api,
        ):
            yield api


def scored(api: ApiClient) -> set[str]:
    """The titles of the newest articles that are served with a score."""
    newest = api.get("/v1/news/articles", source=FEED, limit=20)["articles"]
    return {article["title"] for article in newest if article["sentiment"] is not None}


def wait_for_score(api: ApiClient, title: str) -> None:
    end = time.monotonic() + START_LIMIT_S
    while title not in scored(api):
        if time.monotonic() > end:
            raise SystemExit(f"the first article is not scored after {START_LIMIT_S:.0f} s")
        time.sleep(0.2)


def follow(api: ApiClient, feed: Feed, titles: list[str]) -> dict[str, float]:
    """Add the articles, and look all the time; return when each score was first served."""
    writer = threading.Thread(target=feed.add_all, daemon=True)
    writer.start()
    served: dict[str, float] = {}
    wanted = set(titles)
    end = time.monotonic() + LONGEST_PAUSE_S * len(titles) + LAST_LIMIT_S
    while wanted:
        found = scored(api) & wanted
        now = time.monotonic()
        served |= dict.fromkeys(found, now)
        wanted -= found
        if now > end:
            raise SystemExit(f"{len(wanted)} articles are still without a score")
        time.sleep(LOOK_EVERY_S)
    writer.join()
    return served


if __name__ == "__main__":
    raise SystemExit(main())
