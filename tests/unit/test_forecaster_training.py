"""What a forecaster learns from and sees: nothing later than it should, nothing over a gap."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finsight.adapters.models.neural_forecaster import NeuralForecaster
from finsight.adapters.models.neural_training import fit_neural
from finsight.domain.candle_table import CandleTable, merge
from finsight.domain.errors import InvalidInput
from finsight.domain.forecast_windows import (
    WindowShape,
    cut_segments,
    join_examples,
    make_examples,
    scale_windows,
)
from finsight.domain.forecaster_recipe import ForecasterRecipe, Loss, Target
from finsight.domain.history import History
from finsight.domain.time_splits import (
    HELD_OUT,
    TRAINING,
    VALIDATION,
    TimeSplits,
    split_by_rows,
    split_by_share,
)
from finsight.domain.timeframe import Timeframe, to_ms
from finsight.ports.models import ForecastInput
from tests.builders import BTC_HOURLY, HOUR, NOON, a_walk

SMALL = ForecasterRecipe(input_size=48, horizon=6, steps=12, batch_size=16, check_every=4)
HOUR_MS = 3_600_000


def history(table: CandleTable) -> History:
    return History.of_candles(table, Timeframe.H1)


def fit(table: CandleTable, recipe: ForecasterRecipe = SMALL, **given: Any) -> NeuralForecaster:
    return fit_neural({"a": history(table)}, recipe, "1h", **given)


def with_closes_after(table: CandleTable, from_row: int, seed: int) -> CandleTable:
    """The same candles, but another future from `from_row` on."""
    return merge(table, CandleTable(a_walk(len(table), seed=seed).arrow.slice(from_row)))


def raw_windows(table: CandleTable, splits: TimeSplits) -> dict[int, np.ndarray]:
    """Each part's windows of 8 and futures of 4 closes, turned back into closes."""
    shape = WindowShape(8, 4, Target.VALUE, False, splits)
    blocks = [make_examples(s, shape) for s in cut_segments("a", history(table), shape, (0.0, 1.0))]
    examples = join_examples(blocks)
    whole = np.concatenate([examples.seen, examples.targets], axis=1)
    return {part: whole[examples.part == part] for part in (TRAINING, VALIDATION, HELD_OUT)}


def test_no_window_crosses_a_gap() -> None:
    whole = a_walk(40)
    holed = merge(CandleTable(whole.arrow.slice(0, 20)), CandleTable(whole.arrow.slice(21)))
    far = to_ms(NOON + 1000 * HOUR)
    parts = raw_windows(holed, TimeSplits(far, far, far, 0))
    # 20 and 19 candles in a row: 9 and 8 windows of 12.
    assert [len(parts[part]) for part in (TRAINING, VALIDATION, HELD_OUT)] == [17, 0, 0]
    assert not np.isclose(parts[TRAINING], whole.column("close")[20]).any()


def test_futures_lie_within_one_part_and_an_embargo_before_each_boundary_is_left_out() -> None:
    table = a_walk(80)
    closes = table.column("close")
    at = [to_ms(NOON + row * HOUR) for row in range(80)]
    parts = raw_windows(table, TimeSplits(at[30], at[60], at[79] + 1, 4 * HOUR_MS))
    # Four candles of embargo before row 30: the last training future ends at row 25.
    assert parts[TRAINING][-1, -1] == pytest.approx(closes[25])
    assert parts[VALIDATION][0, 8] == pytest.approx(closes[30])
    assert parts[VALIDATION][-1, -1] == pytest.approx(closes[55])
    assert parts[HELD_OUT][0, 8] == pytest.approx(closes[60])
    assert parts[HELD_OUT][-1, -1] == pytest.approx(closes[79])
    assert [len(parts[p]) for p in (TRAINING, VALIDATION, HELD_OUT)] == [15, 23, 17]


def test_the_cuts_are_one_moment_for_all_series_and_the_embargo_is_a_horizon() -> None:
    long, short = history(a_walk(1000)), history(a_walk(300))
    splits = split_by_share({"a": long, "b": short}, 0.15, 6)
    assert splits.held_out_from_ms == int(long.ts_ms[-150])
    assert splits.valid_from_ms == int(long.ts_ms[-150 - 127])
    assert splits.embargo_ms == 6 * HOUR_MS


