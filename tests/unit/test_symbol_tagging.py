"""Coins are tagged; everyday words are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finsight.domain.coins import COINS
from finsight.domain.symbol_tagging import tag_symbols


@pytest.mark.parametrize(
    ("title", "symbols"),
    [
        ("Bitcoin falls as bitcoins move to exchanges", ("BTC",)),
        ("Ethereum upgrade: ether holders cheer", ("ETH",)),
        ("Ripple wins in court", ("XRP",)),
        ("ETH and BTC diverge", ("ETH", "BTC")),
        ("$btc to the moon, $NEAR too", ("BTC", "NEAR")),
        ("Bitcoin Cash forks again", ("BCH",)),
        ("Ethereum Classic miners leave", ("ETC",)),
        ("Chainlink adds staking", ("LINK",)),
        ("Chainlink (LINK) adds staking", ("LINK",)),
        ("LINK price doubles", ("LINK",)),
        ("LINK/USD breaks out", ("LINK",)),
        ("SOL, LINK and DOT rally", ("SOL", "LINK", "DOT")),
        ("NEAR Protocol's NEAR jumps", ("NEAR",)),
        ("Avalanche subnets attract developers", ("AVAX",)),
        ("Polygon's token rises", ("MATIC",)),
        ("XRP’s price slides", ("XRP",)),
    ],
)
def test_coins_are_found_by_name_cashtag_and_ticker(title, symbols):
    assert tag_symbols(title) == symbols


@pytest.mark.parametrize(
    "title",
    [
        "Follow this link to get near the dot com bubble",
        "The Link Between Gas Prices And Sand",
        "Gold near record, one analyst warns",
        "ONE more thing about APT packages",
        "DOT official says trains are late",
        "EVERYTHING YOU NEED TO KNOW: NOT ONE LINK IS NEAR THE OP",
        "Avalanche kills three in the Alps",
        "Stellar results from chip makers",
        "Optimism spreads through Wall Street",
        "Ripple effects of the tariffs reach Europe",
        "Visit near.org or mail info@solana.example",
        "Fed holds rates; op-ed asks why",
        "He paid $1 for an apt near the sand",
        "ADAPT OR DIE: ETHICS OF SOLAR POWER",
        "",
    ],
)
def test_everyday_words_are_not_coins(title):
    assert tag_symbols(title) == ()


def test_the_text_is_read_after_the_title():
    assert tag_symbols("Ethereum rises", "Bitcoin and Ethereum rose") == ("ETH", "BTC")


@pytest.mark.parametrize("coin", COINS, ids=lambda coin: coin.symbol)
def test_every_coin_is_found_by_its_cashtag_and_its_names(coin):
    assert coin.symbol in tag_symbols(f"${coin.symbol} is up")
    assert coin.symbol in tag_symbols(f"A coin ({coin.symbol}) is up")
    for name in coin.names:
        assert tag_symbols(f"Why {name} matters") == (coin.symbol,)
    for name in coin.proper_names + coin.loose_names:
        assert coin.symbol in tag_symbols(f"The {name} network is down")


@given(st.text(), st.text())
def test_any_text_can_be_tagged(title, text):
    found = tag_symbols(title, text)
    assert len(set(found)) == len(found)
    assert set(found) <= {coin.symbol for coin in COINS}
