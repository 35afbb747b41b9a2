"""Commands that train and judge sentiment models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finsight.commands.show import console, print_json
from finsight.commands.training import evaluate, train

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
    version: Annotated[
        str | None, typer.Option(help="Or one of the registry: a number, champion, challenger.")
    ] = None,
    labels: _Labels = None,
    fit_on: Annotated[
        list[Path] | None,
        typer.Option(help="A file to fit the temperature on; its texts are not judged."),
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(help="Find the threshold above which this share is right, on --fit-on."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="A folder for PNG pictures of confusions and reliability.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge the sentiment model on labelled texts: accuracy, macro-F1, calibration, errors.

    Says what giving no answer below a threshold would bring. With --fit-on, also what a
    temperature fitted there mends.

    Example: finsight evaluate sentiment news.csv --labels negative,positive,neutral

    Example: finsight evaluate sentiment test.csv --fit-on valid.csv --accuracy 0.95
    """
    from finsight.commands.sentiment_figures import print_evaluation
    from finsight.domain.labelled_texts import parse_label_order
    from finsight.settings import Settings
    from finsight.training.evaluate_sentiment import Asked, judge_files
    from finsight.training.sentiment_pictures import write_pictures

    evaluation = judge_files(
        Settings.load(),
        Asked(
            files=tuple(files),
            model=model,
            version=version,
            order=parse_label_order(labels) if labels else None,
            fit_on=tuple(fit_on or ()),
            accuracy=accuracy,
        ),
    )
    written = write_pictures(evaluation.data, pictures) if pictures else []
    if as_json:
        print_json(evaluation.document())
        return
    print_evaluation(evaluation)
    if written:
        console.print(f"pictures: {', '.join(path.name for path in written)} in {pictures}")
