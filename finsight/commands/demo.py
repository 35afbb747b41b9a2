"""The main job, once, on recorded real data: what `finsight demo` does and shows."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from finsight.commands.api_client import ApiClient
from finsight.commands.ask import price
from finsight.commands.local_platform import (
    Addresses,
    finsight_application,
    read_config,
    running_platform,
    shipped_config,
)
from finsight.commands.show import console, print_table, write_json
from finsight.commands.stages import Stages
from finsight.domain.errors import FinSightError
from finsight.recordings.server import RecordedWorld, start_recorded_world

RECORDED_NOW = datetime(2025, 12, 13, 12, tzinfo=UTC)
"""The moment at which the demo's clock starts: when the recordings were made."""

RECORDED_SINCE = "2025-09-01T00:00:00Z"
SERIES = (("binance", "BTC/USDT"), ("binance", "ETH/USDT"), ("coinbase", "BTC/USD"))
TIMEFRAME = "1h"
HORIZON = 24
MODEL = "PatchTST"


@dataclass(frozen=True)
class DemoClock:
    """The machine's clock, moved to when the recordings were made."""

    offset_s: float

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.offset_s)


def demo_clock() -> DemoClock:
    return DemoClock((RECORDED_NOW - datetime.now(UTC)).total_seconds())


def demo_config(
    world: RecordedWorld, feeds: list[str], clock: DemoClock, data_dir: Path, port: int
) -> dict[str, Any]:
    """Return the Serve config of the demo: the recorded world, and embedded everything."""
    args = {
        "data_dir": str(data_dir),
        "clock_offset_s": clock.offset_s,
        "api_url": f"http://127.0.0.1:{port}",
        "allow_private_feeds": True,
        "exchanges": {name: {"base_url": url} for name, url in world.venue_urls.items()},
        "series": [
            {"exchange": venue, "symbol": symbol, "timeframe": TIMEFRAME, "since": RECORDED_SINCE}
            for venue, symbol in SERIES
        ],
        "feeds": [
            {"name": name, "url": f"{world.base_url}/feeds/{name}", "poll_s": 5} for name in feeds
        ],
        "forecasting": {"horizon": HORIZON},
    }
    shipped = read_config(shipped_config())
    application = finsight_application(shipped)
    shipped["http_options"] = {"host": "127.0.0.1", "port": port}
    shipped["applications"] = [{**application, "args": args}]
    return shipped


