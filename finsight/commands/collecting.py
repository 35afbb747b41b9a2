"""Commands that bring in candles and news: collect, backfill."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from finsight.commands.api_client import ApiClient
from finsight.commands.local_platform import (
    Config,
    finsight_application,
    read_config,
    shipped_config,
)
from finsight.commands.operating import AsJson
from finsight.commands.show import console, errors, print_json, print_table
from finsight.commands.which_series import named_moment, named_series
from finsight.domain.candle import Series
from finsight.domain.collector import CollectedSeries, NewsFeed
from finsight.domain.errors import FinSightError, InvalidInput, NotFound
from finsight.services.candle_collection import CandleCollection, Collected, CollectionProgress
from finsight.services.retrying import Retrying
from finsight.settings import Settings
from finsight.wiring import (
    open_article_store,
    open_candle_store,
    open_clock,
    open_exchange,
    open_news_source,
)

_ATTEMPTS = 5


def register(app: typer.Typer) -> None:
    """Add this group's commands to `app`."""
    app.command()(collect)
    app.command()(backfill)


def collect(
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Bring every series and feed of the config up to date once, without starting the platform.

    One that fails is reported and doesn't stop the others; exits 1 if any failed.

    Example: finsight collect --config serve_config.yaml
    """
    settings = Settings.load(
        finsight_application(read_config(config or shipped_config())).get("args")
    )
    rows = asyncio.run(_collect_all(settings))
    if as_json:
        print_json(rows)
    else:
        cells = [(row["what"], row["new"], row["error"] or "; ".join(row["notes"])) for row in rows]
        print_table("Collected", ("what", "new", "notes"), cells)
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


def backfill(
    exchange: Annotated[str, typer.Argument(help="ccxt's id of the venue, such as binance.")],
    symbol: Annotated[str, typer.Argument(help="The symbol, such as BTC/USDT.")],
    timeframe: Annotated[str, typer.Argument(help="How long a candle lasts, such as 1h.")],
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="From when: 2024-01-01, in UTC.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Until when, in UTC; else now.")
    ] = None,
    gaps: Annotated[
        bool, typer.Option(help="Fetch only the holes inside what was collected.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a series' history into the store; what is there already is not fetched again.

    With the platform running its collector does the work, so that one rate limiter guards
    the venue's quota. Ctrl-C keeps what was stored; the same command goes on from there.

    Examples:

        finsight backfill binance BTC/USDT 1h --since 2024-01-01

        finsight backfill binance BTC/USDT 1h --gaps
    """
    series = named_series(exchange, symbol, timeframe)
    if since is None and not gaps:
        raise InvalidInput("say from when with --since 2024-01-01, or fill holes with --gaps")
    start, end = named_moment("--since", since), named_moment("--until", until)
    if start is not None and end is not None and start >= end:
        raise InvalidInput(f"--since {start:%Y-%m-%d %H:%M} is not before --until")
    settings = Settings.load()
    with ApiClient(settings.api_url) as api:
        if api.is_running():
            result = _backfill_there(api, series, start, end, gaps)
        else:
            result = asyncio.run(_backfill_here(settings, series, start, end, gaps))
    if as_json:
        print_json(result)
        return
    console.print(f"{result['candles']:,} candles of {series} stored")
    for note in result["notes"]:
        console.print(note, style="yellow", markup=False)


async def _backfill_here(
    settings: Settings, series: Series, start: datetime | None, end: datetime | None, gaps: bool
) -> dict[str, Any]:
    clock = open_clock(settings)
    exchange = open_exchange(settings, series.exchange)
    collection = CandleCollection(
        exchange, open_candle_store(settings), None, clock, Retrying(max_attempts=_ATTEMPTS)
    )
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} % {task.fields[rate]}"),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    )
    try:
        with progress:
            task = progress.add_task(str(series), total=1.0, rate="")

            def show(at: CollectionProgress) -> None:
                rate = f"{at.candles:,} candles, {at.candles_per_s:,.0f}/s"
                progress.update(task, completed=at.done, rate=rate)

            def say(trouble: FinSightError) -> None:
                progress.console.print(f"{trouble}; trying again", style="yellow", markup=False)

            if gaps:
                if not await collection.store.coverage(series):
                    raise NotFound(f"nothing was fetched of {series} yet, so it has no gaps")
                done = await collection.fill_gaps(series, start, end, show, say)
            else:
                assert start is not None
                done = await collection.backfill(series, start, end or clock.now(), show, say)
    finally:
        await exchange.close()
    return _summary(series, done)