def test_published_splits_count_every_window() -> None:
    """ETTh1, look-back 336, horizon 96: 8,209 training windows, 2,785 of each other part."""
    values = History.of_values(np.arange(14400) * HOUR_MS, np.sin(np.arange(14400.0)), "x")
    splits = split_by_rows({"x": values}, (8640, 2880, 2880))
    shape = WindowShape(336, 96, Target.VALUE, True, splits)
    parts = np.concatenate(
        [make_examples(s, shape).part for s in cut_segments("x", values, shape, (0.0, 1.0))]
    )
    counted = [int((parts == part).sum()) for part in (TRAINING, VALIDATION, HELD_OUT)]
    assert counted == [8209, 2785, 2785]
    with pytest.raises(InvalidInput, match="the longest series has 14400"):
        split_by_rows({"x": values}, (8640, 2880, 2881))


def test_windows_are_scaled_by_themselves_alone() -> None:
    closes = np.array([[100.0, 110.0, 100.0, 110.0], [1.0, 1.1, 1.0, 1.1]])
    scaled = scale_windows(closes, horizon=4)
    # A price in other units is the same window.
    assert scaled.seen[0] == pytest.approx(scaled.seen[1])
    assert scaled.seen[:, -1] == pytest.approx([0.0, 0.0])
    # Log returns +a, -a, +a with a = log 1.1: mean a/3, deviation a·√8/3; times √4.
    assert scaled.unit[0, 0] == pytest.approx(np.log(1.1) * np.sqrt(8) / 3 * 2)


def test_instance_norm_shows_values_in_the_windows_own_deviations() -> None:
    values = np.array([[-3.0, 1.0, -3.0, 1.0], [97.0, 101.0, 97.0, 101.0]])
    scaled = scale_windows(values, 4, Target.VALUE, instance_norm=True)
    assert scaled.seen == pytest.approx(np.array([[-1.0, 1, -1, 1]] * 2))
    assert scaled.centre[:, 0] == pytest.approx([-1.0, 99.0])
    by_series = scale_windows(values, 4, Target.VALUE, False, np.array([[1.0, 2.0], [1.0, 4.0]]))
    assert by_series.seen[:, 1] == pytest.approx([0.0, 25.0])


def test_candles_after_the_cut_never_change_the_weights() -> None:
    table = a_walk(400)
    first_held_out = 340  # 15 % of 400
    altered = with_closes_after(table, first_held_out, seed=9)
    assert not np.array_equal(table.column("close"), altered.column("close"))
    one, other = fit(table), fit(altered)
    assert one.metrics["held_out_mae"] != other.metrics["held_out_mae"]
    asked = [ForecastInput(BTC_HOURLY, table.column("close")[:300], 6)]
    assert np.array_equal(one.forecast(asked)[0], other.forecast(asked)[0])


def test_candles_before_the_cut_do_change_the_weights() -> None:
    table = a_walk(400)
    altered = with_closes_after(table, 200, seed=9)
    asked = [ForecastInput(BTC_HOURLY, table.column("close")[:150], 6)]
    assert not np.array_equal(fit(table).forecast(asked)[0], fit(altered).forecast(asked)[0])


def test_progress_is_told_up_to_the_last_step_and_checks_are_kept() -> None:
    told: list[tuple[int, int]] = []
    checks: list[int] = []
    model = fit(
        a_walk(400),
        progress=lambda step, of, _: told.append((step, of)),
        checked=lambda step, loss: bool(checks.append(step)) or not np.isfinite(loss),
    )
    assert told == [(10, 12), (12, 12)]
    assert checks == [4, 8, 12]
    assert len(model.history["loss"]) == len(model.history["validation_loss"]) == 3
    assert model.metrics["validation_loss"] == min(model.history["validation_loss"])


def test_who_checks_may_end_the_training() -> None:
    model = fit(a_walk(400), checked=lambda step, _: step >= 8)
    assert model.metrics["steps_taken"] == 8


