"""One grid over several series, timeframes and costs."""

import json
from pathlib import Path

import pytest

from finsight.backtesting import sweep, sweep_across
from finsight.domain.backtest import metadata_of
from finsight.domain.errors import InvalidInput
from finsight.domain.timeframe import Timeframe
from tests.builders import NOON, a_walk

SERIES = {
    "binance BTC/USDT 1h": a_walk(600, seed=1),
    "binance ETH/USDT 1h": a_walk(700, seed=2),
    "binance BTC/USDT 4h": a_walk(500, NOON, Timeframe.H4, seed=3),
}
GRID = {"fast": range(5, 9), "slow": range(10, 30, 10)}
COSTS = [{"fee": 0.0}, {"fee": 0.001, "slippage": 0.0005}]


def test_each_part_is_the_sweep_of_its_series_under_its_costs() -> None:
    whole = sweep_across(SERIES, "ma_cross", GRID, costs=COSTS, direction="both")
    assert whole.column_names[:5] == ["series", "fee", "slippage", "fast", "slow"]
    assert whole.num_rows == 8 * 3 * 2
    frame = whole.to_pandas()
    for number, (name, candles) in enumerate(SERIES.items()):
        for place, costs in enumerate(COSTS):
            alone = sweep(candles, "ma_cross", GRID, costs=costs, direction="both").to_pandas()
            start = 8 * (2 * number + place)
            part = frame.iloc[start : start + 8].reset_index(drop=True)
            assert set(part["series"]) == {name}
            assert set(part["fee"]) == {costs["fee"]}
            assert part[alone.columns].equals(alone)


def test_one_of_costs_needs_no_list() -> None:
    alone = sweep_across(SERIES, "ma_cross", GRID, costs={"fee": 0.001})
    assert alone.to_pandas().equals(
        sweep_across(SERIES, "ma_cross", GRID, costs=[{"fee": 0.001}]).to_pandas()
    )
    assert "fee" not in alone.column_names


def test_luck_counts_what_was_tried_on_every_series() -> None:
    whole = sweep_across(SERIES, "ma_cross", GRID, costs=COSTS)
    best = metadata_of(whole)["winner"]
    rows = whole.to_pylist()
    assert best["row"] == max(range(len(rows)), key=lambda row: rows[row]["sharpe"])
    assert best["trials"] == metadata_of(whole)["sets"] == 48
    named = rows[best["row"]]
    assert best["parameters"] == {
        name: named[name] for name in ("series", "fee", "slippage", "fast", "slow")
    }
    alone = metadata_of(sweep(SERIES[named["series"]], "ma_cross", GRID))["winner"]
    # Its neighbours are its own series' own; more trials leave more to luck.
    assert best["sensitivity"] == alone["sensitivity"]
    assert best["deflated_sharpe"] < alone["deflated_sharpe"]


def test_it_goes_on_from_the_sweeps_that_are_there(tmp_path: Path) -> None:
    whole = sweep_across(SERIES, "ma_cross", GRID, costs=COSTS, out=tmp_path)
    with pytest.raises(InvalidInput, match="already holds sweeps: resume them"):
        sweep_across(SERIES, "ma_cross", GRID, costs=COSTS, out=tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/part-*.parquet")}
    assert len(kept) == 6
    lost = min(kept)
    lost.unlink()
    again = sweep_across(SERIES, "ma_cross", GRID, costs=COSTS, out=tmp_path, resume=True)
    assert again.to_pandas().equals(whole.to_pandas())
    assert again.schema.metadata == whole.schema.metadata
    for path, before in kept.items():
        assert path == lost or path.stat().st_mtime_ns == before


def test_what_is_wrong_says_on_which_series() -> None:
    short = {**SERIES, "kraken DOGE/USD 1h": a_walk(1)}
    with pytest.raises(InvalidInput, match=r"^kraken DOGE/USD 1h: "):
        sweep_across(short, "ma_cross", GRID)
    with pytest.raises(InvalidInput, match="at least one series"):
        sweep_across({}, "ma_cross", GRID)
    with pytest.raises(InvalidInput, match="the same costs are named twice"):
        sweep_across(SERIES, "ma_cross", GRID, costs=[{"fee": 0.001}, {"fee": 0.001}])
    with pytest.raises(InvalidInput, match="differ in letters or digits"):
        sweep_across({"BTC/USDT": SERIES["binance BTC/USDT 1h"], "BTC-USDT": a_walk(600)})


def test_the_metadata_says_what_made_each_part() -> None:
    whole = sweep_across(SERIES, "ma_cross", GRID, costs=COSTS)
    made = metadata_of(whole)["provenance"]
    assert len(made) == 6
    assert len({json.dumps(one, sort_keys=True) for one in made}) == 6
