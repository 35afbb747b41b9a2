"""Which words a score came from: sums, places, determinism, and the obvious word first."""

from collections.abc import Sequence

import pytest

from finsight.adapters.models.onnx_sentiment import OnnxSentimentModel
from finsight.domain.attribution import MAX_WORDS, Attribution, explaining
from finsight.domain.errors import InvalidInput, ModelUnavailable
from finsight.domain.sentiment import SentimentScore
from finsight.services.sentiment_explaining import SentimentExplaining
from tests.unit.http_platform import WordSentiment


def explained(model: OnnxSentimentModel, text: str) -> Attribution:
    [one] = explaining([text])
    return one.attribution(model.score(one.to_score))


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> OnnxSentimentModel:
    return OnnxSentimentModel.compact(tmp_path_factory.mktemp("models"), threads=1)


@pytest.mark.parametrize(
    ("text", "obvious", "sign"),
    [
        ("Ethereum plunges as the market opens", "plunges", -1),
        ("Regulator sues the exchange on Monday", "sues", -1),
        ("Coinbase beats profit estimates", "beats", 1),
        ("Shares of the bank slump on Tuesday", "slump", -1),
        ("Revenue surges in the third quarter", "surges", 1),
    ],
)
def test_the_obvious_word_carries_most_in_the_served_model(
    compact: OnnxSentimentModel, text: str, obvious: str, sign: int
) -> None:
    made = explained(compact, text)
    heaviest = max(made.words, key=lambda word: abs(word.contribution))
    assert heaviest.word == obvious
    assert heaviest.contribution * sign > 0.2
    assert heaviest.towards_label > 0.2


def test_shares_sum_to_the_score_and_are_the_same_twice(compact: OnnxSentimentModel) -> None:
    text = "Profits surge while costs fall, and the bank raises its dividend for a tenth year"
    made = explained(compact, text)
    assert sum(word.contribution for word in made.words) + made.base == pytest.approx(
        made.score.score
    )
    assert made.score.score == pytest.approx(compact.score([text])[0].score, abs=1e-3)
    assert explained(compact, text) == made


async def test_places_are_those_of_the_text_given_and_addresses_are_no_words() -> None:
    text = "  Bitcoin\n surges  https://x.example/news?a=1 , +5% 🚀!"
    [made] = await SentimentExplaining(WordSentiment()).explain([text])
    assert [word.word for word in made.words] == ["Bitcoin", "surges", "5%", "🚀"]
    assert all(text[word.start : word.end] == word.word for word in made.words)
    assert [round(word.contribution, 6) for word in made.words] == [0, 0.7, 0, 0]


async def test_two_words_that_say_the_same_share_what_they_say() -> None:
    [made] = await SentimentExplaining(WordSentiment()).explain(["surges surges"])
    assert [round(word.contribution, 6) for word in made.words] == [0.35, 0.35]


async def test_texts_without_words_and_unspaced_ones_are_explained() -> None:
    marks, signs = await SentimentExplaining(WordSentiment()).explain(["?!", "上涨"])
    assert marks.words == ()
    assert marks.base == marks.score.score
    assert [word.word for word in signs.words] == ["上", "涨"]


def test_too_many_words_are_refused_with_the_limit() -> None:
    with pytest.raises(InvalidInput, match=r"text 1 has 65 words; at most 64 are explained"):
        explaining(["up", "up " * (MAX_WORDS + 1)])
    with pytest.raises(InvalidInput, match=r"192 words together; at most 160"):
        explaining(["up " * MAX_WORDS] * 3)


class TakenOver(WordSentiment):
    """A service whose model is replaced after some answers, or time and again."""

    def __init__(self, after: list[int]) -> None:
        self._after = after
        self.version = 1

    async def score(self, texts: Sequence[str]) -> list[SentimentScore]:
        if self._after and self._after[0] == 0:
            self._after.pop(0)
            self.version += 1
        if self._after:
            self._after[0] -= 1
        made = await super().score(texts)
        return [one.model_copy(update={"model_version": str(self.version)}) for one in made]


async def test_one_answer_is_by_one_version_of_the_model() -> None:
    texts = ["Bitcoin surges as funds buy more and more of it every day"] * 2
    made = await SentimentExplaining(TakenOver([1])).explain(texts)
    assert {one.score.model_version for one in made} == {"2"}
    with pytest.raises(ModelUnavailable, match="several models answer in turn"):
        await SentimentExplaining(TakenOver([1] * 99)).explain(texts)
