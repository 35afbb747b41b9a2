"""What a person types after `finsight jobs submit`, as options of a request."""

import re

import pytest

from finsight.commands.jobs import options_in
from finsight.domain.errors import InvalidInput


def test_files_flags_and_values() -> None:
    given = "news.csv more.csv --lora --epochs 3 --test a.csv b.csv --learning-rate=0.001"
    assert options_in(given.split()) == {
        "files": ["news.csv", "more.csv"],
        "lora": True,
        "epochs": "3",
        "test": ["a.csv", "b.csv"],
        "learning_rate": "0.001",
    }
    assert options_in([]) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("-e 3", "'-e' is no option; they begin with two dashes"),
        ("--epochs 3 --epochs 4", "--epochs is given twice"),
        ("--learning-rate 3 news.csv", "--learning-rate takes one value, and got 3 news.csv"),
    ],
)
def test_what_makes_no_sense_is_refused(given: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)):
        options_in(given.split())
