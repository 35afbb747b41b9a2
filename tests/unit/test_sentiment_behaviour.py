"""What the compact model understands, as a reader would test it."""

from pathlib import Path

import pytest

from finsight.adapters.models.onnx_sentiment import OnnxSentimentModel
from finsight.domain.sentiment import SentimentLabel


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OnnxSentimentModel:
    cache: Path = tmp_path_factory.mktemp("models")
    return OnnxSentimentModel.compact(cache, threads=1)


def score(model: OnnxSentimentModel, text: str) -> float:
    return model.score([text])[0].score


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("bitcoin surges", "bitcoin slides"),
        ("Bitcoin soars to a record high", "Bitcoin plunges to a yearly low"),
        ("Ethereum gains 8% after the upgrade", "Ethereum loses 8% after the upgrade"),
        ("Profits beat expectations at Coinbase", "Profits miss expectations at Coinbase"),
        ("Analysts upgrade the miner's shares", "Analysts downgrade the miner's shares"),
        ("SEC approves spot bitcoin ETF", "SEC rejects spot bitcoin ETF"),
        ("Miner wins a licence", "Miner loses its licence"),
    ],
)
def test_good_news_scores_above_bad_news(
    model: OnnxSentimentModel, better: str, worse: str
) -> None:
    assert score(model, better) > score(model, worse) + 0.05


def test_what_it_hardly_tells_apart_is_in_order_at_least(model: OnnxSentimentModel) -> None:
    # Both are neutral to it: what it learnt from says little of regulators.
    assert score(model, "Regulator approves the fund") > score(model, "Regulator rejects the fund")


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("Q4 EPS 43 cents vs. 29 cents a year ago", "Q4 EPS 29 cents vs. 43 cents a year ago"),
        ("Sales of $1.2 bln; consensus $950 mln", "Sales of $950 mln; consensus $1.2 bln"),
        (
            "Bitcoin trades at $70,000, compared with $60,000 last week",
            "Bitcoin trades at $60,000, compared with $70,000 last week",
        ),
    ],
)
def test_figures_without_a_word_of_direction_are_compared(
    model: OnnxSentimentModel, better: str, worse: str
) -> None:
    assert model.score([better])[0].label is SentimentLabel.POSITIVE
    assert model.score([worse])[0].label is SentimentLabel.NEGATIVE


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Bitcoin surges past $100,000 as institutions buy", SentimentLabel.POSITIVE),
        ("Solana rallies 12% after upgrade", SentimentLabel.POSITIVE),
        ("Bitcoin plunges below $80,000 as traders flee", SentimentLabel.NEGATIVE),
        ("Exchange hacked, $200 million stolen", SentimentLabel.NEGATIVE),
        ("SEC sues exchange over unregistered securities", SentimentLabel.NEGATIVE),
    ],
)
def test_plain_crypto_headlines_have_their_side(
    model: OnnxSentimentModel, text: str, label: SentimentLabel
) -> None:
    assert model.score([text])[0].label is label


@pytest.mark.parametrize("sentence", ["{} plunges to a yearly low", "{} gains 8% on strong demand"])
def test_the_name_of_the_coin_changes_little(model: OnnxSentimentModel, sentence: str) -> None:
    scores = [score(model, sentence.format(c)) for c in ("Bitcoin", "Ethereum", "Litecoin")]
    assert max(scores) - min(scores) < 0.5
    assert len({value > 0 for value in scores}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "The meeting takes place on Tuesday",
        "Here is what the report says about wallets",
        "The conference opens in Singapore next week",
        "How does a blockchain work?",
    ],
)
def test_statements_without_a_side_are_neutral(model: OnnxSentimentModel, text: str) -> None:
    assert model.score([text])[0].label is SentimentLabel.NEUTRAL
