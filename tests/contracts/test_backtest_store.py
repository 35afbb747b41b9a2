"""What every store of backtests promises."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from finsight.adapters.backtests.parquet_backtests import ParquetBacktestStore
from finsight.backtesting.requested import carry_out
from finsight.domain.backtest_record import BacktestRecord, BacktestRequest, differing_figures
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import NotFound, StoreUnavailable
from finsight.ports.backtests import BacktestStore
from tests.builders import HOUR, NOON
from tests.unit.backtesting.histories import candles_of

STORES = {"parquet": lambda folder: ParquetBacktestStore(folder / "new" / "backtests")}
CANDLES = candles_of([100.0, 101.0, 99.0, 104.0, 103.0], [101.0, 99.0, 104.0, 103.0, 110.0])
REQUEST = BacktestRequest(kind="run", source="a test", strategy="buy_and_hold")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BacktestStore:
    return STORES[request.param](tmp_path)


def a_backtest(
    name: str, hours: int = 0, candles: CandleTable = CANDLES
) -> tuple[BacktestRecord, dict[str, pa.Table], dict[str, CandleTable]]:
    seen = {"a test": candles}
    found = carry_out(REQUEST, seen)
    record = BacktestRecord(
        id=name,
        made_at=NOON + timedelta(hours=hours),
        request=REQUEST,
        provenance=found.provenance,
        figures=found.figures,
        saw=found.saw,
    )
    return record, found.tables, seen


async def test_gives_back_the_record_its_tables_and_the_candles(store: BacktestStore) -> None:
    record, tables, candles = a_backtest("bt-1")
    await store.save(record, tables, candles)
    found = await store.get("bt-1")
    assert found.tables == ("trades", "equity")
    assert found.model_copy(update={"tables": ()}) == record
    assert differing_figures(record.figures, found.figures) == []
    assert (await store.table("bt-1", "equity")).equals(tables["equity"])
    assert await store.candles("bt-1") == {"a test": CANDLES}


async def test_figures_and_undefined_values_keep_every_bit(store: BacktestStore) -> None:
    record, _, candles = a_backtest("bt-1")
    odd = record.model_copy(update={"figures": {"third": 1 / 3, "tiny": 5e-324, "none": None}})
    table = pa.table({"sharpe": [0.1 + 0.2, float("nan"), float("inf")]})
    await store.save(odd, {"sets": table}, candles)
    assert (await store.get("bt-1")).figures == odd.figures
    kept = (await store.table("bt-1", "sets")).column("sharpe").to_numpy()
    assert np.array_equal(kept, table.column("sharpe").to_numpy(), equal_nan=True)


async def test_recent_are_the_newest_first(store: BacktestStore) -> None:
    for name, hours in (("bt-old", 0), ("bt-new", 2), ("bt-middle", 1)):
        await store.save(*a_backtest(name, hours))
    assert [r.id for r in await store.recent(2)] == ["bt-new", "bt-middle"]

    assert [r.id for r in await store.recent(2, offset=2)] == ["bt-old"]


async def test_a_deleted_one_is_gone_and_the_others_keep_their_candles(
    store: BacktestStore,
) -> None:
    await store.save(*a_backtest("bt-1"))
    await store.save(*a_backtest("bt-2"))
    await store.delete("bt-1")
    with pytest.raises(NotFound):
        await store.get("bt-1")
    assert await store.candles("bt-2") == {"a test": CANDLES}
    await store.delete("bt-2")
    assert await store.recent(10) == []
    with pytest.raises(NotFound):
        await store.delete("bt-2")
    await store.save(*a_backtest("bt-1"))
    assert await store.candles("bt-1") == {"a test": CANDLES}


async def test_one_that_saw_several_series_keeps_each_once(store: BacktestStore) -> None:
    shorter = CANDLES.between(NOON, NOON + 4 * HOUR)
    both = {"one": CANDLES, "other": shorter}
    request = BacktestRequest(kind="together", source="one, other", strategy="buy_and_hold")
    found = carry_out(request, both)
    record = BacktestRecord(
        id="bt-both",
        made_at=NOON,
        request=request,
        provenance=found.provenance,
        figures=found.figures,
        saw=found.saw,
    )
    await store.save(record, found.tables, both)
    await store.save(*a_backtest("bt-1"))
    assert list((await store.candles("bt-both")).items()) == list(both.items())
    await store.delete("bt-both")
    assert await store.candles("bt-1") == {"a test": CANDLES}


async def test_a_record_from_before_there_could_be_several_finds_its_candles(
    store: BacktestStore,
) -> None:
    record, tables, candles = a_backtest("bt-1")
    await store.save(record.model_copy(update={"saw": {}}), tables, candles)
    assert await store.candles("bt-1") == {"a test": CANDLES}


async def test_each_backtest_has_the_candles_it_saw(store: BacktestStore) -> None:
    shorter = CANDLES.between(NOON, NOON + 4 * HOUR)
    await store.save(*a_backtest("bt-1"))
    await store.save(*a_backtest("bt-2", candles=shorter))
    await store.save(*a_backtest("bt-3"))
    assert await store.candles("bt-2") == {"a test": shorter}
    assert await store.candles("bt-3") == {"a test": CANDLES}


async def test_an_unknown_backtest_is_not_found_and_the_nearest_is_named(
    store: BacktestStore,
) -> None:
    with pytest.raises(NotFound, match="no backtest 'bt-12345678'"):
        await store.get("bt-12345678")
    await store.save(*a_backtest("bt-12345679"))
    with pytest.raises(NotFound, match="did you mean bt-12345679"):
        await store.get("bt-12345678")
    with pytest.raises(NotFound, match="no table 'sets'; kept are: trades, equity"):
        await store.table("bt-12345679", "sets")


async def test_what_was_saved_is_there_for_another_process(
    store: BacktestStore, tmp_path: Path
) -> None:
    await store.save(*a_backtest("bt-1"))
    assert (await STORES["parquet"](tmp_path).get("bt-1")).id == "bt-1"


async def test_a_backtest_whose_tables_cannot_be_written_is_not_there(tmp_path: Path) -> None:
    store = ParquetBacktestStore(tmp_path)
    (tmp_path / "bt-1").write_text("a file where its folder should be")
    with pytest.raises(StoreUnavailable, match="can't be used"):
        await store.save(*a_backtest("bt-1"))
    assert await store.recent(10) == []