def test_without_a_better_check_the_training_ends_early() -> None:
    # A rate at which it only gets worse after its first check or so.
    recipe = SMALL.model_copy(
        update={"steps": 400, "patience": 2, "learning_rate": 0.05, "check_every": 5}
    )
    model = fit(a_walk(400), recipe)
    assert model.metrics["steps_taken"] < 400
    waited = model.metrics["steps_taken"] - model.metrics["best_step"]
    assert waited == 2 * 5


class _Killed(BaseException):
    """Stands for the end of the process, which no handler of ours sees."""


def test_a_training_goes_on_from_its_state_to_the_same_weights(tmp_path: Path) -> None:
    recipe = SMALL.model_copy(update={"averaging": 0.9})

    def dies_after(last: int) -> Any:
        def checked(step: int, _: float) -> bool:
            if step > last:
                raise _Killed
            return False

        return checked

    whole = fit(a_walk(400), recipe)
    with pytest.raises(_Killed):
        fit(a_walk(400), recipe, checked=dies_after(4), state_folder=tmp_path)
    told: list[int] = []
    resumed = fit(
        a_walk(400),
        recipe,
        checked=lambda step, _: bool(told.append(step)),
        state_folder=tmp_path,
    )
    assert told == [8, 12]
    for name, weights in whole.network.inner.state_dict().items():
        assert torch.equal(weights, resumed.network.inner.state_dict()[name]), name
    assert whole.history == resumed.history
    # A third call finds it finished.
    again = fit(a_walk(400), recipe, checked=dies_after(0), state_folder=tmp_path)
    assert again.history == whole.history


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    fit(a_walk(400), state_folder=tmp_path)
    with pytest.raises(InvalidInput, match="holds the state of another training"):
        fit(a_walk(400, seed=5), state_folder=tmp_path)
    with pytest.raises(InvalidInput, match="holds the state of another training"):
        fit(a_walk(400), SMALL.model_copy(update={"seed": 2}), state_folder=tmp_path)
    (tmp_path / "training.pt").write_bytes(b"not a state")
    with pytest.raises(InvalidInput, match="is no state of a training"):
        fit(a_walk(400), state_folder=tmp_path)


def test_one_path_losses_get_their_intervals_from_past_errors() -> None:
    for loss in (Loss.SQUARED, Loss.ABSOLUTE):
        recipe = SMALL.model_copy(
            update={"loss": loss, "target": Target.VALUE, "instance_norm": True, "steps": 60}
        )
        model = fit(a_walk(600), recipe)
        assert 0.5 < model.metrics["held_out_coverage_80"] < 0.98
        assert model.metrics["held_out_coverage_95"] > model.metrics["held_out_coverage_80"]


def test_too_little_history_says_how_much_there_is() -> None:
    with pytest.raises(InvalidInput, match="too little history to train on 1h candles: 0 windows"):
        fit(a_walk(60))
    with pytest.raises(InvalidInput, match="no 1h candles"):
        fit_neural({}, SMALL, "1h")


_FIT = """
import sys
from pathlib import Path
from tests.unit.test_forecaster_training import SMALL, a_walk, fit
recipe = SMALL.model_copy(update={"steps": 3000, "check_every": 100})
model = fit(a_walk(400), recipe, state_folder=Path(sys.argv[1]) if len(sys.argv) > 2 else None)
model.save(Path(sys.argv[-1]))
"""


@pytest.mark.long
@pytest.mark.timeout(300)  # Three processes import torch.
def test_a_training_killed_with_kill_9_ends_with_the_same_weights(tmp_path: Path) -> None:
    state = tmp_path / "state" / "training.pt"

    def start(*folders: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", _FIT, *map(str, folders)])

    assert start(tmp_path / "undisturbed").wait() == 0
    first = start(state.parent, tmp_path / "resumed")
    until = time.monotonic() + 120
    while not state.exists() and time.monotonic() < until:
        time.sleep(0.01)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert not (tmp_path / "resumed").exists()
    before = torch.load(state, weights_only=True)["step"]
    assert 100 <= before < 3000
    assert start(state.parent, tmp_path / "resumed").wait() == 0
    one, other = (
        torch.load(tmp_path / name / "weights.pt", weights_only=True)
        for name in ("undisturbed", "resumed")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
