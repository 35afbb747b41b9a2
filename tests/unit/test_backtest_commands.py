"""`finsight backtest` as a person uses it: figures, doubts, mistakes, and doing it again."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finsight.backtesting import run as run_backtest
from finsight.domain.backtest import metadata_of
from finsight.domain.candle import Series
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import FinSightError, InvalidInput, NotFound
from finsight.domain.interval import Interval
from finsight.domain.timeframe import Timeframe
from finsight.recordings.server import RECORDINGS
from finsight.settings import Settings
from finsight.wiring import open_candle_store
from tests.unit.backtest_printing import Backtest, first_id

BITCOIN = RECORDINGS / "candles/binance/BTC-USDT/1h.parquet"
GAPPED = RECORDINGS / "candles/coinbase/BTC-USD/1h.parquet"
SMALL_GRID = ("--grid", "fast=5:15:5", "--grid", "slow=10:40:10")
A_STRATEGY = """
import numpy as np

def knows_tomorrow(candles):
    rises = np.append(candles.close[1:] > candles.close[:-1], False)
    return rises, ~rises
"""
A_DIVIDER = """
import numpy as np

def every(candles, days):
    hours = 24 // days
    at = np.arange(len(candles.close)) // hours
    return at % 2 == 0, at % 2 == 1