class DemoRun:
    """Follows the platform through the main job, stage by stage, as its user sees it: by HTTP."""

    def __init__(self, api: ApiClient, stages: Stages, feeds: list[str]) -> None:
        self._api = api
        self._stages = stages
        self._feeds = feeds

    def run(self) -> dict[str, Any]:
        """Wait for every stage and return what was done.

        Raises:
            FinSightError: a stage took too long; the message says how far it came.
        """
        stage, wait = self._stages.stage, self._stages.wait
        with stage("collect candles"):
            wait(self._candles_done, 120, "collecting candles")
        with stage("read the news"):
            wait(self._news_done, 60, "reading the feeds")
        with stage("score sentiment"):
            wait(self._scoring_done, 120, "scoring articles")
        with stage("train PatchTST"):
            wait(self._training_done, 300, "training")
        with stage("forecast"):
            wait(self._forecasts_done, 120, "forecasting")
        return self.document()

    def document(self) -> dict[str, Any]:
        """What was done so far, for `--json` and for the last screen."""
        series = self._api.get("/v1/market/series")["series"]
        articles = self._articles()
        return {
            "candles": {entry["key"]: entry["candles"] for entry in series},
            "gaps": {entry["key"]: self._gaps(entry["series"]) for entry in series},
            "articles": dict(Counter(article["source"] for article in articles)),
            "scored": sum(article["sentiment"] is not None for article in articles),
            "sentiment": dict(
                Counter(a["sentiment"]["label"] for a in articles if a["sentiment"] is not None)
            ),
            "forecasts": [self._forecast(entry["series"]) for entry in series],
            "seconds": dict(self._stages.seconds),
        }

    def _candles_done(self) -> tuple[bool, str]:
        stored = {e["key"]: e for e in self._api.get("/v1/market/series")["series"]}
        total = sum(entry["candles"] for entry in stored.values())
        newest_closed = RECORDED_NOW - timedelta(hours=1)
        done = len(stored) == len(SERIES) and all(
            entry["last"] and datetime.fromisoformat(entry["last"]) >= newest_closed
            for entry in stored.values()
        )
        venues = len({entry["series"]["exchange"] for entry in stored.values()})
        return done, f"{total:,} candles of {len(stored)} series from {venues} venues"

    def _news_done(self) -> tuple[bool, str]:
        sources = self._api.get("/v1/news/sources")["sources"]
        total = sum(source["articles"] for source in sources)
        return len(sources) == len(self._feeds), f"{total} articles from {len(sources)} feeds"

    def _scoring_done(self) -> tuple[bool, str]:
        articles = self._articles()
        scored = sum(article["sentiment"] is not None for article in articles)
        return scored == len(articles) > 0, f"{scored} of {len(articles)} articles"

    def _training_done(self) -> tuple[bool, str]:
        parts = self._api.readiness().get("parts", [])
        worker = next((p for p in parts if p["part"].startswith("forecast-worker")), None)
        models = self._api.get("/v1/models")["models"]
        champion = next((m for m in models if "champion" in m["aliases"]), None)
        if champion is not None:
            return True, f"version {champion['version']} is the champion of {champion['kind']}"
        return False, worker["detail"] if worker else "waiting for the forecast worker"

    def _forecasts_done(self) -> tuple[bool, str]:
        latest = [self._latest_forecast(venue, symbol) for venue, symbol in SERIES]
        made = sum(forecast is not None for forecast in latest)
        held = [
            record
            for record in self._api.get("/v1/predictions/accuracy")["records"]
            if record["series"] is not None and record["model"] == MODEL
        ]
        detail = f"{made} of {len(SERIES)} series, {len(held)} held against what happened"
        return made == len(SERIES) and len(held) == len(SERIES), detail

    def _latest_forecast(self, venue: str, symbol: str) -> dict[str, Any] | None:
        """The newest forecast from the newest candle by the trained model, or None."""
        listed = self._api.get(
            "/v1/predictions", exchange=venue, symbol=symbol, timeframe=TIMEFRAME, limit=20
        )["predictions"]
        newest_closed = RECORDED_NOW - timedelta(hours=1)
        for entry in listed:
            forecast: dict[str, Any] = entry["forecast"]
            is_current = datetime.fromisoformat(forecast["origin"]) >= newest_closed
            if is_current and forecast["model"] == MODEL:
                return forecast
        return None

    def _forecast(self, series: dict[str, str]) -> dict[str, Any]:
        forecast = self._latest_forecast(series["exchange"], series["symbol"])
        if forecast is None:
            raise FinSightError(f"there is no forecast of {series['symbol']} by {MODEL}")
        records = self._api.get("/v1/predictions/accuracy", **series)["records"]
        record = next((r for r in records if r["model"] == forecast["model"]), None)
        last, naive = forecast["steps"][-1], forecast["naive"][-1]
        return {
            "series": f"{series['exchange']} {series['symbol']} {series['timeframe']}",
            "model": forecast["model"],
            "model_version": forecast["model_version"],
            "basis": forecast["basis"],
            "reason": forecast["reason"],
            "horizon": len(forecast["steps"]),
            "origin": forecast["origin"],
            "last_close": forecast["last_close"],
            "median": last["median"],
            "interval_80": [last["low_80"], last["high_80"]],
            "interval_95": [last["low_95"], last["high_95"]],
            "naive": naive["median"],
            "error_against_naive": record["ratio_to_naive"] if record else None,
            "held_against": record["forecasts"] if record else 0,
            "coverage_80": record["coverage_80"] if record else None,
        }

    def _gaps(self, series: dict[str, str]) -> dict[str, int]:
        report = self._api.get("/v1/market/gaps", **series)
        return {"not_fetched": report["not_fetched"], "no_trades": report["no_trades"]}

    def _articles(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self._api.get("/v1/news/articles", limit=200, cursor=cursor)
            found += page["articles"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found


def run_demo(
    data_dir: Path, port: int, recordings: Path, json_file: Path | None, stay: bool
) -> None:
    """Run the main job on `recordings`; with `stay`, keep serving until Ctrl-C.

    Raises: FinSightError, Misconfigured.
    """
    began_at = time.monotonic()
    clock = demo_clock()
    stages = Stages(console)
    console.print(
        "[bold]FinSight[/] on recorded real data; "
        f"the clock says {RECORDED_NOW:%Y-%m-%d %H:%M} UTC\n"
    )
    feeds = sorted(p.stem for p in (recordings / "feeds").iterdir() if p.suffix in (".rss", ".xml"))
    with start_recorded_world(recordings, clock) as world:
        config = demo_config(world, feeds, clock, data_dir, port)
        with running_platform(config, stages.stage) as addresses:
            with ApiClient(addresses.api) as api:
                document = DemoRun(api, stages, feeds).run()
            document["seconds"]["total"] = round(time.monotonic() - began_at, 1)
            if json_file is not None:
                write_json(document, json_file)
            show(document, addresses if stay else None)
            if stay:
                _serve_until_interrupted()


def show(document: dict[str, Any], addresses: Addresses | None) -> None:
    """Print the last screen."""
    console.print()
    gaps = document["gaps"]
    rows: list[tuple[Any, ...]] = [
        (key, count, gaps[key]["not_fetched"], gaps[key]["no_trades"])
        for key, count in document["candles"].items()
    ]
    print_table("Candles", ("series", "candles", "not fetched", "no trades"), rows)
    console.print()
    spread = ", ".join(f"{n} {label}" for label, n in sorted(document["sentiment"].items()))
    articles = sum(document["articles"].values())
    console.print(
        f"[bold]News[/]  {articles} articles from {len(document['articles'])} feeds, "
        f"{document['scored']} scored: {spread}\n"
    )
    rows = [
        (
            forecast["series"],
            price(forecast["last_close"]),
            price(forecast["median"]),
            f"{price(forecast['interval_80'][0])}–{price(forecast['interval_80'][1])}",
            price(forecast["naive"]),
            _ratio(forecast["error_against_naive"]),
        )
        for forecast in document["forecasts"]
    ]
    first = document["forecasts"][0]
    print_table(
        f"Forecasts by {first['model']}, {first['horizon']} candles ahead",
        ("series", "last close", "forecast", "80 % interval", "naive", "error"),
        rows,
    )
    console.print(
        f"[dim]error: mean MASE over naive's (below 1 is better than naive), "
        f"{first['held_against']} past forecasts\na series, on candles kept out of training[/]\n"
    )
    total = document["seconds"]["total"]
    if addresses is None:
        console.print(f"done in {total:.0f} s")
        return
    console.print(f"Ready after {total:.0f} s. Ctrl-C stops everything.\n")
    console.print(f"  API             {addresses.api}/v1/market/series")
    console.print(f"  documentation   {addresses.docs}")
    console.print(f"  health          {addresses.api}/readyz")
    console.print(f"  Ray dashboard   {addresses.dashboard}  (token: ray get-auth-token)")


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _serve_until_interrupted() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("\nstopping…")
