"""Articles with the coins they speak of."""

from __future__ import annotations

from finsight.domain.article import Article
from finsight.domain.symbol_tagging import tag_symbols


def tagged(article: Article) -> Article:
    """Return `article` with the symbols of its title and summary."""
    symbols = tag_symbols(article.title, article.summary)
    return article.model_copy(update={"symbols": symbols})
