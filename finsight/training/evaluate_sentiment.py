"""Judge a sentiment model on labelled texts it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finsight.domain.labelled_texts import LabelledText
from finsight.domain.sentiment_quality import SentimentQuality, judge_sentiment
from finsight.ports.models import SentimentModel

_AT_ONCE = 512


def evaluate_sentiment(model: SentimentModel, texts: Sequence[LabelledText]) -> SentimentQuality:
    """Score `texts` as serving does and compare the answers with their labels."""
    rows: list[tuple[float, float, float]] = []
    for start in range(0, len(texts), _AT_ONCE):
        scores = model.score([text.text for text in texts[start : start + _AT_ONCE]])
        rows += [(score.negative, score.neutral, score.positive) for score in scores]
    return judge_sentiment([text.label for text in texts], np.array(rows))
