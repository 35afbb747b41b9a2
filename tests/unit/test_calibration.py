"""Temperature, reliability and abstaining, against what was built into the answers."""

import numpy as np
import pytest

from finsight.domain.calibration import (
    calibrate,
    reliability,
    tempered,
    threshold_for,
)
from finsight.domain.errors import InvalidInput
from finsight.domain.labelled_texts import CLASSES
from finsight.domain.sentiment_quality import judge_sentiment


def answers(texts: int, too_sure: float, seed: int = 0) -> tuple[list, np.ndarray]:
    """Labels drawn from honest probabilities, and those probabilities made `too_sure`."""
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet((1.0, 1.0, 1.0), texts)
    labels = [CLASSES[rng.choice(3, p=row)] for row in honest]
    return labels, tempered(honest, 1 / too_sure)


@pytest.mark.parametrize("too_sure", [0.7, 1.0, 2.5])
def test_the_temperature_that_was_built_in_is_found(too_sure: float) -> None:
    calibration = calibrate(*answers(6000, too_sure))
    assert calibration.temperature == pytest.approx(too_sure, rel=0.08)


def test_a_temperature_from_some_texts_mends_others() -> None:
    temperature = calibrate(*answers(2000, 2.5, seed=1)).temperature
    labels, probabilities = answers(2000, 2.5, seed=2)
    before = judge_sentiment(labels, probabilities)
    after = judge_sentiment(labels, tempered(probabilities, temperature))
    assert after.calibration_error < before.calibration_error / 3
    assert after.confusion == before.confusion  # No answer changes, only how sure it is.


def test_certainty_is_bounded_where_every_answer_is_right() -> None:
    rows = np.tile([0.6, 0.2, 0.2], (30, 1))
    assert calibrate([CLASSES[0]] * 30, rows).temperature == pytest.approx(0.5, abs=0.01)
    impossible = np.tile([0.0, 0.0, 1.0], (30, 1))
    assert calibrate([CLASSES[0]] * 30, impossible).temperature <= 10


def test_bins_hold_what_was_said_and_what_came() -> None:
    bins = reliability(np.array([0.5, 0.51, 0.99, 1.0]), np.array([True, False, True, True]))
    assert [(one.texts, one.accuracy) for one in bins] == [(2, 0.5), (2, 1.0)]
    assert bins[0].confidence == pytest.approx(0.505)


def test_abstaining_answers_less_and_better() -> None:
    labels, probabilities = answers(4000, 1.0)
    rates = judge_sentiment(labels, probabilities).answering
    assert rates[0].coverage == 1.0
    covered = [rate.coverage for rate in rates]
    assert covered == sorted(covered, reverse=True)
    assert rates[-1].accuracy > 0.93 > rates[0].accuracy


def test_a_threshold_reaches_the_accuracy_wished_for_with_most_answers() -> None:
    labels, probabilities = answers(4000, 1.0)
    threshold = threshold_for(0.9, labels, probabilities)
    assert threshold is not None
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == [CLASSES.index(label) for label in labels]
    assert right[confidence >= threshold].mean() >= 0.9
    lower = confidence < threshold
    assert right[confidence >= confidence[lower].max()].mean() < 0.9


def test_a_threshold_is_not_made_up_where_none_will_do() -> None:
    rows = np.tile([0.6, 0.2, 0.2], (40, 1))
    assert threshold_for(0.9, [CLASSES[0], CLASSES[1]] * 20, rows) is None
    assert threshold_for(0.5, [CLASSES[0], CLASSES[1]] * 20, rows) == pytest.approx(0.6)
    assert threshold_for(0.5, [CLASSES[0]] * 10, rows[:10]) is None  # Too few to say.
    with pytest.raises(InvalidInput, match=r"is 95.0; expected above 0"):
        threshold_for(95.0, [CLASSES[0]], rows[:1])
