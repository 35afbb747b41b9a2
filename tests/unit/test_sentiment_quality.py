"""The measures of a sentiment model, against values worked out by hand."""

import numpy as np
import pytest

from finsight.domain.labelled_texts import CLASSES
from finsight.domain.sentiment_quality import judge_sentiment

NEGATIVE, NEUTRAL, POSITIVE = CLASSES


def test_the_measures_of_a_small_case_are_those_worked_out_by_hand() -> None:
    labels = [NEGATIVE, NEGATIVE, NEUTRAL, POSITIVE]
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    quality = judge_sentiment(labels, probabilities)
    assert quality.accuracy == 0.75
    assert quality.confusion == ((1, 1, 0), (0, 1, 0), (0, 0, 1))
    assert [c.f1 for c in quality.classes] == pytest.approx([2 / 3, 2 / 3, 1.0])
    assert quality.macro_f1 == pytest.approx(7 / 9)
    assert (quality.classes[0].precision, quality.classes[0].recall) == (1.0, 0.5)
    assert quality.calibration_error == pytest.approx(0.05)  # 0.8 sure, 0.75 right


def test_a_sure_model_that_is_always_wrong_is_worst_calibrated() -> None:
    quality = judge_sentiment([NEGATIVE] * 3, np.array([[0.0, 0.0, 1.0]] * 3))
    assert (quality.accuracy, quality.macro_f1, quality.calibration_error) == (0.0, 0.0, 1.0)


def test_a_class_that_nobody_speaks_of_is_left_out_of_the_mean() -> None:
    quality = judge_sentiment([NEGATIVE, POSITIVE], np.array([[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]]))
    assert quality.macro_f1 == 1.0
