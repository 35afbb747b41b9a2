"""Sweeps: rows, what made them, and what is refused."""

import numpy as np
import pyarrow as pa
import pytest
from numba import njit

from finsight.backtesting import run, sweep
from finsight.backtesting.blocks import shared_out
from finsight.backtesting.built_in import BUILT_IN
from finsight.backtesting.candle_arrays import candle_arrays
from finsight.backtesting.engine import Engine, Rules
from finsight.backtesting.parameter_sets import parameter_sets
from finsight.domain.backtest import metadata_of
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from tests.builders import NOON, a_walk, candles_at

WALK = a_walk(800, seed=2)
GRID = {"fast": range(5, 15), "slow": range(10, 40, 5)}
COSTS = {"fee": 0.001, "slippage": 0.0005}


def same(a, b):
    """Equal to the bit, nan being equal to nan."""
    return a.to_pandas().equals(b.to_pandas())


def test_a_row_a_set_in_the_grids_order_without_those_ruled_out():
    table = sweep(WALK, strategy="ma_cross", grid=GRID, costs=COSTS)
    pairs = [(f, s) for f in GRID["fast"] for s in GRID["slow"] if f < s]
    fast, slow = table.column("fast").to_pylist(), table.column("slow").to_pylist()
    assert list(zip(fast, slow, strict=True)) == pairs
    assert metadata_of(table)["ruled_out"] == 60 - len(pairs) > 0
    first = ["total_return", "sharpe", "sortino", "max_drawdown", "trades", "win_rate"]
    assert table.column_names[:8] == ["fast", "slow", *first]
    assert table.schema.field("trades").type == table.schema.field("fast").type == pa.int64()


def test_each_row_is_what_a_single_run_finds():
    table = sweep(WALK, "ma_cross", GRID, costs=COSTS, direction="both", stops={"stop_loss": 0.05})
    for row in table.slice(3, 40).to_pylist()[::9]:
        single = run(
            WALK,
            "ma_cross",
            {"fast": row["fast"], "slow": row["slow"]},
            costs=COSTS,
            direction="both",
            stops={"stop_loss": 0.05},
        )
        for name, value in single.statistics.items():
            assert row[name] == pytest.approx(value, nan_ok=True), name


def test_threads_blocks_and_small_tables_change_no_bit():
    strategy = BUILT_IN["ma_cross"]
    sets = parameter_sets(strategy, GRID)
    engine = Engine(candle_arrays(WALK), strategy, Rules())
    whole = engine.tally(sets, threads=1).table
    assert np.array_equal(engine.tally(sets, threads=3, table_bytes=1).table, whole)
    halves = [engine.tally(sets.block(a, b)).table for a, b in ((0, 17), (17, len(sets)))]
    assert np.array_equal(np.concatenate(halves), whole)


def test_takes_an_arrow_table_with_millisecond_integers():
    arrow = WALK.arrow.set_column(0, "ts", pa.array(WALK.ts_ms))
    assert same(sweep(arrow, "rsi"), sweep(WALK, "rsi"))


def test_a_sample_is_picked_without_replacement_and_again_the_same():
    huge = {"fast": range(1, 1_000), "slow": range(1_000, 90_000)}
    tables = [
        sweep(a_walk(1_100), "ma_cross", {**huge, "slow": range(1_000, 1_090)}, sample=20, seed=s)
        for s in (1, 1, 2)
    ]
    assert same(tables[0], tables[1])
    assert not same(tables[0], tables[2])
    assert len(set(zip(*(tables[0].column(n).to_pylist() for n in huge), strict=True))) == 20


