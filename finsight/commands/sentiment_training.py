"""Commands that train and judge sentiment models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finsight.commands.show import console, print_json, print_table
from finsight.commands.training import evaluate, train
from finsight.domain.sentiment_quality import SentimentQuality

_Labels = Annotated[
    str | None, typer.Option(help="What the labels 0, 1, 2 mean: negative,neutral,positive.")
]


@train.command("sentiment")
def sentiment(
    files: Annotated[
        list[str], typer.Argument(help="Labelled texts: CSV, JSONL, Parquet, PhraseBank's .txt.")
    ],
    valid: Annotated[
        list[str] | None, typer.Option(help="A file to validate on; unset: a share of FILES.")
    ] = None,
    test: Annotated[
        list[str] | None, typer.Option(help="A file to test on, touched by nothing else.")
    ] = None,
    test_share: Annotated[float, typer.Option(help="Or this share of FILES to test on.")] = 0.0,
    labels: _Labels = None,
    base: Annotated[str, typer.Option(help="compact, a model folder or a hub id.")] = "compact",
    lora: Annotated[bool, typer.Option(help="Learn adapters instead of all weights.")] = False,
    epochs: Annotated[int, typer.Option(help="At most; macro-F1 may stop it earlier.")] = 4,
    workers: Annotated[int, typer.Option(help="Ray workers that share the texts.")] = 1,
    seed: Annotated[int, typer.Option(help="Decides splits, first weights and order.")] = 0,
    champion: Annotated[bool, typer.Option(help="Let it serve at once.")] = False,
) -> None:
    """Fine-tune a sentiment model on labelled texts, and register it.

    Example: finsight train sentiment news.csv --lora --epochs 3
    """
    from finsight.training import train_sentiment

    arguments = [*files, "--base", base, "--epochs", str(epochs), "--workers", str(workers)]
    arguments += ["--seed", str(seed), "--test-share", str(test_share)]
    for option, values in (("--valid", valid), ("--test", test)):
        arguments += [option, *values] if values else []
    arguments += ["--labels", labels] if labels else []
    arguments += ["--lora"] if lora else []
    arguments += ["--champion"] if champion else []
    if train_sentiment.main(arguments) != 0:
        raise typer.Exit(1)


@evaluate.command("sentiment")
def evaluate_sentiment(
    files: Annotated[
        list[Path], typer.Argument(help="Labelled texts; each file is judged by itself.")
    ],
    model: Annotated[
        str | None, typer.Option(help="compact, a folder or a hub id; unset: what would serve.")
    ] = None,
    labels: _Labels = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge the sentiment model on labelled texts: accuracy, macro-F1, calibration, errors.

    Example: finsight evaluate sentiment news.csv --labels negative,positive,neutral
    """
    from finsight.domain.labelled_texts import parse_label_order
    from finsight.settings import Settings
    from finsight.training.evaluate_sentiment import evaluate_sentiment as judge
    from finsight.training.sentiment_data import read_labelled_file
    from finsight.wiring import load_sentiment_model

    order = parse_label_order(labels) if labels else None
    # All files are read before the model is, so that a wrong one is said at once.
    data = {str(path): read_labelled_file(path, order) for path in files}
    loaded = load_sentiment_model(Settings.load(), model)
    judged = {name: judge(loaded, texts) for name, texts in data.items()}
    if as_json:
        print_json(
            {
                "model": loaded.name,
                "version": loaded.version,
                "data": {name: quality.model_dump() for name, quality in judged.items()},
            }
        )
        return
    console.print(f"{loaded.name}, version {loaded.version}")
    print_table(
        "data sets",
        ("file", "texts", "accuracy", "macro-F1", "calibration error"),
        [
            (Path(name).name, q.texts, *_rounded(q.accuracy, q.macro_f1, q.calibration_error))
            for name, q in judged.items()
        ],
    )
    for name, quality in judged.items():
        _print_classes(Path(name).name, quality)


def _print_classes(name: str, quality: SentimentQuality) -> None:
    """One table: per class its measures, and how its texts were answered."""
    said = [f"said {row.label}" for row in quality.classes]
    print_table(
        name,
        ("class", "texts", "precision", "recall", "F1", *said),
        [
            (str(row.label), row.texts, *_rounded(row.precision, row.recall, row.f1), *counts)
            for row, counts in zip(quality.classes, quality.confusion, strict=True)
        ],
    )


def _rounded(*shares: float) -> tuple[float, ...]:
    return tuple(round(share, 4) for share in shares)
