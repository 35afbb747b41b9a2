"""Commands that ask the models: sentiment of texts, forecast of a series."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from finsight.commands.api_client import ApiClient
from finsight.commands.forecast_words import explanation_in_words
from finsight.commands.operating import AsJson
from finsight.commands.show import coloured, console, errors, print_json, print_table
from finsight.commands.which_series import named_series
from finsight.domain.errors import InvalidInput
from finsight.domain.sentiment import MAX_TEXT_CHARACTERS
from finsight.settings import Settings

_TEXTS_A_REQUEST = 256
_LABEL_COLOURS = {"positive": "green", "neutral": "default", "negative": "red"}


def register(app: typer.Typer) -> None:
    """Add this group's commands to `app`."""
    app.command()(sentiment)
    app.command()(predict)


def sentiment(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts to score; none or - reads lines from stdin.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score how good or bad texts are for the price of what they speak of.

    Asks the running platform; without one, the model is loaded here.

    Example: finsight sentiment "Bitcoin surges past its record" "Exchange halts withdrawals"
    """
    if not texts or texts == ["-"]:
        texts = [line.strip() for line in sys.stdin if line.strip()]
    if not texts or not all(text.strip() for text in texts):
        raise InvalidInput('there is no text to score; try: finsight sentiment "Bitcoin rises"')
    longest = max(len(text) for text in texts)
    if longest > MAX_TEXT_CHARACTERS:
        raise InvalidInput(
            f"a text has {longest:,} characters; at most {MAX_TEXT_CHARACTERS:,} are scored: "
            "split it, or give one text a line on stdin"
        )
    # An argument that isn't UTF-8 arrives with half characters in it.
    texts = [text.encode(errors="replace").decode() for text in texts]
    settings = Settings.load()
    with ApiClient(settings.api_url) as api:
        if api.is_running():
            scores = [score for part in _parts(texts) for score in _scored_there(api, part)]
        else:
            scores = _scored_here(settings, texts)
    if as_json:
        print_json([{"text": text, **score} for text, score in zip(texts, scores, strict=True)])
        return
    rows = [
        (
            coloured(score["label"], _LABEL_COLOURS[score["label"]]),
            f"{score['score']:+.2f}",
            f"{score['negative']:.2f}",
            f"{score['neutral']:.2f}",
            f"{score['positive']:.2f}",
            text if len(text) <= 70 else text[:69] + "…",
        )
        for text, score in zip(texts, scores, strict=True)
    ]
    print_table("", ("label", "score", "negative", "neutral", "positive", "text"), rows)
    console.print(f"[dim]{scores[0]['model']} {scores[0]['model_version']}[/]")


def predict(
    exchange: Annotated[str, typer.Argument(help="ccxt's id of the venue, such as binance.")],
    symbol: Annotated[str, typer.Argument(help="The symbol, such as BTC/USDT.")],
    timeframe: Annotated[str, typer.Argument(help="How long a candle lasts, such as 1h.")],
    horizon: Annotated[int, typer.Option(help="How many candles ahead.", min=1)] = 24,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also say which part of its past it leans on.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Forecast a series, with intervals, beside the naive forecast. Needs the running platform.

    Example: finsight predict binance BTC/USDT 1h --horizon 24
    """
    series = named_series(exchange, symbol, timeframe)
    asked = {**series.model_dump(mode="json"), "horizon": horizon, "explain": explain}
    with ApiClient(Settings.load().api_url) as api:
        answer = api.post("/v1/predictions", asked)
    if as_json:
        print_json(answer)
        return
    forecast = answer["forecast"]
    console.print(
        f"[bold]{exchange} {symbol} {timeframe}[/], last close {price(forecast['last_close'])} "
        f"of the candle opened {forecast['origin']}"
    )
    console.print(f"[dim]{forecast['model']} {forecast['model_version']}: {forecast['reason']}[/]")
    rows = [
        (
            step["opened_at"][:16].replace("T", " "),
            price(step["median"]),
            f"{price(step['low_80'])} … {price(step['high_80'])}",
            f"{price(step['low_95'])} … {price(step['high_95'])}",
            price(naive["median"]),
        )
        for step, naive in zip(forecast["steps"], forecast["naive"], strict=True)
    ]
    print_table("", ("candle (UTC)", "forecast", "80 %", "95 %", "naive"), rows)
    if answer["explanation"] is not None:
        console.print("\n" + explanation_in_words(answer["explanation"]), markup=False)


def price(value: float) -> str:
    """A price with as many digits as its size calls for."""
    if value >= 10_000:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if value >= 100 else f"{value:.6g}"


def _parts(texts: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(texts), _TEXTS_A_REQUEST):
        yield texts[first : first + _TEXTS_A_REQUEST]


def _scored_there(api: ApiClient, texts: list[str]) -> list[dict[str, Any]]:
    scores: list[dict[str, Any]] = api.post("/v1/sentiment/score", {"texts": texts})["scores"]
    return scores


def _scored_here(settings: Settings, texts: list[str]) -> list[dict[str, Any]]:
    from finsight.wiring import load_sentiment_model

    errors.print("[dim]no platform is running: loading the model here[/]")
    scores = load_sentiment_model(settings).score(texts)
    return [{**score.model_dump(), "label": score.label, "score": score.score} for score in scores]
