"""Commands that train and judge sentiment models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finsight.commands.show import console, print_json
from finsight.commands.training import evaluate, train
from finsight.training.sentiment_recipe import RECIPE_HELP, SentimentRecipe

_RECIPE = SentimentRecipe()
_Labels = Annotated[
    str | None, typer.Option(help="What the labels 0, 1, 2 mean: negative,neutral,positive.")
]


@train.command("sentiment")
def sentiment(
    context: typer.Context,
    files: Annotated[
        list[str], typer.Argument(help="Labelled texts: CSV, JSONL, Parquet, PhraseBank's .txt.")
    ],
    valid: Annotated[
        list[str] | None, typer.Option(help="A file to validate on; unset: a share of FILES.")
    ] = None,
    test: Annotated[
        list[str] | None, typer.Option(help="A file to test on, touched by nothing else.")
    ] = None,
    valid_share: Annotated[float, typer.Option(help="The share of FILES to validate on.")] = 0.1,
    test_share: Annotated[float, typer.Option(help="Or this share of FILES to test on.")] = 0.0,
    earlier: Annotated[
        list[str] | None,
        typer.Option(help="Labelled texts to learn before FILES: the domain, then the task."),
    ] = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(help="Texts without labels to pretrain on (masked words), before all."),
    ] = None,
    labels: _Labels = None,
    base: Annotated[str, typer.Option(help="compact, a model folder or a hub id.")] = "compact",
    lora: Annotated[bool, typer.Option("--lora", help="Learn adapters, not all weights.")] = False,
    rank: Annotated[int, typer.Option(help="Of the adapters.")] = 16,
    epochs: Annotated[int, typer.Option(help=RECIPE_HELP["epochs"])] = _RECIPE.epochs,
    patience: Annotated[int, typer.Option(help=RECIPE_HELP["patience"])] = _RECIPE.patience,
    keep_last: Annotated[
        bool, typer.Option("--keep-last", help="Keep the last epoch, not the best one.")
    ] = False,
    leave_figures: Annotated[
        bool, typer.Option("--leave-figures", help="Don't mark which of two figures is higher.")
    ] = False,
    batch: Annotated[int, typer.Option(help=RECIPE_HELP["batch"])] = _RECIPE.batch,
    accumulate: Annotated[int, typer.Option(help=RECIPE_HELP["accumulate"])] = _RECIPE.accumulate,
    learning_rate: Annotated[
        float | None, typer.Option(help="Unset: 5e-5 for all weights, 1e-3 for adapters.")
    ] = None,
    warmup: Annotated[float, typer.Option(help=RECIPE_HELP["warmup"])] = _RECIPE.warmup,
    class_weighting: Annotated[
        float, typer.Option(help=RECIPE_HELP["class_weighting"])
    ] = _RECIPE.class_weighting,
    label_smoothing: Annotated[
        float, typer.Option(help=RECIPE_HELP["label_smoothing"])
    ] = _RECIPE.label_smoothing,
    averaging: Annotated[float, typer.Option(help=RECIPE_HELP["averaging"])] = _RECIPE.averaging,
    r_drop: Annotated[float, typer.Option(help=RECIPE_HELP["r_drop"])] = _RECIPE.r_drop,
    adversarial: Annotated[
        float, typer.Option(help=RECIPE_HELP["adversarial"])
    ] = _RECIPE.adversarial,
    soup: Annotated[int, typer.Option(help=RECIPE_HELP["soup"])] = _RECIPE.soup,
    teachers: Annotated[int, typer.Option(help=RECIPE_HELP["teachers"])] = _RECIPE.teachers,
    teacher_share: Annotated[
        float, typer.Option(help=RECIPE_HELP["teacher_share"])
    ] = _RECIPE.teacher_share,
    pretraining_epochs: Annotated[
        int, typer.Option(help=RECIPE_HELP["pretraining_epochs"])
    ] = _RECIPE.pretraining_epochs,
    pretraining_learning_rate: Annotated[
        float, typer.Option(help=RECIPE_HELP["pretraining_learning_rate"])
    ] = _RECIPE.pretraining_learning_rate,
    max_tokens: Annotated[int, typer.Option(help=RECIPE_HELP["max_tokens"])] = _RECIPE.max_tokens,
    workers: Annotated[int, typer.Option(help="Ray workers that share the texts.")] = 1,
    threads: Annotated[int, typer.Option(help=RECIPE_HELP["threads"])] = _RECIPE.threads,
    seed: Annotated[int, typer.Option(help=RECIPE_HELP["seed"])] = _RECIPE.seed,
    champion: Annotated[bool, typer.Option("--champion", help="Let it serve at once.")] = False,
) -> None:
    """Fine-tune a sentiment model on labelled texts, and register it as the challenger.

    It is exported to ONNX int8, calibrated on the validation part and judged as it will
    serve. Ctrl-C stops it, and nothing is registered.

    Example: finsight train sentiment news.csv --lora --epochs 3

    Example: finsight train sentiment task.csv --unlabelled headlines.csv --earlier tweets.csv
    """
    from finsight.training import train_sentiment

    arguments = list(files)
    for name, value in context.params.items():
        option = f"--{name.replace('_', '-')}"
        if name == "files" or value is None or value is False:
            continue
        if isinstance(value, list | tuple):
            arguments += [option, *value] if value else []
        else:
            arguments += [option] if value is True else [option, str(value)]
    code = train_sentiment.main(arguments)
    if code != 0:
        raise typer.Exit(code)


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
