"""An article claims no time that nobody can vouch for."""

from datetime import UTC, datetime, timedelta

import pytest

from finsight.adapters.news.found_article import CLOCK_SKEW, article_from

NOW = datetime(2025, 12, 13, 12, tzinfo=UTC)
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


def published(moment: datetime | None) -> tuple[datetime, list[str]]:
    warnings: list[str] = []
    article = article_from(
        source="notes",
        url="https://finsight.example/1",
        title_html="Bitcoin rises",
        summary_html="",
        published_at=moment,
        seen_at=NOW,
        warnings=warnings,
    )
    assert article.first_seen_at == NOW
    return article.published_at, warnings


@pytest.mark.parametrize(
    "moment",
    [NOW + CLOCK_SKEW + timedelta(seconds=1), NOW + timedelta(days=9_000), None, _LONG_AGO],
)
def test_a_date_to_come_or_none_becomes_the_time_it_was_seen(moment: datetime | None) -> None:
    taken, warnings = published(moment)
    assert taken == NOW
    assert len(warnings) == 1


def test_a_date_before_is_kept_apart_from_when_it_was_seen() -> None:
    assert published(NOW - timedelta(hours=3)) == (NOW - timedelta(hours=3), [])
