"""Two sentiment models on the same labelled texts, which neither was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finsight.domain.errors import InvalidInput
from finsight.domain.labelled_texts import LabelledText, seen_mark
from finsight.domain.model_comparison import BesideRival, Measure, ModelComparison
from finsight.domain.significance import mcnemar
from finsight.ports.models import ModelReference, SentimentModel
from finsight.ports.promotion import ModelReaders

KIND = "sentiment"
FEWEST_TEXTS = 100
_AT_ONCE = 64


class SentimentComparison:
    """McNemar's test over labelled texts, less those that either model has seen."""

    def __init__(self, readers: ModelReaders) -> None:
        self._load = readers.sentiment
        self._texts_seen = readers.texts_seen

    def compare(
        self,
        challenger: ModelReference,
        champion: ModelReference | None,
        texts: Sequence[LabelledText],
    ) -> ModelComparison:
        """Hold `challenger` against `champion`, or against what serves without one. Blocking.

        Raises:
            InvalidInput: the challenger keeps no list of the texts it has seen.
            ModelUnavailable: a version's files can't be read.
            StoreUnavailable: try again later.
        """
        learnt = self._texts_seen(challenger)
        if learnt is None:
            raise InvalidInput(
                f"sentiment version {challenger.version} keeps no list of the texts it has seen, "
                "so no text is known to be new to it: train it again, or force its promotion "
                "with a reason"
            )
        seen = learnt | (self._texts_seen(champion) or frozenset())
        by_mark = {seen_mark(text.text): text for text in texts}
        new = [text for mark, text in by_mark.items() if mark not in seen]
        left_out = len(by_mark) - len(new)
        answer = ModelComparison(
            kind=challenger.kind,
            version=challenger.version,
            champion=champion.version if champion is not None else None,
            data=f"{len(new)} labelled texts; {left_out} left out that one of the two has seen, "
            f"{len(texts) - len(by_mark)} that stand there twice",
            figures={
                "texts": float(len(new)),
                "texts_left_out": float(left_out),
                "texts_twice": float(len(texts) - len(by_mark)),
            },
        )
        if len(new) < FEWEST_TEXTS:
            return answer.model_copy(
                update={
                    "missing": f"too little to compare on: {len(new)} texts that neither has seen "
                    f"({left_out} of {len(by_mark)} were left out), {FEWEST_TEXTS} are needed: "
                    f"bring {FEWEST_TEXTS - len(new)} more"
                }
            )
        other = self._load(champion)
        ours, theirs = _right(self._load(challenger), new), _right(other, new)
        beside = BesideRival.of(
            f"version {champion.version}" if champion is not None else other.name,
            Measure.WRONG,
            float(1 - ours.mean()),
            float(1 - theirs.mean()),
            mcnemar(ours, theirs),
        )
        return answer.model_copy(update={"rivals": (beside,)})


def _right(model: SentimentModel, texts: Sequence[LabelledText]) -> np.ndarray:
    answers: list[bool] = []
    for start in range(0, len(texts), _AT_ONCE):
        some = texts[start : start + _AT_ONCE]
        scores = model.score([text.text for text in some])
        answers += [score.label is text.label for score, text in zip(scores, some, strict=True)]
    return np.array(answers)