"""


@pytest.fixture
def file() -> tuple[str, ...]:
    """Real candles, a few hundred of them."""
    return ("--candles", str(BITCOIN), "--until", "2025-09-20")


def test_a_run_gives_the_engines_own_figures(backtest: Backtest, file: tuple[str, ...]) -> None:
    asked = ("--param", "fast=5", "--param", "slow=20", "--fee", "0.001", "--stop-loss", "0.005")
    said = json.loads(backtest("run", *file, *asked, "--direction", "both", "--json"))
    candles = CandleTable.from_arrow(pq.read_table(BITCOIN).slice(0, 19 * 24))
    expected = run_backtest(
        candles,
        "ma_cross",
        {"fast": 5, "slow": 20},
        costs={"fee": 0.001},
        direction="both",
        stops={"stop_loss": 0.005},
    )
    assert said["provenance"]["data_fingerprint"] == expected.provenance.data_fingerprint
    assert said["figures"]["statistics"]["sharpe"] == expected.statistics["sharpe"]
    assert said["figures"]["statistics"]["stopped"] == expected.statistics["stopped"] > 0
    late = expected.one_candle_late["total_return"]
    assert said["figures"]["one_candle_late"]["total_return"] == late


def test_a_run_says_what_its_figures_rest_on(backtest: Backtest) -> None:
    printed = backtest("run", "--candles", str(GAPPED), "--param", "fast=5")
    assert "buy and hold" in printed
    assert "5 missing, holes: 1, the longest 5; nothing was filled in" in printed
    assert re.search(r"look-ahead +none found in \d+ truncated histories", printed)
    assert "one candle late" in printed
    assert "nobody trades for nothing" in printed
    assert "nobody trades" not in backtest("run", "--candles", str(GAPPED), "--venue", "kraken")
    assert "the signal was computed from" in backtest(
        "run", "--candles", str(GAPPED), "--execution", "close"
    )


def test_a_sweep_shows_its_winner_with_the_luck_figures(
    backtest: Backtest, file: tuple[str, ...], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.parquet"
    asked = ("sweep", *file, *SMALL_GRID, "--shuffles", "9", "--out", str(rows))
    printed = backtest(*asked)
    for figure in ("deflated Sharpe", "around it", "overfitting", "permutation"):
        assert re.search(rf"^{figure} ", printed, re.MULTILINE), figure
    table = pq.read_table(rows)
    # 3 x 4 sets, of which fast 10 and 15 are not below slow 10.
    assert table.num_rows == 10
    assert "10 sets tried, 2 ruled out" in printed
    assert metadata_of(table)["winner"]["trials"] == 10
    shown = backtest("show", first_id(printed))
    assert "deflated Sharpe" in shown
    assert re.search(r"seed 0, candles [0-9a-f]{32}", shown)


def test_a_sweep_without_slow_tests_says_that_they_are_missing(
    backtest: Backtest, file: tuple[str, ...]
) -> None:
    printed = backtest("sweep", *file, *SMALL_GRID, "--shuffles", "0")
    assert re.search(r"permutation +not known: not asked for", printed)


def test_a_walk_forward_shows_what_came_after_the_choosing(
    backtest: Backtest, file: tuple[str, ...]
) -> None:
    said = backtest("walk-forward", *file, *SMALL_GRID, "--train", "200", "--test", "100")
    assert "out of sample: parameters chosen on the past alone" in said
    assert "on average over 3 folds" in said
    assert "buy and hold" in said


@pytest.mark.parametrize(
    "asked",
    [
        ("run", "--strategy", "rsi", "--direction", "both", "--slippage", "0.001"),
        ("sweep", *SMALL_GRID, "--sample", "6", "--seed", "3", "--shuffles", "5"),
        ("walk-forward", *SMALL_GRID, "--train", "200", "--test", "100", "--embargo", "5"),
    ],
    ids=lambda asked: asked[0],
)
def test_doing_it_again_gives_the_same_figures(
    backtest: Backtest, tmp_path: Path, asked: tuple[str, ...]
) -> None:
    candles = tmp_path / "candles.parquet"
    pq.write_table(pq.read_table(BITCOIN).slice(0, 500), candles)
    name = first_id(backtest(asked[0], "--candles", str(candles), *asked[1:]))
    candles.unlink()  # the store keeps what was seen
    assert backtest("rerun", name) == f"{name}: the same\n"


def test_figures_that_are_not_the_same_are_named(
    backtest: Backtest, file: tuple[str, ...], settings: Settings, tmp_path: Path
) -> None:
    from finsight.adapters.backtests.parquet_backtests import ParquetBacktestStore

    name = first_id(backtest("run", *file))
    store = ParquetBacktestStore(tmp_path / "data" / "backtests")
    kept = asyncio.run(store.get(name))
    kept.figures["statistics"]["sharpe"] += 1e-15
    tables = {each: asyncio.run(store.table(name, each)) for each in kept.tables}
    tables["equity"] = tables["equity"].slice(1)
    asyncio.run(store.save(kept, tables, asyncio.run(store.candles(name))))
    printed = backtest("rerun", name, code=1)
    assert "2 figures differ: statistics.sharpe, the table equity" in printed


def test_the_store_is_read_and_the_venues_fees_are_taken(
    backtest: Backtest, tmp_path: Path
) -> None:
    series = Series(exchange="binance", symbol="BTC/USDT", timeframe=Timeframe.H1)
    candles = CandleTable.from_arrow(pq.read_table(BITCOIN).slice(0, 400))
    start, last = candles.first_opened_at, candles.last_opened_at
    assert start is not None
    assert last is not None
    store = open_candle_store(Settings(data_dir=tmp_path / "data"))
    fetched = Interval(start, Timeframe.H1.next(last))
    asyncio.run(store.upsert(series, candles, [fetched]))
    said = json.loads(backtest("run", "binance", "BTC/USDT", "1h", "--json"))
    assert said["provenance"]["candles"] == 400
    assert said["request"]["costs"]["fee"] == 0.001
    assert said["request"]["source"] == str(series)
    longer = json.loads(backtest("run", "binance", "BTC/USDT", "4h", "--json"))
    assert longer["provenance"]["candles"] == 100


def test_a_strategy_that_knows_tomorrow_is_caught(
    backtest: Backtest,
    file: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "my_oracle.py").write_text(A_STRATEGY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    oracle = ("--strategy", "my_oracle:knows_tomorrow")
    assert "it reads close too early" in backtest("check", *file, *oracle, code=1)
    assert "FOUND, these figures are worthless" in backtest("run", *file, *oracle)
    assert "no look-ahead" in backtest("check", *file)


def test_sets_that_fail_are_counted_and_the_others_go_on(
    backtest: Backtest,
    file: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "my_divider.py").write_text(A_DIVIDER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    mine = ("--strategy", "my_divider:every", "--grid", "days=0:3")
    rows = tmp_path / "rows.parquet"
    printed = backtest("sweep", *file, *mine, "--shuffles", "0", "--out", str(rows))
    assert "4 sets tried, 0 ruled out by the strategy, 1 failed" in printed
    errors = pq.read_table(rows).column("error").to_pylist()
    assert "ZeroDivisionError" in errors[0]
    assert errors[1:] == [None] * 3
    (tmp_path / "my_typo.py").write_text("def broken(:")
    with pytest.raises(InvalidInput, match="can't be imported: SyntaxError"):
        backtest("check", *file, "--strategy", "my_typo:broken")


def test_a_sweep_in_which_nothing_traded_names_no_winner(
    backtest: Backtest, file: tuple[str, ...]
) -> None:
    printed = backtest("sweep", *file, "--grid", "slow=5000:5002")
    assert "no parameter set has a Sharpe ratio: none of them traded" in printed
    assert "nothing to judge" in printed
    assert backtest("rerun", first_id(printed)).endswith(": the same\n")


def test_a_sweep_goes_on_from_the_blocks_it_kept(
    backtest: Backtest, file: tuple[str, ...], tmp_path: Path
) -> None:
    asked = ("sweep", *file, *SMALL_GRID, "--shuffles", "0", "--parts", str(tmp_path / "parts"))
    first = json.loads(backtest(*asked, "--json"))
    again = json.loads(backtest(*asked, "--resume", "--json"))
    assert again["figures"] == first["figures"]
    with pytest.raises(InvalidInput):
        backtest(*asked, "--resume", "--fee", "0.01")


def test_the_list_has_the_newest_first(backtest: Backtest, file: tuple[str, ...]) -> None:
    assert "no backtest was kept yet" in backtest("list")
    old, new = (first_id(backtest("run", *file)) for _ in range(2))
    printed = backtest("list")
    assert printed.index(new) < printed.index(old)
    assert [row["id"] for row in json.loads(backtest("list", "--limit", "1", "--json"))] == [new]


def test_the_page_stands_alone_and_says_the_doubts(
    backtest: Backtest, file: tuple[str, ...], tmp_path: Path
) -> None:
    page, again = tmp_path / "page.html", tmp_path / "again.html"
    printed = backtest("sweep", *file, *SMALL_GRID, "--shuffles", "5", "--report", str(page))
    text = page.read_text()
    assert text.count("<svg") == 4
    assert text.count("<circle") == 2 * int(re.findall(r"^ trades +(\d+)", printed, re.M)[0])
    assert len(re.findall(r'<rect [^>]*fill="rgb', text)) == 10
    assert text.count('stroke="#000"') == 1
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(picture)
    for said in ("deflated Sharpe", "Returns by month", "2025-09", "buy and hold"):
        assert said in text
    assert not re.search(r"(src|href)=|<script|@import|url\(", text)
    backtest("show", first_id(printed), "--report", str(again))
    assert again.read_text() == text


def test_what_out_writes_follows_the_files_name(
    backtest: Backtest, file: tuple[str, ...], tmp_path: Path
) -> None:
    for ending in ("csv", "json", "parquet"):
        backtest("run", *file, "--out", str(tmp_path / f"run.{ending}"))
    trades = pq.read_table(tmp_path / "run.parquet").num_rows
    assert trades > 0
    assert len((tmp_path / "run.csv").read_text().splitlines()) == trades + 1
    assert json.loads((tmp_path / "run.json").read_text())["figures"]["statistics"]["trades"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("run", "--strategy", "ma_cros"), "did you mean 'ma_cross'"),
        (("run", "--param", "fats=5"), "did you mean 'fast'"),
        (("run", "--param", "fast"), "NAME=VALUE"),
        (("run", "--param", "fast=ten"), "fast must be a number, not 'ten'"),
        (("run", "--param", "fast=nan"), "finite"),
        (("run", "--param", "fast=60", "--param", "slow=50"), "fast"),
        (("run", "--execution", "next_opne"), "did you mean 'next_open'"),
        (("run", "--direction", "up"), "long, short, both"),
        (("run", "--venue", "binnance"), "did you mean 'binance'"),
        (("run", "--venue", "binance", "--fee", "0"), "leave one out"),
        (("run", "--fee", "-1"), "fee"),
        (("run", "--stop-loss", "5"), "stop_loss"),
        (("run", "--since", "2025-12-31"), "0 candles"),
        (("run", "--out", "trades.xlsx"), "must end in"),
        (("run", "--report", "/nowhere/page.html"), "no folder /nowhere"),
        (("sweep",), "nothing to choose from"),
        (("sweep", "--grid", "fast=5:1"), "no range"),
        (("sweep", "--grid", "fast=5:9:0"), "no range"),
        (("sweep", "--grid", "fast=5:9", "--param", "fast=5"), "both --grid and --param"),
        (("sweep", "--grid", "fast=1:1000000", "--grid", "slow=1:1000000"), "1,000,000,000,000"),
        (("sweep", "--grid", "fast=1:1000000", "--grid", "slow=1:1000000"), "--sample 1000000"),
        (("sweep", "--grid", "fast=1:1e30"), "larger steps"),
        (("sweep", *SMALL_GRID, "--resume"), "--parts FOLDER"),
        (("sweep", *SMALL_GRID, "--sample", "5", "--sampling", "sobl"), "did you mean 'sobol'"),
        (("walk-forward", *SMALL_GRID, "--train", "9999", "--test", "9"), "too few"),
        (
            ("walk-forward", *SMALL_GRID, "--train", "99", "--test", "99", "--metric", "sharp"),
            "did you mean 'sharpe'",
        ),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_named_and_nothing_is_kept(
    backtest: Backtest, file: tuple[str, ...], asked: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)):
        backtest(asked[0], *file, *asked[1:])
    assert "no backtest was kept yet" in backtest("list")


def test_what_was_known_beside_the_candles_is_kept_with_the_result(
    backtest: Backtest, file: tuple[str, ...], tmp_path: Path
) -> None:
    candles = pq.read_table(BITCOIN).slice(0, 19 * 24)
    first = CandleTable.from_arrow(candles).ts_ms[0]
    known_at = pa.array([int(first) + hour * 3_600_000 for hour in range(0, 19 * 24, 5)])
    scores = [((hour * 7) % 11 - 5) / 5 for hour in range(len(known_at))]
    beside = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"known_at": known_at, "value": scores}), beside)
    asked = ("--strategy", "sentiment_momentum", "--sentiment", str(beside), "--fee", "0.001")
    printed = backtest("sweep", *file, *asked, "--grid", "window=6,24", "--shuffles", "0")
    beside.unlink()
    assert backtest("rerun", first_id(printed)).strip().endswith("the same")
    with pytest.raises(InvalidInput, match="--sentiment FILE"):
        backtest("run", *file, "--strategy", "sentiment_momentum")


def test_backtests_are_shown_side_by_side_with_what_differs(
    backtest: Backtest, file: tuple[str, ...]
) -> None:
    one = first_id(backtest("run", *file, "--param", "fast=5"))
    other = first_id(backtest("run", *file, "--param", "fast=9"))
    dearer = first_id(backtest("run", *file, "--param", "fast=9", "--fee", "0.01"))
    alike = backtest("compare", one, other)
    assert "not the same for all" not in alike
    assert "fast=5" in alike
    assert "fast=9" in alike
    assert "not the same for all: costs" in backtest("compare", one, dearer)
    said = json.loads(backtest("compare", one, dearer, "--json"))
    assert said["differ_in"] == ["costs"]
    assert [record["id"] for record in said["backtests"]] == [one, dearer]
    with pytest.raises(InvalidInput, match="at least two"):
        backtest("compare", one)


def test_a_cluster_that_does_not_answer_is_said_at_once(
    backtest: Backtest, file: tuple[str, ...]
) -> None:
    with pytest.raises(FinSightError, match=r"no Ray cluster answers at --ray 127\.0\.0\.1:1"):
        backtest("sweep", *file, *SMALL_GRID, "--ray", "127.0.0.1:1")


def test_candles_that_cannot_be_had_are_named(backtest: Backtest, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.parquet"
    pq.write_table(pa.table({"ts": [1], "price": [2.0]}), wrong)
    for asked, kind, said in (
        ((), InvalidInput, "--candles FILE"),
        (("binance", "BTC/USDT"), InvalidInput, "binance BTC/USDT 1h"),
        (("binance", "BTC/USDT", "1h"), NotFound, "no 1h candles of BTC/USDT"),
        (("--candles", str(tmp_path / "none.parquet")), InvalidInput, "no such file"),
        (("--candles", str(BITCOIN), "ma_cross"), InvalidInput, "'ma_cross' both name candles"),
        (("--candles", str(wrong)), InvalidInput, "missing: open, high, low, close, volume"),
    ):
        with pytest.raises(kind, match=re.escape(said)):
            backtest("run", *asked)
    with pytest.raises(NotFound, match="no backtest 'bt-1'"):
        backtest("show", "bt-1")
