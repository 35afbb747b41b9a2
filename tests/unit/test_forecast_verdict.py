"""What is said of a forecaster: better, no better, worse, or too few to say."""

import numpy as np
import pytest

from finsight.domain.forecast import QUANTILES
from finsight.domain.forecast_evaluation import Scale
from finsight.domain.forecast_verdict import Outcomes, judgement, verdict_on

HOUR_MS = 3_600_000
SPREAD = np.array([-2.0, -1.3, 0.0, 1.3, 2.0])


def outcomes(
    miss: float = 1.0, moments: int = 200, series: tuple[str, ...] = ("a:B-C:1h",), every: int = 6
) -> Outcomes:
    """Closes that move by about 1; the model misses by `miss` of that, naive by all of it."""
    rng = np.random.default_rng(0)
    moves = rng.normal(size=(moments, 12))
    rows = moments * len(series)
    truth = np.tile(100 + moves, (len(series), 1))
    medians = truth - miss * np.tile(moves, (len(series), 1))
    naive = np.full((rows, 12, len(QUANTILES)), 100.0) + SPREAD
    return Outcomes(
        series=np.repeat(series, moments),
        origins=np.tile(np.arange(moments) * every * HOUR_MS, len(series)),
        quantiles=medians[:, :, None] + SPREAD,
        naive=naive,
        truth=truth,
        last=np.full(rows, 100.0),
        scale=Scale(np.full(rows, 1.0), np.full(rows, 1.0)),
        every=every,
    )


def test_a_better_model_beats_naive_and_the_words_say_by_how_much() -> None:
    verdict = verdict_on("PatchTST 3", outcomes(miss=0.5))
    assert verdict.beats_naive
    assert verdict.words[0].startswith("PatchTST 3 beats naive: MASE ratio 0.500")
    assert verdict.overall.mase_ratio == pytest.approx(0.5)
    assert verdict.overall.direction_share == 1.0


@pytest.mark.parametrize(
    ("miss", "words"),
    [
        (1.0, "does not beat naive: MASE ratio 1.000, Diebold-Mariano p = 0.5"),
        (1.2, "does not beat naive, and is surely worse: MASE ratio 1.200"),
    ],
)
def test_a_model_that_is_no_better_is_said_not_to_be(miss: float, words: str) -> None:
    verdict = verdict_on("PatchTST 3", outcomes(miss))
    assert not verdict.beats_naive
    assert words in verdict.words[0]
    if miss == 1.0:
        assert "never said a direction" in " ".join(verdict.words)


def test_too_few_moments_say_nothing() -> None:
    verdict = verdict_on("m", outcomes(miss=0.5, moments=7))
    assert verdict.overall.dm_p is None
    assert not verdict.beats_naive
    assert "can't be compared with naive" in verdict.words[0]


def test_the_same_series_twice_is_no_more_certain_than_once() -> None:
    noisy = outcomes(miss=0.97)
    once = judgement(noisy)
    twice = judgement(outcomes(miss=0.97, series=("a:B-C:1h", "a:D-C:1h")))
    assert (once.origins, twice.origins) == (200, 400)
    assert once.dm_p == pytest.approx(twice.dm_p)
    assert once.independent == twice.independent == 100  # 12 candles ahead, every 6
    assert once.direction_low == twice.direction_low


def test_each_series_and_step_is_judged_by_itself() -> None:
    both = outcomes(miss=1.0, series=("a:B-C:1h", "a:D-C:1h"))
    better = both.quantiles.copy()
    better[both.series == "a:D-C:1h"] = outcomes(miss=0.5).quantiles
    better[:, 0] = both.truth[:, :1] + SPREAD  # the first step is known
    mixed = Outcomes(
        both.series, both.origins, better, both.naive, both.truth, both.last, both.scale, 6
    )
    verdict = verdict_on("m", mixed)
    first, second = verdict.by_series
    assert (first.series, second.series) == ("a:B-C:1h", "a:D-C:1h")
    assert first.model.mase > 1.5 * second.model.mase
    assert [one.step for one in verdict.by_step] == [1, 6, 12]
    assert verdict.by_step[0].model.mase == 0
    assert verdict.by_step[0].independent == 200
    assert verdict.by_step[1].mase_ratio == pytest.approx(0.75, abs=0.02)
    assert "beats naive on 2 of 2 series" in verdict.words[-1]