def _backfill_there(
    api: ApiClient, series: Series, start: datetime | None, end: datetime | None, gaps: bool
) -> dict[str, Any]:
    asked = {
        **series.model_dump(mode="json"),
        "start": start.isoformat() if start else None,
        "end": end.isoformat() if end else None,
        "gaps_only": gaps,
    }
    job = api.post("/v1/market/backfills", {k: v for k, v in asked.items() if v is not None})
    with Progress(console=errors, transient=True) as progress:
        task = progress.add_task(str(series), total=1.0)
        while True:
            state = api.get(f"/v1/market/backfills/{job['id']}")
            progress.update(task, completed=state["done"])
            if state["state"] in ("done", "failed", "cancelled"):
                break
            time.sleep(0.5)
    if state["state"] != "done":
        raise FinSightError(f"the backfill {state['state']}: {state['error'] or ''}")
    return {"series": series.key, "candles": state["candles"], "notes": state["notes"]}


async def _collect_all(settings: Settings) -> list[dict[str, Any]]:
    by_exchange: dict[str, list[CollectedSeries]] = {}
    for wanted in settings.series:
        by_exchange.setdefault(wanted.exchange, []).append(wanted)
    found = await asyncio.gather(
        *(_collect_exchange(settings, name, series) for name, series in by_exchange.items()),
        *(_collect_feed(settings, feed) for feed in settings.feeds),
    )
    return [row for rows in found for row in rows]


async def _collect_exchange(
    settings: Settings, name: str, wanted: list[CollectedSeries]
) -> list[dict[str, Any]]:
    clock = open_clock(settings)
    exchange = open_exchange(settings, name)
    collection = CandleCollection(
        exchange, open_candle_store(settings), None, clock, Retrying(max_attempts=_ATTEMPTS)
    )
    rows = []
    try:
        for each in wanted:
            try:
                done = await collection.backfill(each.series, each.since, clock.now())
                rows.append(_row(str(each.series), done.candles, done.notes))
            except FinSightError as exc:
                rows.append(_row(str(each.series), 0, error=str(exc)))
    finally:
        await exchange.close()
    return rows


async def _collect_feed(settings: Settings, feed: NewsFeed) -> list[dict[str, Any]]:
    from finsight.ports.news import Validators
    from finsight.services.symbol_tags import tagged

    try:
        source = open_news_source(settings, feed)
    except FinSightError as exc:
        return [_row(f"feed {feed.name}", 0, error=str(exc))]
    try:
        answer = await source.fetch(Validators())
        # Not announced here: the platform announces what it finds unannounced.
        new = await open_article_store(settings).add([tagged(a) for a in answer.articles])
        return [_row(f"feed {feed.name}", len(new), answer.warnings)]
    except FinSightError as exc:
        return [_row(f"feed {feed.name}", 0, error=str(exc))]
    finally:
        await source.close()


def _row(
    what: str, new: int, notes: tuple[str, ...] = (), error: str | None = None
) -> dict[str, Any]:
    return {"what": what, "new": new, "notes": list(notes), "error": error}


def _summary(series: Series, done: Collected) -> dict[str, Any]:
    return {"series": series.key, "candles": done.candles, "notes": list(done.notes)}
