"""The same story from two feeds is recognised; similar ones are kept apart."""

from datetime import timedelta

import pytest

from finsight.domain.article import article_id
from finsight.domain.story import STORY_WINDOW, Headline, StoryIndex
from finsight.domain.symbol_tagging import tag_symbols
from tests.builders import NOON, an_article


def a_headline(title, source="one", published_at=NOON):
    name = article_id(title + source)
    return Headline.of(
        an_article(
            id=name,
            story_id=name,
            title=title,
            source=source,
            published_at=published_at,
            symbols=tag_symbols(title),
        )
    )


def linked(one, other):
    index = StoryIndex()
    index.add(one)
    return index.find(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SEC ends investigation into Uniswap", "SEC Ends Uniswap Investigation"),
        ("Bitcoin falls 3.1% to $89,900 on Binance", "On Binance, Bitcoin falls 3.1% to $89,900"),
        ("Fed’s Powell says rates will hold", "Powell: Fed's rates to hold, he says"),
    ],
)
def test_the_same_story_in_other_words_is_linked(one, other):
    assert linked(a_headline(one), a_headline(other, source="two"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bitcoin price analysis: bulls in control", "Ethereum price analysis: bulls in control"),
        ("Bitcoin falls 3.1% in a day on Binance", "Bitcoin falls 5.2% in a day on Binance"),
        ("Markets wrap", "Markets wrap"),
        ("Kraken opens an office in Dublin", "Regulators close a bank in Zurich"),
    ],
)
def test_stories_that_only_look_alike_are_kept_apart(one, other):
    assert not linked(a_headline(one), a_headline(other, source="two"))


def test_a_feed_that_repeats_its_column_does_not_link_to_itself():
    title = "Five coins to watch this week in crypto markets"
    assert not linked(a_headline(title), a_headline(title, published_at=NOON + timedelta(hours=1)))


def test_titles_far_apart_in_time_are_different_stories():
    title = "Five coins to watch this week in crypto markets"
    late = NOON + STORY_WINDOW + timedelta(seconds=1)
    assert not linked(a_headline(title), a_headline(title, "two", late))
    assert linked(a_headline(title), a_headline(title, "two", NOON + STORY_WINDOW))


def test_the_most_similar_headline_is_taken():
    index = StoryIndex()
    close = a_headline("Exchange lists three memecoins after long review by staff")
    closer = a_headline("Exchange lists three memecoins after review", source="three")
    for headline in (close, closer):
        index.add(headline)
    found = index.find(a_headline("Exchange lists three memecoins after a review", source="two"))
    assert found == closer
