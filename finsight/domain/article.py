"""A news article, known by its canonical URL."""

from __future__ import annotations

import hashlib
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from finsight.domain.timeframe import UtcDatetime


class Article(BaseModel):
    """One article, as the platform knows it.

    `published_at` is what the publisher says; `first_seen_at` is when the
    platform first read it. Nothing may use the article before `known_at`.
    """

    model_config = ConfigDict(frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{32}$", description="made from the canonical URL")
    url: str = Field(description="the address as the first source gave it")
    canonical_url: str = Field(description="the address without tracking, fragment or AMP")
    title: str
    summary: str = ""
    source: str = Field(description="the feed that first had it, by its name in the settings")
    also_in: tuple[str, ...] = Field(default=(), description="other feeds with the same address")
    story_id: str = Field(description="articles that tell the same story share it")
    published_at: UtcDatetime
    first_seen_at: UtcDatetime
    symbols: tuple[str, ...] = Field(default=(), description="base currencies: BTC, ETH")

    @property
    def known_at(self) -> datetime:
        """The first moment at which the platform could use it."""
        return max(self.published_at, self.first_seen_at)

    @property
    def text(self) -> str:
        """Title and summary, as a model reads them."""
        return f"{self.title}. {self.summary}" if self.summary else self.title


def article_id(canonical_url: str) -> str:
    """The id of the article at `canonical_url`: the first 128 bits of its SHA-256, in hex."""
    return hashlib.sha256(canonical_url.encode()).hexdigest()[:32]
