"""Fine-tune a sentiment model on labelled texts, on Ray, and register it.

    python -m finsight.training.train_sentiment news.csv --lora --workers 2

Runs as it is under `ray job submit`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from safetensors import SafetensorError

from finsight.domain.errors import FinSightError, InvalidInput, RunKept, StoreUnavailable
from finsight.domain.labelled_texts import LabelledText, Splits
from finsight.domain.promotion import CHALLENGER, CHAMPION
from finsight.ports.models import ModelReference
from finsight.services.promotion import appoint
from finsight.settings import Settings
from finsight.training.sentiment_data import SentimentData
from finsight.training.sentiment_export import ExportedSentiment, export_sentiment
from finsight.training.sentiment_options import data_of, options, recipe_of
from finsight.training.sentiment_pictures import history_picture
from finsight.training.sentiment_recipe import SentimentRecipe
from finsight.training.sentiment_run import fit_sentiment
from finsight.wiring import open_clock, open_model_registry

KIND = "sentiment"
FAILED, CALLERS_MISTAKE, INTERRUPTED = 1, 2, 130


def train_sentiment(
    settings: Settings,
    data: SentimentData,
    recipe: SentimentRecipe,
    *,
    workers: int = 1,
    make_champion: bool = False,
) -> ModelReference:
    """Train, export, calibrate, judge, register, and return the version.

    It becomes the challenger, and serves at once only when `make_champion` says so.
    Nothing is registered when it fails.

    Raises:
        InvalidInput: the data or the numbers are wrong; says which and what is expected.
        ModelUnavailable: the base can't be read, or every retry of the training failed.
        StoreUnavailable: the registry is down, or the disk is full.
    """
    recipe.check()
    splits, earlier, unlabelled = (
        data.read(recipe.seed),
        data.read_earlier(),
        data.read_unlabelled(),
    )
    _say(
        f"{len(splits.train)} texts to learn from, {len(splits.valid)} to validate, "
        f"{len(splits.test)} to test"
    )
    if splits.removed or splits.contradicting:
        _say(
            f"left out: {splits.removed} whose words stand in two parts, "
            f"{splits.contradicting} whose words have two labels"
        )
    registry = open_model_registry(settings)
    with tempfile.TemporaryDirectory() as scratch, _disk_errors_translated():
        trained = fit_sentiment(
            settings,
            splits,
            recipe,
            Path(scratch) / "model",
            workers,
            earlier=earlier,
            unlabelled=unlabelled,
        )
        _say("exporting for CPUs, calibrating and judging as it will serve")
        exported = export_sentiment(
            settings, trained.folder, splits, [text for part in earlier for text in part]
        )
        _say_figures(exported)
        epochs = trained.training["history"]
        # By other names than the figures of what serves, or the last epoch would replace them.
        history = {f"epoch_{name}": [epoch[name] for epoch in epochs] for name in epochs[0]}
        reference = registry.register(
            KIND,
            trained.folder,
            params={name: str(value) for name, value in asdict(recipe).items()}
            | {
                "workers": str(workers),
                "removed_duplicates": str(splits.removed),
                "contradicting_duplicates": str(splits.contradicting),
            },
            metrics=exported.metrics
            | {
                "train_texts": float(len(splits.train)),
                "best_epoch": float(trained.training["best_epoch"]),
            },
            tags={
                "model": f"{Path(recipe.base).name}-{'lora' if recipe.lora_rank else 'tuned'}",
                "base": recipe.base,
                "trained_on": ",".join(
                    path.name for path in (*data.unlabelled, *data.earlier, *data.files)
                ),
                "data_fingerprint": _fingerprint(splits, earlier, unlabelled),
            },
            history=history,
            pictures=exported.pictures | {"history.png": history_picture(history)},
        )
    alias = CHAMPION if make_champion else CHALLENGER
    if make_champion:
        reason = "its training asked for it"
        clock = open_clock(settings)
        appoint(registry, clock, KIND, reference.version, by="finsight", reason=reason)
    else:
        registry.set_alias(KIND, CHALLENGER, reference.version)
    _say(f"registered as version {reference.version} of {KIND}, the {alias}")
    return reference


def _say(line: str) -> None:
    print(line, flush=True)


def _say_figures(exported: ExportedSentiment) -> None:
    for part, judged in exported.parts.items():
        quality, error = judged.after, judged.before.calibration_error
        _say(
            f"{part}: accuracy {quality.accuracy:.4f}, macro-F1 {quality.macro_f1:.4f}, "
            f"calibration error {quality.calibration_error:.4f} ({error:.4f} before the "
            f"temperature {exported.calibration.temperature:.2f})"
        )
    if exported.int8:
        _say(
            f"int8 costs {exported.int8_costs_points:.2f} points of validation accuracy "
            f"({exported.full_precision.accuracy:.4f} in full precision)"
        )
    else:
        _say("no int8: only torch can run this kind of model")


@contextmanager
def _disk_errors_translated() -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as exc:
        raise StoreUnavailable(
            f"the model could not be written, and nothing was registered: {exc}; make room on the "
            "disk of the data folder and of the folder for temporary files, then train again"
        ) from exc


def _fingerprint(
    splits: Splits, earlier: Sequence[Sequence[LabelledText]], unlabelled: Sequence[str]
) -> str:
    digest = hashlib.sha256("\n".join(unlabelled).encode())
    for text in chain(splits.train, splits.valid, splits.test, *earlier):
        trusted = "" if text.weight == 1.0 else f"\t{text.weight}"
        digest.update(f"{text.label}\t{text.text}{trusted}\n".encode())
    return digest.hexdigest()[:16]


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or with one line on standard error 1 (it failed), 2 (the
    caller's mistake) or 130 (stopped by Ctrl-C)."""
    given = options().parse_args(arguments)
    try:
        settings = Settings.load({"data_dir": given.data_dir} if given.data_dir else None)
        reference = train_sentiment(
            settings,
            data_of(given),
            recipe_of(given),
            workers=given.workers,
            make_champion=given.champion,
        )
    except RunKept as exc:
        print(f"trained, and not registered: {exc}", file=sys.stderr)
        return FAILED
    except FinSightError as exc:
        print(f"training failed: {exc}", file=sys.stderr)
        return CALLERS_MISTAKE if isinstance(exc, InvalidInput) else FAILED
    except (KeyboardInterrupt, SystemExit):
        # Ray Train turns Ctrl-C into the end of its workers, then of the process.
        print("stopped; nothing was registered", file=sys.stderr)
        return INTERRUPTED
    print(json.dumps({"kind": reference.kind, "version": reference.version, **reference.metrics}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