def test_a_sobol_sample_leaves_no_part_of_the_grid_empty():
    strategy = BUILT_IN["rsi"]
    grid = {"window": range(2, 66), "lower": range(1, 33), "upper": range(60, 92)}
    spread = parameter_sets(strategy, grid, sample=256, seed=1, sampling="sobol")
    assert len(spread) == 256
    again = parameter_sets(strategy, grid, sample=256, seed=1, sampling="sobol")
    assert all(np.array_equal(spread.columns[n], again.columns[n]) for n in grid)
    rows = set(zip(*(column.tolist() for column in spread.columns.values()), strict=True))
    assert len(rows) == 256
    # Cut in 4 x 4 x 4 boxes, each holds its share of 4 to within what scrambling allows.
    boxes = [(int(w - 2) // 16, int(lo - 1) // 8, int(u - 60) // 8) for w, lo, u in rows]
    counts = np.bincount([a * 16 + b * 4 + c for a, b, c in boxes], minlength=64)
    assert counts.min() >= 3
    assert counts.max() <= 5
    nearly_all = parameter_sets(
        strategy, {"window": [5, 6, 7], "lower": [10, 20, 30]}, sample=8, sampling="sobol"
    )
    assert len(nearly_all) == 8


def test_says_what_made_it():
    made_by = metadata_of(sweep(WALK, "ma_cross", GRID, costs=COSTS, execution="close"))[
        "provenance"
    ]
    assert made_by["execution"] == "close"
    assert made_by["costs"]["fee"] == 0.001
    assert made_by["candles"] == 800
    again = run(WALK, "ma_cross").provenance
    assert made_by["data_fingerprint"] == again.data_fingerprint
    assert made_by["engine_version"] == again.engine_version
    other = run(a_walk(800, seed=9), "ma_cross").provenance
    assert other.data_fingerprint != again.data_fingerprint


def test_missing_candles_are_counted_and_not_filled():
    rows = np.r_[0:300, 310:500, 501:800]
    holed = CandleTable.from_arrow(WALK.arrow.take(pa.array(rows)))
    result = run(holed, "ma_cross")
    missing = result.provenance.missing
    assert (missing.candles, missing.holes, missing.longest) == (11, 2, 10)
    assert result.equity.num_rows == 789


@njit
def compiled_strategy(candles, window):
    entries = np.zeros(len(candles.close), dtype=np.bool_)
    for i in range(window, len(candles.close)):
        entries[i] = candles.close[i] > candles.close[i - window]
    return entries, ~entries


def plain_strategy(candles, window):
    before = np.roll(candles.close, window)
    entries = candles.close > before
    entries[:window] = False
    return entries, ~entries


def test_a_users_function_runs_compiled_or_not_with_the_same_result():
    grid = {"window": [3, 8, 20]}
    compiled, plain = sweep(WALK, compiled_strategy, grid), sweep(WALK, plain_strategy, grid)
    assert same(compiled, plain)
    assert plain.column("trades").to_pylist()[0] > 10
    by_name = sweep(WALK, f"{__name__}:plain_strategy", grid)
    assert same(by_name, plain)


def test_a_users_function_that_fails_on_some_sets_leaves_the_others():
    def fails(candles, window):
        if window == 8:
            raise ZeroDivisionError("no luck")
        signals = plain_strategy(candles, window)
        return signals if window != 20 else (signals[0][:-5], signals[1][:-5])

    table = sweep(WALK, fails, {"window": [3, 8, 20, 30]})
    errors = table.column("error").to_pylist()
    assert errors[0] is None
    assert errors[3] is None
    assert "window=8" in errors[1]
    assert "ZeroDivisionError: no luck" in errors[1]
    assert "window=20" in errors[2]
    assert "795" in errors[2]
    assert table.column("sharpe").null_count == 2
    assert metadata_of(table)["failed"] == 2


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"strategy": "ma_cros"}, "did you mean 'ma_cross'"),
        ({"grid": {"fats": [3]}}, "did you mean 'fast'"),
        ({"grid": {"fast": [0]}}, "between 1 and"),
        ({"grid": {"fast": [2.5]}}, "whole number"),
        ({"grid": {"fast": []}}, "no values"),
        ({"grid": {"fast": [3, 3]}}, "twice"),
        ({"grid": {"fast": [float("nan")]}}, "numbers"),
        ({"grid": {"fast": [30], "slow": [20]}}, "rules out all"),
        ({"grid": {"fast": range(1, 10**5), "slow": range(2, 10**5)}}, "9,999,700,002.*sample"),
        ({"costs": {"fees": 0.1}}, "did you mean 'fee'"),
        ({"costs": {"fee": -0.1}}, "greater than or equal to 0"),
        ({"costs": 0.001}, "mapping"),
        ({"stops": {"stop_loss": 1.5}}, "less than 1"),
        ({"sizing": {"kind": "fraction", "amount": 2}}, "more than 1"),
        ({"execution": "next_close"}, "did you mean 'next_open'"),
        ({"direction": "longs"}, "did you mean 'long'"),
        ({"candles": candles_at()}, "0 candles"),
        ({"candles": candles_at(NOON)}, "1 candles"),
        ({"candles": pa.table({"ts": [1]})}, "missing: open, high, low, close, volume"),
        ({"candles": [1, 2]}, "Arrow table"),
        ({"sample": 0}, "at least one"),
        ({"strategy": "no.such.module:f"}, "can't be imported"),
        ({"strategy": "math:nothing"}, "no function 'nothing'"),
    ],
)
def test_bad_input_is_refused_in_plain_words(request_, said):
    candles = request_.pop("candles", WALK)
    with pytest.raises(InvalidInput, match=said):
        sweep(candles, **request_)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [("close", float("nan"), "finite close"), ("low", -1.0, "low"), ("ts", 0, "after the one")],
)
def test_bad_candles_are_refused_and_the_first_bad_row_named(column, value, said):
    columns = {name: np.array(WALK.column(name)) for name in WALK.arrow.column_names[1:]}
    columns = {"ts": np.array(WALK.ts_ms), **columns}
    columns[column][7] = value
    with pytest.raises(InvalidInput, match=f"candle 7.*{said}"):
        sweep(pa.table(columns), "ma_cross")


def test_inconsistent_parameters_are_an_error_in_a_single_run():
    with pytest.raises(InvalidInput, match="fast must be less than slow, not 30 and 20"):
        run(WALK, "ma_cross", {"fast": 30, "slow": 20})


def test_parameters_that_need_more_history_than_there_is_do_nothing():
    assert run(WALK, "ma_cross", {"fast": 5, "slow": 5_000}).statistics["trades"] == 0


@pytest.mark.parametrize(("blocks", "workers"), [(1, 1), (61, 2), (245, 2), (245, 64)])
def test_every_block_is_in_one_task_and_the_last_tasks_are_small(blocks, workers):
    tasks = shared_out(list(range(blocks)), workers)
    assert [block for task in tasks for block in task] == list(range(blocks))
    sizes = [len(task) for task in tasks]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert max(sizes) <= 64
