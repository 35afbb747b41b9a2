"""Which coins a text speaks of, without mistaking everyday words for them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from finsight.domain.coins import COINS

_BY_SYMBOL = {coin.symbol: coin for coin in COINS}
_BY_NAME = {name: coin.symbol for coin in COINS for name in coin.names}
_BY_PROPER_NAME = {name: coin.symbol for coin in COINS for name in coin.proper_names}
_BY_LOOSE_NAME = {name: coin.symbol for coin in COINS for name in coin.loose_names}


def _any_of(words: Iterable[str], flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """Match one of `words` whole; the longest first, so that "Bitcoin Cash" is not Bitcoin.

    Not inside an address, an e-mail or a hyphenated name: "near.org", "@solana".
    """
    longest_first = sorted(words, key=len, reverse=True)
    alternatives = "|".join(re.escape(word) for word in longest_first)
    return re.compile(rf"(?<![\w$@.])(?:{alternatives})(?![\w@])(?!\.\w)", flags)


_CASHTAG = re.compile(r"(?<![\w$])\$([A-Za-z][A-Za-z0-9]{1,9})\b")
_NAME = _any_of(_BY_NAME, re.IGNORECASE)
_PROPER_NAME = _any_of(_BY_PROPER_NAME)
_LOOSE_NAME = _any_of(_BY_LOOSE_NAME)
_TICKER = _any_of(_BY_SYMBOL)
_TRADE_WORD = (
    r"(?:prices?|tokens?|memecoins?|(?:alt)?coins?|holders?|whales?|bulls?|bears?|traders?|"
    r"investors?|(?:sub)?networks?|subnets?|blockchains?|foundation|protocol|labs|mainnet|testnet|"
    r"staking|etfs?|etps?|futures|crypto(?:currency|currencies)?|stablecoins?|dao|dex|defi|web3|"
    r"nfts?|validators?|wallets?|rall(?:y|ies)|market cap|on-chain|layer[- ]2|l[12]|tvl|airdrops?|"
    r"(?:co-?)?founder|ceo|devs?|developers?|ecosystem|zk\w*|metaverse|depin|rwas?)"
)
_ABOUT_CRYPTO = re.compile(rf"\b{_TRADE_WORD}\b", re.IGNORECASE)
_TRADE_WORD_AFTER = re.compile(rf"(?:['’]s)?[\s-]+(?:\w+\s+)?{_TRADE_WORD}\b", re.IGNORECASE)
_TRADE_WORD_BEFORE = re.compile(rf"\b{_TRADE_WORD}[\s-]+(?:of\s+|on\s+|for\s+)?$", re.IGNORECASE)
_TICKER_WORD_AFTER = re.compile(
    r"(?:['’]s)?\s+(?:price|tokens?|coins?|holders?|whales?|bulls?|bears?|traders?|staking|etfs?|"
    r"(?:soar|surge|jump|drop|fall|rally|rallie|slide|gain|dip|climb|plunge|tumble|rise|spike)s?)\b",
    re.IGNORECASE,
)
_LISTED_BEFORE = re.compile(r"[A-Z0-9)]{2,}(?:,\s*(?:and\s+|or\s+)?|\s+(?:and|or|&)\s+|\s*/\s*)$")
_LISTED_AFTER = re.compile(r"(?:,\s*(?:and\s+|or\s+)?|\s+(?:and|or|&)\s+|\s*/\s*)([A-Z0-9]{2,})\b")
_PAIR_AFTER = re.compile(r"\s?[/-]?\s?(?:USDT|USD|BTC|ETH|EUR)\b")
_NEVER_A_NAME = re.compile(r"ripple (?:effect|through|across)", re.IGNORECASE)


def tag_symbols(title: str, text: str = "") -> tuple[str, ...]:
    """Return the base currencies that `title` and `text` speak of, in order of appearance.

    A coin is meant by its cashtag ($LINK), by its full name (Chainlink), or by its
    ticker in capitals (BTC). A ticker that is also a word (LINK, NEAR, ONE) counts
    only in parentheses, in a pair (LINK/USDT), in a list with other tickers, beside
    a word of the trade (LINK price), or with its full name in the same text. A name
    that is also a word (Stellar, Avalanche) counts only in a text about crypto.
    """
    found: dict[str, None] = {}
    for part in (title, text):
        for _, symbol in sorted(_mentions(part)):
            found.setdefault(symbol)
    return tuple(found)


def _mentions(text: str) -> list[tuple[int, str]]:
    """Where each coin is mentioned. What is certain helps to decide what is not."""
    mentions = [
        (match.start(), match[1].upper())
        for match in _CASHTAG.finditer(text)
        if match[1].upper() in _BY_SYMBOL
    ]
    mentions += [
        (match.start(), _BY_NAME[match[0].lower()])
        for match in _NAME.finditer(text)
        if not _NEVER_A_NAME.match(text, match.start())
    ]
    mentions += [
        (match.start(), _BY_LOOSE_NAME[match[0]])
        for match in _LOOSE_NAME.finditer(text)
        if _beside_a_trade_word(text, match)
    ]
    tickers = list(_TICKER.finditer(text))
    mentions += [(m.start(), m[0]) for m in tickers if not _BY_SYMBOL[m[0]].plain_ticker]
    if mentions or _ABOUT_CRYPTO.search(text):
        mentions += [(m.start(), _BY_PROPER_NAME[m[0]]) for m in _PROPER_NAME.finditer(text)]
    shouted = _is_shouted(text)
    certain = {symbol for _, symbol in mentions}
    mentions += [
        (match.start(), match[0])
        for match in tickers
        if match[0] not in certain and _is_meant(text, match, shouted)
    ]
    return mentions


def _is_meant(text: str, match: re.Match[str], shouted: bool) -> bool:
    """Whether a ticker that is also a word is meant as a ticker here."""
    before, after = text[: match.start()], text[match.end() :]
    if before.endswith("(") and after.startswith(")"):
        return True
    if re.match(r"/(?:USDT?|BTC|ETH|EUR)\b", after):
        return True
    # In a headline all in capitals, every word looks like a ticker.
    if shouted:
        return False
    if _PAIR_AFTER.match(after) and re.match(r"\s?[/-]", after):
        return True
    if _TICKER_WORD_AFTER.match(after):
        return True
    return _is_listed(before, after)


def _is_listed(before: str, after: str) -> bool:
    """Whether a certain ticker stands beside it: "SOL, LINK and DOT"."""
    follower = _LISTED_AFTER.match(after)
    if follower and follower[1] in _BY_SYMBOL:
        return True
    leader = _LISTED_BEFORE.search(before)
    return leader is not None and leader[0].rstrip(" ,/&)andor") in _BY_SYMBOL


def _beside_a_trade_word(text: str, match: re.Match[str]) -> bool:
    before, after = text[: match.start()], text[match.end() :]
    return bool(
        _TRADE_WORD_AFTER.match(after)
        or _TRADE_WORD_BEFORE.search(before)
        or re.match(r"\s*\(", after)
    )


def _is_shouted(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    return len(letters) > 12 and sum(map(str.isupper, letters)) > 0.7 * len(letters)
