"""News from Tavily search."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from finsight.adapters.news.found_article import Unreadable, article_from
from finsight.adapters.news.guarded_http import GuardedHttp
from finsight.domain.article import Article
from finsight.domain.errors import Misconfigured, SourceRefused, SourceUnavailable
from finsight.ports.clock import Clock
from finsight.ports.news import NewsAnswer, Validators

MAX_RESULTS = 20


class TavilySource:
    """Implements `ports.news.NewsSource` over one search, made anew at each reading.

    A search has no validators, so nothing is ever "unchanged"; the store drops
    what it has. The key is sent to `url` alone, never logged and never followed
    to another address.
    """

    def __init__(self, name: str, query: str, api_key: str, url: str, clock: Clock) -> None:
        """Raises: Misconfigured (no query)."""
        if not query.strip():
            raise Misconfigured(f"the search {name} needs a query")
        self._name = name
        self._query = query
        self._api_key = api_key
        self._url = url
        self._clock = clock
        # The operator gives this address, not a user of the platform.
        self._http = GuardedHttp(allow_private=True, timeout_s=30.0)

    @property
    def name(self) -> str:
        return self._name

    async def fetch(self, validators: Validators) -> NewsAnswer:
        answer = await self._http.post_json(
            self._url,
            {
                "query": self._query,
                "topic": "news",
                "time_range": "day",
                "max_results": MAX_RESULTS,
            },
            {"authorization": f"Bearer {self._api_key}"},
        )
        try:
            results = json.loads(answer.body)["results"]
        except (ValueError, LookupError, TypeError) as exc:
            raise SourceUnavailable(f"the search {self._name} answered no results list") from exc
        if not isinstance(results, list):
            raise SourceRefused(f"the search {self._name} answered results that are no list")
        seen_at = self._clock.now()
        articles: dict[str, Article] = {}
        warnings: list[str] = []
        for result in results:
            try:
                article = _read_result(self._name, result, seen_at, warnings)
            except Unreadable as exc:
                warnings.append(str(exc))
                continue
            articles.setdefault(article.id, article)
        return NewsAnswer(articles=tuple(articles.values()), warnings=tuple(warnings))

    async def close(self) -> None:
        await self._http.close()


def _read_result(name: str, result: Any, seen_at: datetime, warnings: list[str]) -> Article:
    if not isinstance(result, dict):
        raise Unreadable(f"the search {name} answered a result that is no object")
    return article_from(
        source=name,
        url=str(result.get("url") or ""),
        title_html=str(result.get("title") or ""),
        summary_html=str(result.get("content") or ""),
        published_at=_read_date(result.get("published_date")),
        seen_at=seen_at,
        warnings=warnings,
    )


def _read_date(given: Any) -> datetime | None:
    """Read "Fri, 12 Dec 2025 10:00:00 GMT", or ISO 8601; None when it is neither."""
    if not isinstance(given, str):
        return None
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(given)
        except ValueError:
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
