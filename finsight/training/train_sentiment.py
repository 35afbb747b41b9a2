"""Fine-tune a sentiment model on labelled texts, on Ray, and register it.

    python -m finsight.training.train_sentiment news.csv --lora --workers 2

Runs as it is under `ray job submit`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from finsight.domain.errors import FinSightError, InvalidInput
from finsight.domain.labelled_texts import (
    Splits,
    make_splits,
    parse_label_order,
)
from finsight.domain.sentiment import SentimentLabel
from finsight.ports.models import ModelReference
from finsight.settings import Settings
from finsight.training.sentiment_data import read_labelled_files
from finsight.training.sentiment_network import COMPACT
from finsight.training.sentiment_run import TrainedSentiment, fit_sentiment
from finsight.training.sentiment_training_loop import SentimentRecipe
from finsight.wiring import open_model_registry

KIND = "sentiment"
LORA_RANK = 16
FULL_LEARNING_RATE, LORA_LEARNING_RATE = 5e-5, 1e-3


@dataclass(frozen=True)
class SentimentData:
    """The files a model is trained on, and how they are divided.

    `order` is what the labels 0, 1 and 2 stand for, where the files have such.
    """

    files: tuple[Path, ...]
    valid: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()
    valid_share: float = 0.1
    test_share: float = 0.0
    order: tuple[SentimentLabel, ...] | None = None

    def read(self, seed: int) -> Splits:
        """Raises: InvalidInput."""
        for name, share in (("validation", self.valid_share), ("test", self.test_share)):
            if not 0 <= share < 1:
                raise InvalidInput(f"the {name} share is {share}; expected at least 0, below 1")
        return make_splits(
            read_labelled_files(self.files, self.order),
            valid=read_labelled_files(self.valid, self.order) if self.valid else None,
            test=read_labelled_files(self.test, self.order) if self.test else None,
            valid_share=self.valid_share,
            test_share=self.test_share,
            seed=seed,
        )


def train_sentiment(
    settings: Settings,
    data: SentimentData,
    recipe: SentimentRecipe,
    *,
    workers: int = 1,
    make_champion: bool = False,
) -> ModelReference:
    """Train, judge, register, and return the version.

    It serves only when `make_champion` says so. Nothing is registered when it fails.

    Raises:
        InvalidInput: the data or the numbers are wrong; says which and what is expected.
        ModelUnavailable: the base can't be read, or every retry of the training failed.
        StoreUnavailable: the registry is down.
    """
    splits = data.read(recipe.seed)
    print(
        f"{len(splits.train)} texts to learn from, {len(splits.valid)} to validate, "
        f"{len(splits.test)} to test; {splits.removed} removed because their words stand in two "
        "parts",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        trained = fit_sentiment(settings, splits, recipe, Path(scratch) / "model", workers)
        registry = open_model_registry(settings)
        reference = registry.register(
            KIND,
            trained.folder,
            params={name: str(value) for name, value in asdict(recipe).items()}
            | {"workers": str(workers), "removed_duplicates": str(splits.removed)},
            metrics=_metrics(trained),
            tags={
                "model": f"{Path(recipe.base).name}-{'lora' if recipe.lora_rank else 'tuned'}",
                "base": recipe.base,
                "trained_on": ",".join(path.name for path in data.files),
                "data_fingerprint": _fingerprint(splits),
            },
        )
    if make_champion:
        registry.set_champion(KIND, reference.version)
    return reference


def _fingerprint(splits: Splits) -> str:
    digest = hashlib.sha256()
    for text in (*splits.train, *splits.valid, *splits.test):
        digest.update(f"{text.label}\t{text.text}\n".encode())
    return digest.hexdigest()[:16]


def _metrics(trained: TrainedSentiment) -> dict[str, float]:
    metrics = {
        "train_texts": float(len(trained.splits.train)),
        "best_epoch": float(trained.training["best_epoch"]),
        "macro_f1_before_export": float(trained.training["best_macro_f1"]),
    }
    for part, quality in (("valid", trained.valid), ("test", trained.test)):
        if quality is not None:
            metrics[f"{part}_accuracy"] = quality.accuracy
            metrics[f"{part}_macro_f1"] = quality.macro_f1
            metrics[f"{part}_calibration_error"] = quality.calibration_error
    return metrics


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="labelled texts")
    parser.add_argument("--valid", nargs="+", type=Path, default=[], help="files to validate on")
    parser.add_argument("--test", nargs="+", type=Path, default=[], help="files to test on")
    parser.add_argument("--valid-share", type=float, default=0.1, help="where no --valid is given")
    parser.add_argument("--test-share", type=float, default=0.0, help="where no --test is given")
    parser.add_argument("--labels", help="what 0, 1, 2 mean: negative,neutral,positive")
    parser.add_argument("--base", default=COMPACT, help="compact, a folder or a hub id")
    parser.add_argument("--lora", action="store_true", help="learn adapters, not all weights")
    parser.add_argument("--rank", type=int, default=LORA_RANK, help="of the adapters")
    parser.add_argument("--epochs", type=int, default=4, help="at most")
    parser.add_argument("--batch", type=int, default=32, help="texts of one pass")
    parser.add_argument("--accumulate", type=int, default=1, help="passes of one step")
    parser.add_argument("--learning-rate", type=float, help="unset: by what is learnt")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of one worker")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--champion", action="store_true", help="let it serve at once")
    parser.add_argument("--data-dir", type=Path, help="where the platform keeps its data")
    given = parser.parse_args(arguments)
    usual_rate = LORA_LEARNING_RATE if given.lora else FULL_LEARNING_RATE
    recipe = SentimentRecipe(
        base=given.base,
        lora_rank=given.rank if given.lora else None,
        epochs=given.epochs,
        batch=given.batch,
        accumulate=given.accumulate,
        learning_rate=given.learning_rate or usual_rate,
        seed=given.seed,
        threads=given.threads,
    )
    try:
        settings = Settings.load({"data_dir": given.data_dir} if given.data_dir else None)
        data = SentimentData(
            tuple(given.files),
            tuple(given.valid),
            tuple(given.test),
            given.valid_share,
            given.test_share,
            parse_label_order(given.labels) if given.labels else None,
        )
        reference = train_sentiment(
            settings, data, recipe, workers=given.workers, make_champion=given.champion
        )
    except FinSightError as exc:
        print(f"training failed: {exc}", file=sys.stderr)
        return 1
    print(json.dumps({"kind": reference.kind, "version": reference.version, **reference.metrics}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
