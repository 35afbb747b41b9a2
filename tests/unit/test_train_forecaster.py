"""From stored candles or a file to a registered forecaster, and every way that it is refused."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finsight.domain.errors import InvalidInput, StoreUnavailable
from finsight.domain.forecaster_recipe import Family, ForecasterRecipe, Target
from finsight.domain.known_features import known_features
from finsight.domain.promotion import CHALLENGER, Verdict
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ForecastInput
from finsight.ports.news import KnownSentiment
from finsight.settings import Settings
from finsight.training.forecaster_data import file_data
from finsight.training.train_forecaster import main, train_forecaster
from finsight.wiring import (
    fit_forecaster,
    open_article_store,
    open_candle_store,
    open_model_registry,
    read_forecaster,
)
from tests.builders import (
    BTC_HOURLY,
    ETH_HOURLY,
    HOUR,
    NOON,
    a_score,
    a_sentiment,
    a_walk,
    an_article,
)

SMALL = ForecasterRecipe(input_size=48, horizon=6, steps=12, batch_size=16, check_every=4)
NHITS = SMALL.model_copy(update={"family": Family.NHITS, "exogenous": True})
VALUES = SMALL.model_copy(update={"target": Target.VALUE, "instance_norm": True})


async def fill(settings: Settings, rows: int = 600) -> None:
    store = open_candle_store(settings)
    await store.upsert(BTC_HOURLY, a_walk(rows))
    await store.upsert(ETH_HOURLY, a_walk(rows, seed=1))
    articles = open_article_store(settings)
    found = [
        an_article(
            canonical_url=f"https://news.example/{hour}",
            published_at=NOON + hour * HOUR,
            first_seen_at=NOON + hour * HOUR,
        )
        for hour in range(0, rows, 5)
    ]
    await articles.add(found)
    mood = [a_sentiment(), a_sentiment(negative=0.7, positive=0.1)]
    await articles.save_scores(
        [a_score(one, sentiment=mood[row % 2]) for row, one in enumerate(found)]
    )


@pytest.fixture
def stored(tmp_path: Path) -> Settings:
    """Two hourly walks, the newest candle of which has just closed, and articles on one."""
    offset = (NOON + 600 * HOUR - datetime.now(UTC)).total_seconds()
    settings = Settings(data_dir=tmp_path / "data", clock_offset_s=offset)
    asyncio.run(fill(settings))
    return settings


def test_the_first_model_serves_and_says_why_the_next_one_is_a_challenger(
    stored: Settings,
) -> None:
    first = train_forecaster(stored, Timeframe.H1, recipe=SMALL)
    second = train_forecaster(stored, Timeframe.H1, recipe=SMALL)
    registry = open_model_registry(stored)
    serving, waiting = registry.champion(first.kind), registry.holder(first.kind, CHALLENGER)
    assert serving is not None
    assert waiting is not None
    assert (serving.version, waiting.version) == (first.version, second.version)
    [decision] = registry.decisions(first.kind)
    assert (decision.verdict, decision.by) == (Verdict.FORCED, "finsight")
    ratio = first.metrics["held_out_ratio_to_naive"]
    assert decision.reason == (
        f"it is the first model of its timeframe; its held-out error is {ratio:.3f} of naive's"
    )
    assert decision.evidence == {"held_out_ratio_to_naive": ratio}
    assert first.tags["data_fingerprint"] == second.tags["data_fingerprint"]
    third = train_forecaster(stored, Timeframe.H1, recipe=SMALL, only=("BTC",), make_champion=True)
    assert third.tags["trained_on"] == BTC_HOURLY.key
    assert third.tags["data_fingerprint"] != first.tags["data_fingerprint"]
    newest = registry.decisions(first.kind)[0]
    assert (newest.version, newest.before) == (third.version, first.version)
    assert newest.reason.startswith("its training asked for it")


def test_an_exogenous_model_learns_from_sentiment_and_is_read_back(stored: Settings) -> None:
    reference = train_forecaster(stored, Timeframe.H1, recipe=NHITS)
    model = read_forecaster(stored, reference)
    walk = a_walk(200)
    articles = open_article_store(stored)
    sentiment = asyncio.run(articles.known_sentiment("BTC", NOON + 200 * HOUR))
    known = known_features(walk, Timeframe.H1, sentiment)
    [path] = model.forecast([ForecastInput(BTC_HOURLY, walk.column("close"), 6, known)])
    quiet = dict(known) | {"sentiment": np.zeros(200), "articles": np.zeros(200)}
    [other] = model.forecast([ForecastInput(BTC_HOURLY, walk.column("close"), 6, quiet)])
    assert path.shape == other.shape == (6, 5)


def test_what_sentiment_says_reaches_the_weights() -> None:
    candles = {BTC_HOURLY.key: a_walk(600)}
    said = [
        KnownSentiment(NOON + hour * HOUR, NOON + hour * HOUR, (-1.0) ** hour * 0.9)
        for hour in range(0, 600, 3)
    ]
    settings = Settings()
    one = fit_forecaster(settings, Timeframe.H1, candles, NHITS)
    other = fit_forecaster(settings, Timeframe.H1, candles, NHITS, sentiment={BTC_HOURLY.key: said})
    assert one.history["validation_loss"] != other.history["validation_loss"]


def write_ett(path: Path, rows: int = 500, **changed: object) -> Path:
    hours = np.arange(rows)
    columns: dict[str, object] = {
        "date": [str(NOON.replace(tzinfo=None) + timedelta(hours=int(h))) for h in hours],
        "HUFL": np.sin(hours / 4) + 0.1 * np.cos(hours * 1.7),
        "OT": 3 * np.cos(hours / 7) - 5,
    }
    lines = [",".join([*columns])]
    columns |= changed
    lines += [",".join(str(v) for v in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines))
    return path


def test_a_wide_file_becomes_a_kind_of_its_own_with_the_splits_asked_for(
    settings: Settings, tmp_path: Path
) -> None:
    data = file_data(write_ett(tmp_path / "ETTx.csv"), "300,100,100")
    assert (data.kind, data.timeframe, sorted(data.histories)) == (
        "forecaster-ETTx",
        Timeframe.H1,
        ["HUFL", "OT"],
    )
    reference = train_forecaster(settings, Timeframe.H1, recipe=VALUES, data=data)
    # Every window of the last 100 rows of both series, no embargo.
    assert reference.metrics["held_out_windows"] == 2 * (100 - 6 + 1)
    assert reference.metrics["training_windows"] == 2 * (300 - 54 + 1)
    registry = open_model_registry(settings)
    assert registry.champion(reference.kind) is None
    assert registry.champion("forecaster-1h") is None
    holder = registry.holder(reference.kind, CHALLENGER)
    assert holder is not None
    assert holder.version == reference.version


def test_a_long_file_holds_many_series(tmp_path: Path) -> None:
    rows = 40
    table = pa.table(
        {
            "unique_id": ["a"] * rows + ["b"] * rows,
            "ds": list(range(rows)) * 2,
            "y": np.arange(2 * rows) - 20.0,
        }
    )
    pq.write_table(table, tmp_path / "many.parquet")
    histories = file_data(tmp_path / "many.parquet", None).histories
    assert {key: len(one) for key, one in histories.items()} == {"a": rows, "b": rows}
    assert histories["b"].values[0] == 20.0
    assert set(file_data(tmp_path / "many.parquet", None, ("B",)).histories) == {"b"}


NUMBERS = np.sin(np.arange(500) / 3)
TIMES = [str(NOON.replace(tzinfo=None) + timedelta(hours=h)) for h in range(500)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"OT": np.where(np.arange(500) == 7, np.nan, NUMBERS)}, "OT: row 7, .* no finite number"),
        ({"OT": np.where(np.arange(500) == 9, np.inf, NUMBERS)}, "OT: row 9, .* no finite number"),
        ({"date": [*TIMES[:3], TIMES[5], TIMES[4], *TIMES[5:]]}, "comes before the row above it"),
        ({"date": [*TIMES[:4], TIMES[3], *TIMES[5:]]}, "row 4, .* has the same time as"),
        ({"OT": ["x"] * 500}, "the column OT does not hold numbers"),
        ({"OT": np.full(500, 4.0)}, "OT never changes: all 500 values are 4"),
        ({"date": ["soon"] * 500}, "the times can't be read"),
    ],
    ids=["nan", "infinite", "unsorted", "duplicated", "words", "constant", "no times"],
)
def test_files_that_can_not_be_learnt_from_are_refused_and_nothing_is_registered(
    settings: Settings, tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    path = write_ett(tmp_path / "x.csv", **changed)
    with pytest.raises(InvalidInput, match=said):
        train_forecaster(settings, Timeframe.H1, recipe=VALUES, data=file_data(path, None))
    assert open_model_registry(settings).versions() == []


def test_other_wrong_files_say_what_was_expected(settings: Settings, tmp_path: Path) -> None:
    path = write_ett(tmp_path / "x.csv")
    with pytest.raises(InvalidInput, match="log returns need values above 0; take the target"):
        train_forecaster(settings, Timeframe.H1, recipe=SMALL, data=file_data(path, None))
    short = file_data(write_ett(tmp_path / "short.csv", rows=50, date=TIMES[:50]), None)
    with pytest.raises(InvalidInput, match=r"0 windows of 54 .* has 50 in all"):
        train_forecaster(settings, Timeframe.H1, recipe=VALUES, data=short)
    path.write_text("when,y\n1,2\n")
    with pytest.raises(InvalidInput, match="has the columns when, y; expected a time column"):
        file_data(path, None)
    path.write_text("unique_id,ds,what\na,1,2\n")
    with pytest.raises(InvalidInput, match="expected a column named y, close, value"):
        file_data(path, None)
    for missing in (tmp_path / "none.csv", tmp_path / "none.xlsx"):
        with pytest.raises(InvalidInput, match=r"can't be read|neither .csv nor .parquet"):
            file_data(missing, None)
    with pytest.raises(InvalidInput, match="the splits 'half' can't be read"):
        file_data(write_ett(tmp_path / "x.csv"), "half")


def test_a_disk_that_is_full_registers_nothing(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # /dev/full answers every write with "no space left on device".
    state = tmp_path / "state"
    state.mkdir()
    (state / "training.writing").symlink_to("/dev/full")
    with pytest.raises(StoreUnavailable, match=r"can't be kept in .* free disk space"):
        train_forecaster(stored, Timeframe.H1, recipe=SMALL, state_folder=state)
    assert open_model_registry(stored).versions() == []


def test_the_command_registers_and_says_what_is_wrong_in_one_line(
    stored: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--data-dir", str(stored.data_dir)]
    options = ["--input-size", "48", "--horizon", "6", "--steps", "4", "--family", "tide"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINSIGHT_CLOCK_OFFSET_S", str(stored.clock_offset_s))
        assert main([*place, *options]) == 0
        printed = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert printed["kind"] == "forecaster-1h"
        assert main([*place, "--exogenous"]) == 1
        assert "for exogenous inputs take nhits or tide" in capsys.readouterr().err
        assert main([*place, "--series", "DOGE"]) == 1
        said = capsys.readouterr().err
        assert "no 1h series named like DOGE" in said
        assert "BTC/USDT" in said
        assert main([*place, "--splits", "ett-hour"]) == 1
        assert "name one with --data" in capsys.readouterr().err
