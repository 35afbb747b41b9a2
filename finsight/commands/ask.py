"""Commands that ask the models: sentiment of texts, forecast of a series."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from finsight.commands.api_client import ApiClient
from finsight.commands.forecast_words import explanation_in_words
from finsight.commands.operating import AsJson
from finsight.commands.sentiment_figures import print_words
from finsight.commands.show import coloured, console, errors, print_json, print_table
from finsight.commands.which_series import named_series
from finsight.domain.attribution import explaining
from finsight.domain.errors import InvalidInput
from finsight.domain.sentiment import MAX_TEXT_CHARACTERS, SentimentScore
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
    explain: Annotated[
        bool, typer.Option("--explain", help="Also show which words the scores came from.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score how good or bad texts are for the price of what they speak of.

    Asks the running platform; without one, the model is loaded here.

    Example: finsight sentiment "Bitcoin surges past its record" "Exchange halts withdrawals"

    Example: finsight sentiment --explain "Profits surge while costs fall"
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
            # Explaining one text costs as much as scoring hundreds.
            at_once = 1 if explain else _TEXTS_A_REQUEST
            parts = [texts[at : at + at_once] for at in range(0, len(texts), at_once)]
            scores = [score for part in parts for score in _scored_there(api, part, explain)]
        else:
            scores = _scored_here(settings, texts, explain)
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
    if explain:
        for text, score in zip(texts, scores, strict=True):
            print_words(text, score)
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


def _scored_there(api: ApiClient, texts: list[str], explain: bool) -> list[dict[str, Any]]:
    path = "/v1/sentiment/score" + ("?explain=true" if explain else "")
    scores: list[dict[str, Any]] = api.post(path, {"texts": texts})["scores"]
    return scores


def _scored_here(settings: Settings, texts: list[str], explain: bool) -> list[dict[str, Any]]:
    from finsight.wiring import load_sentiment_model

    begun = [one for text in texts for one in explaining([text])] if explain else []
    errors.print("[dim]no platform is running: loading the model here[/]")
    model = load_sentiment_model(settings)
    if not explain:
        return [_row(score) for score in model.score(texts)]
    explained = [one.attribution(model.score(one.to_score)) for one in begun]
    return [
        {
            **_row(one.score),
            "words": [word.model_dump() for word in one.words],
            "base": one.base,
        }
        for one in explained
    ]


def _row(score: SentimentScore) -> dict[str, Any]:
    return {**score.model_dump(), "label": score.label, "score": score.score}
