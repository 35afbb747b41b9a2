"""Writes the demo's two feeds: market notes in FinSight's own words, from recorded candles.

    python -m finsight.recordings.make_notes

Publishers' feeds may not be copied, so these say what the recorded candles say and
nothing else. Every figure is computed here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from finsight.domain.timeframe import to_ms
from finsight.recordings.feed_writing import Note, write_atom, write_rss

HERE = Path(__file__).parent
FIRST_DAY = datetime(2025, 12, 6, tzinfo=UTC)
LAST_DAY = datetime(2025, 12, 12, tzinfo=UTC)
END = datetime(2025, 12, 13, 12, tzinfo=UTC)
ABOUT = (
    "FinSight's own notes, computed from recorded candles of Binance and Coinbase. "
    "No publisher's text; made by finsight/recordings/make_notes.py."
)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NAMES = {"BTC": "Bitcoin", "ETH": "Ether"}


class Recorded:
    """Hourly candles of one series; spans are `[start, end)` of opening times."""

    def __init__(self, venue: str, pair: str) -> None:
        path = HERE / "candles" / venue / pair / "1h.parquet"
        table = pq.read_table(path)
        self._ts = table["ts"].cast("int64").to_numpy()
        self._columns = {
            name: table[name].to_numpy() for name in ("open", "high", "low", "close", "volume")
        }

    def column(self, name: str, start: datetime, end: datetime) -> np.ndarray:
        first, stop = np.searchsorted(self._ts, [to_ms(start), to_ms(end)])
        return np.asarray(self._columns[name][first:stop])

    def close_at(self, moment: datetime) -> float:
        """The last price before `moment`."""
        return float(self.column("close", moment - 6 * HOUR, moment)[-1])

    def change(self, start: datetime, end: datetime) -> float:
        """Change of price between two moments, in percent."""
        return (self.close_at(end) / self.close_at(start) - 1) * 100


class Market:
    """The recordings that the notes are made of."""

    def __init__(self) -> None:
        self.binance = {base: Recorded("binance", f"{base}-USDT") for base in ("BTC", "ETH")}
        self.coinbase = Recorded("coinbase", "BTC-USD")


def main() -> None:
    """Write both feeds beside this file."""
    market = Market()
    folder = HERE / "feeds"
    folder.mkdir(exist_ok=True)
    write_rss(folder / "market-notes.rss", market_notes(market), ABOUT, END)
    write_atom(folder / "desk-notes.xml", desk_notes(market), ABOUT, END)


def market_notes(market: Market) -> list[Note]:
    """The daily notes on each coin, and the week's."""
    notes = []
    for number in range((LAST_DAY - FIRST_DAY).days + 1):
        day = FIRST_DAY + number * DAY
        notes.append(_day_of(market, "BTC", day, number))
        notes.append(_day_of(market, "ETH", day, number))
        if number % 2 == 0:
            notes.append(_busiest_hour(market, "BTC" if number % 4 == 0 else "ETH", day))
    notes.append(_week_of(market, "BTC"))
    notes.append(_week_of(market, "ETH"))
    return notes


def desk_notes(market: Market) -> list[Note]:
    """A second feed: other angles, and some of the first one's stories in other words."""
    notes = []
    for number in range((LAST_DAY - FIRST_DAY).days + 1):
        day = FIRST_DAY + number * DAY
        notes.append(_venues_apart(market, day))
        notes.append(_ether_against_bitcoin(market, day, number))
        if number % 2 == 1:
            notes.append(_same_story(_day_of(market, "BTC", day, number)))
    notes.append(_deepest_fall(market, "BTC"))
    notes.append(_deepest_fall(market, "ETH"))
    notes.append(_same_story(_week_of(market, "ETH")))
    return notes


def _day_of(market: Market, base: str, day: datetime, number: int) -> Note:
    series, name, end = market.binance[base], NAMES[base], day + DAY
    change, close = series.change(day, end), series.close_at(end)
    high = float(series.column("high", day, end).max())
    low = float(series.column("low", day, end).min())
    size, price = f"{abs(change):.1f}%", dollars(close)
    up = change > 0
    if abs(change) < 0.4:
        title = (
            f"{name} ends {day:%A} little changed at {price}",
            f"{name} goes nowhere on {day:%A}, closing near {price} on Binance",
        )[number % 2]
    elif abs(change) >= 2.5:
        title = (
            f"{name} {'jumps' if up else 'tumbles'} {size} in a day to {price} on Binance",
            f"{name} {'rallies' if up else 'sinks'} {size} on {day:%A}, closing at {price}",
        )[number % 2]
    else:
        title = (
            f"{name} {'rises' if up else 'falls'} {size} in a day to {price} on Binance",
            f"{name} {'gains' if up else 'slips'} {size} on {day:%A}, closing at {price}",
            f"{'Buyers return to' if up else 'Sellers press'} {name} as it "
            f"{'climbs' if up else 'drops'} {size} to {price}",
        )[number % 3]
    summary = (
        f"{name} ({base}) traded between {dollars(low)} and {dollars(high)} on "
        f"{day:%d %B %Y} (UTC) and ended the day {'up' if up else 'down'} {abs(change):.2f}%."
    )
    return Note(f"{base.lower()}-day-{day:%Y-%m-%d}", end + 5 * (HOUR / 60), title, summary)


