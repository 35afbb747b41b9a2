"""Several series, fees and slippages in one backtest on the command line."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

from finsight.backtesting import run_together, sweep_across
from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.interval import Interval
from finsight.domain.timeframe import Timeframe
from finsight.settings import Settings
from finsight.wiring import open_candle_store
from tests.builders import NOON, a_walk
from tests.unit.backtest_printing import Backtest, first_id

GRID = ("--grid", "fast=5:15:5", "--grid", "slow=20,30", "--shuffles", "0")
VALUES = {"fast": (5, 10, 15), "slow": (20, 30)}


@pytest.fixture
def coins(tmp_path: Path) -> dict[str, CandleTable]:
    """Two series of candles, by the file that they are in."""
    found = {}
    for name, seed in (("BTC", 1), ("ETH", 2)):
        table = a_walk(400, seed=seed)
        pq.write_table(table.arrow, tmp_path / f"{name}.parquet")
        found[str(tmp_path / f"{name}.parquet")] = table
    return found


@pytest.fixture
def files(coins: dict[str, CandleTable]) -> list[str]:
    return [part for name in coins for part in ("--candles", name)]


def test_a_sweep_tries_every_series_under_every_cost(
    backtest: Backtest, coins: dict[str, CandleTable], files: list[str], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.parquet"
    paid = ("--fee", "0.001", "--fee", "0.002", "--slippage", "0.0005")
    printed = backtest("sweep", *files, *GRID, *paid, "--out", str(rows))
    costs = [{"fee": fee, "slippage": 0.0005} for fee in (0.001, 0.002)]
    expected = sweep_across(coins, "ma_cross", VALUES, costs=costs)
    assert pq.read_table(rows).to_pandas().equals(expected.to_pandas())
    assert "best of 24 sets" in printed
    assert "2 different costs" in printed
    assert re.search(r"deflated Sharpe .* after 24 trials", printed)
    name = first_id(printed)
    assert backtest("rerun", name) == f"{name}: the same\n"


def test_the_winner_of_a_sweep_is_shown_on_its_own_series_and_costs(
    backtest: Backtest, coins: dict[str, CandleTable], files: list[str], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    paid = ("--fee", "0.0", "--fee", "0.002")
    said = json.loads(backtest("sweep", *files, *GRID, *paid, "--json", "--report", str(page)))
    figures = said["figures"]
    table = sweep_across(coins, "ma_cross", VALUES, costs=[{"fee": 0.0}, {"fee": 0.002}])
    best = max(table.to_pylist(), key=lambda row: row["sharpe"])
    for name in ("series", "fee", "fast", "slow"):
        assert figures["parameters"][name] == best[name], name
    assert figures["series"] == best["series"]
    assert figures["statistics"]["sharpe"] == best["sharpe"]
    assert said["provenance"]["costs"]["fee"] == best["fee"]
    assert list(said["saw"]) == list(coins)
    text = page.read_text()
    # Equity, drawdown, the price of that series, and the map of both parameters.
    assert text.count("<svg") == 4
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(picture)


def test_a_run_of_several_series_shares_one_account(
    backtest: Backtest, coins: dict[str, CandleTable], files: list[str], tmp_path: Path
) -> None:
    trades, page = tmp_path / "trades.parquet", tmp_path / "page.html"
    asked = ("--param", "fast=5", "--param", "slow=20", "--fee", "0.001", "--rebalance", "24")
    shares = ("--weight", "BTC=0.6", "--weight", "ETH=0.3")
    sides = ("--direction", "both", "--stop-loss", "0.02")
    kept = ("--out", str(trades), "--report", str(page))
    printed = backtest("run", *files, *asked, *shares, *sides, *kept)
    one, other = coins
    expected = run_together(
        coins,
        "ma_cross",
        {"fast": 5, "slow": 20},
        weights={one: 0.6, other: 0.3},
        rebalance=24,
        costs={"fee": 0.001},
        direction="both",
        stops={"stop_loss": 0.02},
    )
    assert set(expected.trades.column("side").to_pylist()) == {1, -1}
    assert expected.statistics["stopped"] > 5
    assert pq.read_table(trades).equals(expected.trades)
    assert "2 series on one account" in printed
    assert "every 24 candles" in printed
    assert re.search(r"look-ahead +none found in \d+ truncated histories", printed)
    name = first_id(printed)
    assert backtest("rerun", name) == f"{name}: the same\n"
    said = json.loads(backtest("show", name, "--json"))
    assert said["figures"]["statistics"]["sharpe"] == expected.statistics["sharpe"]
    late = said["figures"]["one_candle_late"]["total_return"]
    assert late == expected.one_candle_late["total_return"]
    assert late != expected.statistics["total_return"]
    text = page.read_text()
    # Equity, drawdown, and each symbol's price with its own trades.
    assert text.count("<svg") == 4
    assert text.count("<circle") == 2 * expected.trades.num_rows


def test_stored_series_are_named_one_after_another(backtest: Backtest, tmp_path: Path) -> None:
    store = open_candle_store(Settings(data_dir=tmp_path / "data"))
    for symbol, seed in (("BTC/USDT", 1), ("ETH/USDT", 2)):
        series = Series(exchange="binance", symbol=symbol, timeframe=Timeframe.H1)
        table = a_walk(300, seed=seed)
        last = table.last_opened_at
        assert last is not None
        asyncio.run(store.upsert(series, table, [Interval(NOON, Timeframe.H1.next(last))]))
    both = ("binance", "BTC/USDT", "1h", "binance", "ETH/USDT", "1h")
    said = json.loads(
        backtest("run", *both, "--weight", "BTC=0.5", "--weight", "ETH=0.5", "--json")
    )
    assert said["request"]["kind"] == "together"
    assert said["request"]["costs"]["fee"] == 0.001
    assert list(said["saw"]) == ["binance BTC/USDT 1h", "binance ETH/USDT 1h"]
    swept = json.loads(backtest("sweep", *both[:5], "4h", *GRID, "--json"))
    assert list(swept["saw"]) == ["binance BTC/USDT 1h", "binance ETH/USDT 4h"]
    assert swept["figures"]["sets"] == 12


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("walk-forward", *GRID[:4], "--train", "99", "--test", "99"), "takes one series"),
        (("check",), "takes one series"),
        (("run", "--direction", "up"), "there is no direction 'up'"),
        (("run", "--stop-loss", "5"), "less than 1"),
        (("run", "--weight", "DOGE=0.5"), "is part of none"),
        (("run", "--weight", "parquet=0.5"), "must name one of the series"),
        (("run", "--weight", "BTC=0.5"), "weights are needed for exactly"),
        (("run", "--weight", "BTC=0.9", "--weight", "ETH=0.9"), "at most 1"),
        (("run", "--rebalance", "0"), "every 1 or more"),
        (("sweep", *GRID, "--fee", "0.1", "--fee", "0.1"), "the same costs are named twice"),
        (("sweep", *GRID, "--sentiment", "scores.parquet"), "beside one series"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_named_and_nothing_is_kept(
    backtest: Backtest, files: list[str], asked: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)):
        backtest(asked[0], *files, *asked[1:])
    assert "no backtest was kept yet" in backtest("list")


def test_weights_and_names_that_make_no_sense_for_one_series(
    backtest: Backtest, files: list[str]
) -> None:
    with pytest.raises(InvalidInput, match="for several series"):
        backtest("run", *files[:2], "--rebalance", "24")
    with pytest.raises(InvalidInput, match="is named twice"):
        backtest("run", *files[:2], *files[:2])


def test_venues_with_different_fees_need_one_said(backtest: Backtest, tmp_path: Path) -> None:
    store = open_candle_store(Settings(data_dir=tmp_path / "data"))
    for exchange in ("binance", "kraken"):
        series = Series(exchange=exchange, symbol="BTC/USDT", timeframe=Timeframe.H1)
        table = a_walk(100)
        last = table.last_opened_at
        assert last is not None
        asyncio.run(store.upsert(series, table, [Interval(NOON, Timeframe.H1.next(last))]))
    both = ("binance", "BTC/USDT", "1h", "kraken", "BTC/USDT", "1h")
    with pytest.raises(InvalidInput, match=r"binance 0\.001, kraken 0\.004.*say the fee"):
        backtest("run", *both)
    backtest("run", *both, "--venue", "kraken")
