"""What may be asked of a job, and the arguments it becomes."""

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from finsight.domain.errors import InvalidInput
from finsight.domain.job_options import JobKind
from finsight.domain.job_requests import JobRequest, parse_job_request, promotion_after
from finsight.services.training_jobs import MODULES

FULL: dict[JobKind, dict[str, Any]] = {
    JobKind.TRAIN_SENTIMENT: {
        "files": ["a.csv"],
        "valid": ["v.csv"],
        "test": ["t.csv"],
        "earlier": ["e.csv"],
        "unlabelled": ["u.csv"],
        "valid_share": 0.2,
        "test_share": 0.1,
        "labels": "negative,neutral,positive",
        "base": "compact",
        "lora": True,
        "rank": 8,
        "epochs": 2,
        "batch": 16,
        "accumulate": 2,
        "learning_rate": 0.001,
        "r_drop": 0.5,
        "adversarial": 0.1,
        "soup": 2,
        "teachers": 2,
        "keep_last": True,
        "leave_figures": True,
        "workers": 1,
        "threads": 1,
        "seed": 1,
        "champion": True,
    },
    JobKind.TRAIN_FORECASTER: {
        "timeframe": "1h",
        "family": "nhits",
        "target": "log_return",
        "loss": "quantile",
        "exogenous": True,
        "instance_norm": True,
        "horizon": 12,
        "input_size": 48,
        "steps": 10,
        "check_every": 5,
        "patience": 2,
        "batch_size": 8,
        "patch_length": 8,
        "stride": 8,
        "hidden_size": 16,
        "layers": 1,
        "heads": 2,
        "dropout": 0.1,
        "learning_rate": 0.001,
        "held_out_share": 0.2,
        "threads": 1,
        "seed": 1,
        "champion": True,
    },
    JobKind.TUNE_FORECASTER: {
        "timeframe": "1h",
        "families": "patchtst,nhits",
        "trials": 2,
        "minutes": 1,
        "steps": 10,
        "check_every": 5,
        "exogenous": True,
        "seed": 1,
    },
    JobKind.EVALUATE_SENTIMENT: {
        "files": ["a.csv"],
        "labels": "negative,neutral,positive",
        "model": "compact",
        "version": "3",
        "fit_on": ["b.csv"],
        "accuracy": 0.9,
    },
    JobKind.EVALUATE_FORECASTER: {
        "timeframe": "1h",
        "version": "3",
        "horizon": 24,
        "every": 24,
        "refit_every": 500,
    },
    JobKind.PROMOTE: {"model": "sentiment", "version": "3", "texts": ["a.csv"], "by": "ann"},
}


@pytest.mark.parametrize("kind", FULL)
def test_every_option_is_one_that_the_command_takes(kind: JobKind) -> None:
    request = parse_job_request({"kind": kind, **FULL[kind]})
    unset = [name for name in type(request).model_fields if not getattr(request, name)]
    assert set(unset) <= {"promote", "promote_on"}, "name every option in FULL"
    found = importlib.util.find_spec(MODULES[kind])
    assert found is not None
    source = Path(found.origin or "").read_text()
    assert "def main(" in source, f"{MODULES[kind]} has no command"
    if kind is JobKind.TRAIN_SENTIMENT:
        # Its options are those of the recipe, whatever fields that has.
        from finsight.training.sentiment_options import options as parser

        source = repr([action.option_strings for action in parser()._actions])
    options = [a.partition("=")[0] for a in request.arguments("/data") if a.startswith("--")]
    assert options
    assert set(options) <= options_taken(source)


def options_taken(source: str) -> set[str]:
    """What its calls of `add_argument` name, in a loop too: importing it takes half a minute."""
    tree = ast.parse(source)
    words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    names = {word for word in words if isinstance(word, str) and word.startswith("--")}
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For)]
    for loop in loops:
        if "add_argument" in ast.unparse(loop):
            listed = [one for one in ast.walk(loop.iter) if isinstance(one, ast.Constant)]
            names |= {f"--{one.value}" for one in listed}
    return names


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "trian-forecaster"}, "no kind of job 'trian-forecaster'; did you mean train-for"),
        ({"kind": "xyz"}, "known are train-sentiment, train-forecaster"),
        ({}, "which kind of job"),
        ({"kind": "train-forecaster", "stepz": 3}, "no option 'stepz'; did you mean steps"),
        ({"kind": "train-forecaster", "steps": 0}, "steps: Input should be greater than or equal"),
        ({"kind": "train-forecaster", "timeframe": "1q"}, "timeframe: Input should be '1m'"),
        (
            {"kind": "train-forecaster", "champion": True, "promote": True},
            "champion lets it serve at once, promote asks first",
        ),
        ({"kind": "train-sentiment"}, "files: Field required"),
        (
            {"kind": "train-sentiment", "files": ["a.csv"], "promote": True},
            "promote needs promote_on",
        ),
        ({"kind": "train-sentiment", "files": ["a.csv"], "workers": 0}, "workers: Input should be"),
        ({"kind": "train-sentiment", "files": ["a"], "labels": "--champion"}, "labels: String"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)) as raised:
        parse_job_request(wrong)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../b", "--champion", "-x", "a//b", "~/a", "a;b", ""]
)
def test_a_file_is_named_below_the_folder_and_no_other_way(name: str) -> None:
    with pytest.raises(InvalidInput, match="no name of a file below"):
        parse_job_request({"kind": "train-sentiment", "files": [name]})


def test_only_what_asks_for_promotion_is_followed_by_it() -> None:
    def after(**options: Any) -> JobRequest | None:
        return promotion_after(parse_job_request(options), "forecaster-1h", "3")

    assert after(kind="train-forecaster") is None
    assert after(kind="evaluate-forecaster") is None
    asked = after(kind="tune-forecaster", promote=True)
    assert asked is not None
    assert asked.arguments("/data") == ["--model=forecaster-1h", "--version=3", "--by=retraining"]
    texts = after(kind="train-sentiment", files=["a"], promote=True, promote_on=["new.csv"])
    assert texts is not None
    assert texts.file_names == ["new.csv"]