def _busiest_hour(market: Market, base: str, day: datetime) -> Note:
    series, name = market.binance[base], NAMES[base]
    volumes = series.column("volume", day, day + DAY)
    hour = day + int(volumes.argmax()) * HOUR
    share = 100 * float(volumes.max() / volumes.sum())
    change = series.change(hour, hour + HOUR)
    went = "rose" if change > 0 else "fell"
    return Note(
        f"{base.lower()}-busiest-hour-{day:%Y-%m-%d}",
        day + DAY + 20 * (HOUR / 60),
        f"{name} volume peaks at {hour:%H:00} UTC on {day:%A} as the price {went} "
        f"{abs(change):.1f}%",
        f"{volumes.max():,.0f} {base} changed hands on Binance in that hour of "
        f"{day:%d %B %Y}, {share:.0f}% of the day's volume.",
    )


def _week_of(market: Market, base: str) -> Note:
    series, name, start = market.binance[base], NAMES[base], END - 7 * DAY
    change = series.change(start, END)
    high = float(series.column("high", start, END).max())
    low = float(series.column("low", start, END).min())
    verb = "advances" if change > 0 else "retreats"
    return Note(
        f"{base.lower()}-week-{END:%Y-%m-%d}",
        END - HOUR / 2,
        f"{name} {verb} {abs(change):.1f}% in a week after swinging between "
        f"{dollars(low)} and {dollars(high)}",
        f"Over the seven days to {END:%d %B %Y}, the range of {name} on Binance was "
        f"{(high / low - 1) * 100:.1f}% of its low.",
    )


def _venues_apart(market: Market, day: datetime) -> Note:
    end = day + DAY
    binance, coinbase = market.binance["BTC"].close_at(end), market.coinbase.close_at(end)
    gap = coinbase - binance
    word = "premium" if gap > 0 else "discount"
    return Note(
        f"btc-coinbase-{word}-{day:%Y-%m-%d}",
        end + 10 * (HOUR / 60),
        f"Bitcoin trades at a {dollars(abs(gap))} {word} on Coinbase as {day:%A} ends",
        f"The last trade of {day:%d %B %Y} was at {dollars(coinbase)} against the dollar on "
        f"Coinbase and {dollars(binance)} against USDT on Binance, a gap of "
        f"{abs(gap) / binance * 1e4:.1f} basis points.",
    )


def _ether_against_bitcoin(market: Market, day: datetime, number: int) -> Note:
    end = day + DAY
    bitcoin, ether = (market.binance[base].change(day, end) for base in ("BTC", "ETH"))
    ratio = market.binance["ETH"].close_at(end) / market.binance["BTC"].close_at(end)
    lead = abs(ether - bitcoin)
    stronger = ether > bitcoin
    title = (
        f"Ether {'outperforms' if stronger else 'underperforms'} Bitcoin by {lead:.1f} points "
        f"on {day:%A}",
        f"Ether {'gains ground on' if stronger else 'loses ground to'} Bitcoin, "
        f"ratio at {ratio:.4f}",
    )[number % 2]
    return Note(
        f"eth-btc-{day:%Y-%m-%d}",
        end + 15 * (HOUR / 60),
        title,
        f"On {day:%d %B %Y} ETH moved {ether:+.2f}% and BTC {bitcoin:+.2f}% on Binance; one "
        f"ether buys {ratio:.5f} bitcoin.",
    )


def _deepest_fall(market: Market, base: str) -> Note:
    series, start = market.binance[base], END - 7 * DAY
    closes = series.column("close", start, END)
    falls = closes / np.maximum.accumulate(closes) - 1
    bottom = int(falls.argmin())
    top = int(closes[: bottom + 1].argmax())
    return Note(
        f"{base.lower()}-drawdown-{END:%Y-%m-%d}",
        END - HOUR / 4,
        f"{NAMES[base]}'s worst slide of the week took {abs(falls.min()) * 100:.1f}% off "
        f"in {bottom - top} hours",
        f"From an hourly close of {dollars(closes[top])} on {start + (top + 1) * HOUR:%A} to "
        f"{dollars(closes[bottom])} on {start + (bottom + 1) * HOUR:%A}, on Binance.",
    )


def _same_story(note: Note) -> Note:
    """The note as the second feed tells it: its own page, nearly the same title."""
    title = note.title.removesuffix(" on Binance")
    return Note(
        f"desk-{note.slug}",
        note.published_at + HOUR / 4,
        f"{title}, Binance candles show",
        f"{note.summary} Hourly candles, UTC.",
    )


def dollars(amount: float) -> str:
    """'$89,900', with cents below a thousand."""
    return f"${amount:,.0f}" if amount >= 1000 else f"${amount:,.2f}"


if __name__ == "__main__":
    main()
