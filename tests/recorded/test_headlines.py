"""Tags and stories on 65,000 real headlines: how often they are right."""

from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from finsight.domain.article import Article, article_id
from finsight.domain.coins import COINS
from finsight.domain.story import Headline, StoryIndex
from finsight.domain.symbol_tagging import tag_symbols

KNOWN = {coin.symbol for coin in COINS}


@pytest.fixture(scope="module")
def headlines(shared_data):
    """(published, title, source, labelled coins) of each headline, oldest first.

    The labels are the aggregator's. It made them from whole articles, so many
    coins are labelled that the headline never names.
    """
    table = pq.read_table(shared_data / "news" / "crypto_headlines.parquet")
    rows = [
        (
            datetime.fromtimestamp(row["ts"] / 1000, UTC),
            row["title"],
            row["source"],
            set((row["tickers"] or "").split(",")) & KNOWN,
        )
        for row in table.to_pylist()
        if row["origin"] == "cryptopanic-dataset"
    ]
    return sorted(rows, key=lambda row: row[0])


def test_tags_agree_with_the_aggregators_labels(headlines):
    right = wrong = missed = named = named_found = 0
    for _, title, _, labelled in headlines:
        found = set(tag_symbols(title))
        right += len(found & labelled)
        wrong += len(found - labelled)
        missed += len(labelled - found)
        # What the headline itself names by ticker is what a reader would expect to be tagged.
        words = set(title.replace("(", " ").replace(")", " ").replace(",", " ").split())
        named += len(labelled & words)
        named_found += len(labelled & words & found)
    print(
        f"precision {right / (right + wrong):.3f}, "
        f"recall of labels {right / (right + missed):.3f}, "
        f"recall of labelled tickers in the headline {named_found / named:.3f}"
    )
    assert right / (right + wrong) > 0.92
    assert right / (right + missed) > 0.50
    assert named_found / named > 0.90


def an_article_of(title, source, published_at):
    name = article_id(f"{source} {published_at} {title}")
    return Article(
        id=name,
        url="https://x.example/",
        canonical_url="https://x.example/",
        title=title,
        source=source,
        story_id=name,
        published_at=published_at,
        first_seen_at=published_at,
        symbols=tag_symbols(title),
    )


def count_links(index, articles):
    return sum(index.find(Headline.of(article)) is not None for article in articles)


def test_headlines_of_other_months_are_hardly_ever_linked(headlines):
    """A month's headlines, moved onto another month's days: every link is a false one."""
    month = timedelta(days=30)
    start = datetime(2024, 6, 1, tzinfo=UTC)
    here = [row for row in headlines if start <= row[0] < start + month]
    index = StoryIndex()
    for published_at, title, source, _ in here:
        index.add(Headline.of(an_article_of(title, source, published_at)))
    moved = [
        an_article_of(title, source, published_at + 3 * month)
        for published_at, title, source, _ in headlines
        if start - 3 * month <= published_at < start - 2 * month
    ]
    same_days = [an_article_of(title, source, at) for at, title, source, _ in here]
    false, linked = count_links(index, moved), count_links(index, same_days)
    print(
        f"{linked} of {len(same_days)} headlines share a story with another feed's; "
        f"{false} of {len(moved)} from three months before would have been linked to them"
    )
    assert len(moved) > 500
    assert false <= 0.004 * len(moved)
    assert linked > 10 * max(false, 1)
