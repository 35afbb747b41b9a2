"""Promotion on a real registry and real stored candles: only a gain that isn't luck serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from finsight.adapters.models.mlflow_registry import MlflowRegistry
from finsight.adapters.models.naive_forecaster import NaiveForecaster
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput, ModelUnavailable, NotFound
from finsight.domain.forecaster_recipe import ForecasterRecipe
from finsight.domain.labelled_texts import LabelledText, seen_mark
from finsight.domain.promotion import CHALLENGER, Verdict
from finsight.domain.sentiment import SentimentLabel, SentimentScore
from finsight.domain.timeframe import Timeframe
from finsight.ports.market import CandleStore
from finsight.ports.models import ForecastInput, ModelReference, ModelRegistry
from finsight.ports.news import ArticleStore
from finsight.ports.promotion import ModelReaders
from finsight.services.promotion import Promotion, roll_back
from finsight.wiring import (
    fit_forecaster,
    open_article_store,
    open_candle_store,
    open_model_readers,
)
from tests.builders import BTC_HOURLY, ETH_HOURLY, HOUR, a_tide, a_walk
from tests.builders import TIDE_START as START
from tests.unit.http_platform import StoppedClock

KIND = "forecaster-1h"
TRAINED_UNTIL = START + 600 * HOUR
HORIZON = 12


@dataclass
class DayAgo:
    """Answers the closes of the same hours a day before, each off by some `noise`."""

    noise: float = 0.0
    name: str = "day ago"
    version: str = "1"
    timeframe: Timeframe | None = Timeframe.H1
    trained_on: frozenset[str] = frozenset({BTC_HOURLY.key})
    min_history: int = 24
    max_horizon: int = HORIZON

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        answers = []
        for request in inputs:
            days = -(-request.horizon // 24)
            middle = np.tile(request.closes[-24:], days)[: request.horizon]
            middle = middle * np.exp(rng.normal(0, self.noise, request.horizon))
            answers.append(middle[:, None] * np.exp(0.002 * np.array([-2, -1.2, 0, 1.2, 2])))
        return answers


class LosesItsNumbers(DayAgo):
    def forecast(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray]:
        return [made * np.nan for made in super().forecast(inputs)]


@dataclass
class Words:
    """Answers positive where one of its words stands in the text, else negative."""

    words: tuple[str, ...]
    name: str = "words"
    version: str = "1"

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def score(self, texts: Sequence[str]) -> list[SentimentScore]:
        return [self._one(any(word in text for word in self.words)) for text in texts]

    def _one(self, is_good: bool) -> SentimentScore:
        up, down = (0.8, 0.1) if is_good else (0.1, 0.8)
        return SentimentScore(
            negative=down, neutral=0.1, positive=up, model=self.name, model_version=self.version
        )


@dataclass
class Desk:
    """A promotion over a registry and stored candles, with models that a test names."""

    registry: ModelRegistry
    candles: CandleStore
    articles: ArticleStore
    folder: Path
    clock: StoppedClock = field(default_factory=lambda: StoppedClock(START + 1100 * HOUR))
    models: dict[tuple[str, str], object] = field(default_factory=dict)
    marks: dict[str | None, frozenset[str] | None] = field(default_factory=dict)

    @property
    def promotion(self) -> Promotion:
        readers = ModelReaders(
            forecaster=lambda one: self.models[one.kind, one.version],  # type: ignore[arg-type,return-value]
            naive=NaiveForecaster(),
            sentiment=lambda one: self.models["sentiment", one.version if one else "none"],  # type: ignore[arg-type,return-value]
            texts_seen=lambda one: self.marks.get(one.version if one else None),
        )
        return Promotion(self.registry, self.candles, self.articles, self.clock, readers, 48)

    def add(self, model: object, kind: str = KIND, **tags: str) -> ModelReference:
        (self.folder / "weights.txt").write_text("weights")
        given: Mapping[str, str] = {"trained_until": TRAINED_UNTIL.isoformat()} | tags
        reference = self.registry.register(kind, self.folder, params={}, metrics={}, tags=given)
        self.models[reference.kind, reference.version] = model
        return reference


@pytest.fixture
async def desk(tmp_path, settings, mlflow_folder):
    candles = open_candle_store(settings)
    await candles.upsert(BTC_HOURLY, a_tide(1100))
    (tmp_path / "model").mkdir()
    return Desk(
        MlflowRegistry(None, mlflow_folder),
        candles,
        open_article_store(settings),
        tmp_path / "model",
    )


async def test_who_is_better_than_naive_and_champion_serves_and_it_is_written_down(desk):
    old = desk.add(DayAgo(noise=0.02))
    first = await desk.promotion.promote(KIND, old.version, by="ada", reason="a first one")
    assert first.verdict is Verdict.PROMOTED
    new = desk.add(DayAgo())
    desk.registry.set_alias(KIND, CHALLENGER, new.version)
    decision = await desk.promotion.promote(KIND, new.version, by="ada", reason="less noise")
    assert (decision.verdict, decision.before) == (Verdict.PROMOTED, old.version)
    assert desk.registry.champion(KIND).version == new.version
    assert desk.registry.holder(KIND, CHALLENGER) is None
    assert desk.registry.decisions(KIND)[0] == decision
    assert decision.by == "ada"
    assert decision.reason.startswith("less noise. better than version 1: mean scaled pinball loss")
    evidence = decision.evidence
    assert evidence["pinball"] < evidence["pinball_of_version_1"] < evidence["pinball_of_naive"]
    assert evidence["pinball_p_value_against_version_1"] < 0.05
    assert evidence["error"] < evidence["error_of_naive"]
    assert evidence["origins"] == 163


async def test_who_does_not_beat_naive_is_refused_though_nothing_serves(desk):
    noisy = desk.add(DayAgo(noise=0.2))
    decision = await desk.promotion.promote(KIND, noisy.version, by="ada")
    assert decision.verdict is Verdict.REFUSED
    assert "not better than naive: mean scaled pinball loss" in decision.reason
    assert decision.evidence["pinball"] > decision.evidence["pinball_of_naive"]
    assert desk.registry.champion(KIND) is None
    assert desk.registry.decisions(KIND) == [decision]


async def test_an_equal_one_is_refused_and_the_champion_stays(desk):
    for _ in range(2):
        desk.add(DayAgo())
    await desk.promotion.promote(KIND, "1", by="ada")
    decision = await desk.promotion.promote(KIND, "2", by="ada")
    assert decision.verdict is Verdict.REFUSED
    assert "not better than version 1" in decision.reason
    assert "better than naive" in decision.reason
    assert desk.registry.champion(KIND).version == "1"


async def test_one_that_was_rolled_back_comes_again_by_force_alone(desk):
    for noise in (0.02, 0.0):
        desk.add(DayAgo(noise=noise))
    for version in ("1", "2"):
        await desk.promotion.promote(KIND, version, by="ada")
    roll_back(desk.registry, desk.clock, KIND, by="live watch", reason="off by more than 1")
    again = await desk.promotion.promote(KIND, "2", by="a schedule")
    assert again.verdict is Verdict.REFUSED
    assert again.reason.startswith("it was rolled back on 2024-02-15 by live watch: off by more")
    assert desk.registry.champion(KIND).version == "1"
    forced = await desk.promotion.promote(KIND, "2", by="ada", reason="mended", force=True)
    assert forced.verdict is Verdict.FORCED


async def test_one_that_was_good_only_on_what_it_learnt_from_is_refused(desk):
    """Until the training ended the tide is regular; since then the closes only wander."""
    until = START + 970 * HOUR
    await desk.candles.upsert(BTC_HOURLY, a_walk(130, until, seed=3))
    honest = desk.add(DayAgo(), trained_until=until.isoformat())
    decision = await desk.promotion.promote(KIND, honest.version, by="ada")
    assert decision.verdict is Verdict.REFUSED
    assert "2024-02-10T10:00:00+00:00 to 2024-02-15T19:00:00+00:00" in decision.reason
    # Had it been held against what it learnt from, it would look good.
    early = desk.add(DayAgo(), trained_until=(START + 100 * HOUR).isoformat())
    assert (await desk.promotion.promote(KIND, early.version, by="ada")).verdict is Verdict.PROMOTED


async def test_the_later_training_of_the_two_decides_what_is_new(desk):
    desk.add(DayAgo(noise=0.02), trained_until=(TRAINED_UNTIL + 400 * HOUR).isoformat())
    desk.registry.set_champion(KIND, "1")
    new = desk.add(DayAgo())
    decision = await desk.promotion.promote(KIND, new.version, by="ada")
    assert decision.verdict is Verdict.REFUSED
    assert decision.reason == (
        "too little to compare on: both were trained until before 2024-02-11T16:00:00+00:00, and "
        "100 1h candles have closed since; 120 are needed (20 more), which will have closed by "
        "2024-02-16T16:00:00+00:00"
    )
    desk.clock.moment = datetime(2024, 2, 16, 16, tzinfo=UTC)
    await desk.candles.upsert(BTC_HOURLY, a_tide(1120))
    assert (await desk.promotion.compare(KIND, new.version)).missing is None


async def test_it_can_be_forced_with_a_reason_and_never_without(desk):
    noisy = desk.add(DayAgo(noise=0.2))
    with pytest.raises(InvalidInput, match="say why"):
        await desk.promotion.promote(KIND, noisy.version, by="ada", force=True)
    decision = await desk.promotion.promote(
        KIND, noisy.version, by="ada", force=True, reason="to see what happens"
    )
    assert decision.verdict is Verdict.FORCED
    assert decision.reason.startswith("to see what happens. not better than naive")
    assert desk.registry.champion(KIND).version == noisy.version
    with pytest.raises(InvalidInput, match="serves already"):
        await desk.promotion.promote(KIND, noisy.version, by="ada")


async def test_one_that_does_not_say_what_it_saw_can_only_be_forced(desk):
    model = desk.add(DayAgo(), trained_until="")
    with pytest.raises(InvalidInput, match="does not say until when it was trained"):
        await desk.promotion.promote(KIND, model.version, by="ada")
    assert desk.registry.decisions(KIND) == []
    decision = await desk.promotion.promote(
        KIND, model.version, by="ada", force=True, reason="from the old platform"
    )
    assert decision.reason.startswith("from the old platform. not compared: forecaster-1h version")
    broken = desk.add(None, trained_until="")
    del desk.models[KIND, broken.version]
    with pytest.raises(KeyError):
        await desk.promotion.promote(KIND, broken.version, by="ada", force=True, reason="please")
    assert desk.registry.champion(KIND).version == model.version


async def test_one_that_answers_no_numbers_is_neither_promoted_nor_forced(desk):
    model = desk.add(LosesItsNumbers())
    for force in (False, True):
        with pytest.raises(ModelUnavailable, match="not a finite number"):
            await desk.promotion.promote(
                KIND, model.version, by="ada", force=force, reason="please"
            )
    assert desk.registry.champion(KIND) is None


async def test_origins_at_a_gap_are_left_out_and_other_series_count_too(desk):
    whole = a_tide(1100, seed=5)
    keep = CandleTable(whole.arrow.filter(np.arange(1100) % 1100 != 900))
    await desk.candles.upsert(ETH_HOURLY, keep)
    model = desk.add(DayAgo())
    figures = (await desk.promotion.compare(KIND, model.version)).figures
    assert figures["series"] == 2
    # Origins are three hours apart; those whose window of 48 + 12 holds the gap are missing.
    assert (figures["origins"], figures["forecasts"]) == (163, 2 * 163 - 20)


async def test_without_any_unbroken_stretch_it_says_what_to_do(desk):
    model = desk.add(DayAgo(), kind="forecaster-5m")
    decision = await desk.promotion.promote("forecaster-5m", model.version, by="ada")
    assert decision.verdict is Verdict.REFUSED
    assert "0 series with an unbroken stretch" in decision.reason
    assert "finsight backfill" in decision.reason


async def test_a_model_is_given_what_else_was_known(desk):
    class SeesVolume(DayAgo):
        def forecast(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray]:
            for request in inputs:
                assert request.known is not None
                # The tide's volume is its close: so it is seen row for row.
                np.testing.assert_array_equal(request.known["volume"], request.closes)
                assert set(request.known) == {"volume", "sentiment", "articles"}
            return super().forecast(inputs)

    model = desk.add(SeesVolume())
    assert (await desk.promotion.promote(KIND, model.version, by="ada")).verdict is Verdict.PROMOTED


async def test_one_that_learnt_from_a_file_has_no_newer_candles(desk):
    model = desk.add(DayAgo(), kind="forecaster-etth1")
    with pytest.raises(InvalidInput, match="not trained on stored candles"):
        await desk.promotion.promote("forecaster-etth1", model.version, by="ada")


async def test_an_unknown_version_or_kind_is_not_found(desk):
    desk.add(DayAgo())
    with pytest.raises(NotFound, match="the newest are 1"):
        await desk.promotion.compare(KIND, "7")
    with pytest.raises(NotFound, match="registered kinds: forecaster-1h"):
        await desk.promotion.compare("forecaster-4h", "1")


async def test_a_trained_patchtst_that_does_not_beat_naive_is_refused(desk, settings):
    """On a random walk there is nothing to learn, and a real training finds nothing."""
    walk = a_walk(1100, START, seed=8)
    await desk.candles.upsert(BTC_HOURLY, walk)
    recipe = ForecasterRecipe(input_size=48, horizon=HORIZON, steps=20, check_every=10)
    model = fit_forecaster(settings, Timeframe.H1, {BTC_HOURLY.key: walk}, recipe)
    model.save(desk.folder)
    reference = desk.add(None, trained_until=model.trained_until.isoformat())
    readers = open_model_readers(settings)
    promotion = Promotion(desk.registry, desk.candles, desk.articles, desk.clock, readers, 48)
    decision = await promotion.promote(KIND, reference.version, by="ada")
    assert decision.verdict is Verdict.REFUSED
    assert "naive" in decision.reason
    assert decision.evidence["error"] == pytest.approx(decision.evidence["error_of_naive"], rel=0.1)
    assert desk.registry.champion(KIND) is None


# Sentiment.

GOOD, BAD = SentimentLabel.POSITIVE, SentimentLabel.NEGATIVE


def texts(count: int, first: int = 0) -> list[LabelledText]:
    """Texts of which `surges` tells half of the good ones, and `gains` the other half."""
    made = []
    for row in range(first, first + count):
        word, label = [("surges", GOOD), ("gains", GOOD), ("slides", BAD)][row % 3]
        made.append(LabelledText(f"coin number {row} {word}", label, "news.csv", row + 1))
    return made


def sentiment_desk(desk: Desk) -> Desk:
    desk.models["sentiment", "none"] = Words(("surges",), name="compact")
    desk.marks["1"] = frozenset()
    desk.add(Words(("surges", "gains")), kind="sentiment")
    return desk


async def test_a_sentiment_model_with_fewer_errors_serves(desk):
    decision = await sentiment_desk(desk).promotion.promote(
        "sentiment", "1", by="ada", texts=texts(150)
    )
    assert decision.verdict is Verdict.PROMOTED
    assert decision.evidence["wrong"] == 0
    assert decision.evidence["wrong_of_compact"] == pytest.approx(1 / 3)
    assert "better than compact: share of wrong answers 0.0000 against 0.3333" in decision.reason
    worse = desk.add(Words(("surges",)), kind="sentiment")
    desk.marks[worse.version] = frozenset()
    refused = await desk.promotion.promote("sentiment", worse.version, by="ada", texts=texts(150))
    assert refused.verdict is Verdict.REFUSED
    assert "not better than version 1" in refused.reason


async def test_texts_that_either_has_seen_are_left_out_and_counted(desk):
    sentiment_desk(desk)
    desk.marks["1"] = frozenset(seen_mark(one.text) for one in texts(40))
    second = desk.add(Words(("surges",)), kind="sentiment")
    desk.marks[second.version] = frozenset(seen_mark(one.text) for one in texts(30, first=40))
    desk.registry.set_champion("sentiment", "1")
    same = [*texts(200), *texts(5, first=100)]
    compared = await desk.promotion.compare("sentiment", second.version, same)
    assert compared.figures == {"texts": 130, "texts_left_out": 70, "texts_twice": 5}
    few = await desk.promotion.promote("sentiment", second.version, by="ada", texts=texts(120))
    assert few.verdict is Verdict.REFUSED
    assert few.reason == (
        "too little to compare on: 50 texts that neither has seen (70 of 120 were left out), "
        "100 are needed: bring 50 more"
    )


async def test_sentiment_needs_texts_and_a_list_of_what_was_seen(desk):
    sentiment_desk(desk)
    with pytest.raises(InvalidInput, match="--on FILE"):
        await desk.promotion.promote("sentiment", "1", by="ada")
    desk.marks.clear()
    with pytest.raises(InvalidInput, match="keeps no list of the texts it has seen"):
        await desk.promotion.promote("sentiment", "1", by="ada", texts=texts(150))
    model = desk.add(DayAgo())
    with pytest.raises(InvalidInput, match="leave the labelled texts out"):
        await desk.promotion.promote(KIND, model.version, by="ada", texts=texts(3))


def test_marks_are_of_words_and_not_of_letters() -> None:
    assert seen_mark("Bitcoin SURGES!") == seen_mark("bitcoin surges")
    assert seen_mark("bitcoin surges") != seen_mark("bitcoin slides")
    assert len(seen_mark("x")) == 16
