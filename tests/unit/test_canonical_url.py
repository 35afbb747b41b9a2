"""One article has one address, whatever a feed hangs on it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finsight.domain.canonical_url import canonical_url
from finsight.domain.errors import InvalidInput

STORY = "https://news.example/2025/bitcoin-rises"

SPELLINGS = [
    "https://news.example/2025/bitcoin-rises",
    "http://news.example/2025/bitcoin-rises",
    "HTTPS://News.Example:443/2025/bitcoin-rises",
    "http://news.example:80/2025/bitcoin-rises/",
    "https://www.news.example/2025/bitcoin-rises",
    "https://news.example./2025/bitcoin-rises",
    "https://reader:secret@news.example/2025/bitcoin-rises",
    " https://news.example/2025/bitcoin-rises\n",
    "https://news.example/2025/bitcoin-rises#comments",
    "https://news.example/2025/bitcoin-rises?",
    "https://news.example/2025/bitcoin-rises?utm_source=rss&utm_medium=feed&UTM_Campaign=x",
    "https://news.example/2025/bitcoin-rises?fbclid=a&gclid=b&ref=c&mc_cid=d",
    "https://news.example/2025/bitcoin-rises?amp",
    "https://news.example/2025/bitcoin-rises?amp=1",
    "https://news.example/2025/bitcoin-rises?outputType=amp",
    "https://news.example/2025/bitcoin-rises/amp",
    "https://news.example/2025/bitcoin-rises/amp/",
    "https://news.example/2025/bitcoin-rises.amp",
    "https://news.example/amp/2025/bitcoin-rises",
    "https://amp.news.example/2025/bitcoin-rises",
    "https://www.google.com/amp/s/news.example/2025/bitcoin-rises/amp",
    "https://www.google.co.uk/amp/s/www.news.example/2025/bitcoin-rises",
    "https://news-example.cdn.ampproject.org/c/s/news.example/2025/bitcoin-rises/amp/?usqp=mq331",
    "https://news.example/2025/./x/../bitcoin-rises",
    "https://news.example//2025//bitcoin-rises",
    "https://news.example/2025/%62itcoin%2Drises",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_an_address_is_one(spelling):
    assert canonical_url(spelling) == STORY


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://a.example/?b=2&a=1&a=0", "https://a.example/?a=0&a=1&b=2"),
        ("https://a.example", "https://a.example/"),
        ("http://a.example:8080/x/", "http://a.example:8080/x"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://xn--bcher-kva.example/%c3%bc", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://a.example/50%-off", "https://a.example/50%25-off"),
        ("https://a.example/a%2Fb", "https://a.example/a%2Fb"),
        ("https://a.example/?q=a+b", "https://a.example/?q=a%20b"),
        ("https://a.example/story.amp.html", "https://a.example/story.html"),
        ("https://[2606:4700::1]/x", "https://[2606:4700::1]/x"),
    ],
)
def test_addresses_are_normalised(address, expected):
    assert canonical_url(address) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.example/story?id=1", "https://a.example/story?id=2"),
        ("https://a.example/Story", "https://a.example/story"),
        ("https://a.example/a%2Fb", "https://a.example/a/b"),
        ("https://a.example/amp", "https://a.example/"),
        ("https://a.example/amplifier", "https://a.example/lifier"),
        ("https://a.example/camp", "https://a.example/c"),
        ("https://ampere.example/x", "https://example/x"),
        ("https://a.example/?reference=1", "https://a.example/"),
        ("https://www.google.com/amp/news", "https://news/"),
    ],
)
def test_different_pages_stay_different(one, other):
    assert canonical_url(one) != canonical_url(other)


@pytest.mark.parametrize(
    "address",
    ["", "news", "/2025/x", "ftp://a.example/x", "javascript:alert(1)", "https://", "https:///x",
     "http://a.example:99999/", "http://[::1", "http://a b.example/", "https://" + "a" * 5000],
)  # fmt: skip
def test_what_is_no_web_address_is_refused(address):
    with pytest.raises(InvalidInput):
        canonical_url(address)


hosts = st.sampled_from(
    ["a.example", "WWW.a.example", "amp.www.amp.b.example", "bücher.example", "www.google.com",
     "a-example.cdn.ampproject.org", "[::1]", "1.2.3.4", "www.www.c.example."]
)  # fmt: skip
pieces = st.sampled_from(
    ["amp", "AMP", "s", "c", "..", ".", "", "story", "x.amp", ".amp.amp", "%2e%2e", "%61mp", "%",
     "%zz", "a.example", "www.google.com", "ü", "a b", "%252e", "\ud800", "😀"]
)  # fmt: skip
queries = st.lists(
    st.sampled_from(["a=1", "b", "amp=1", "utm_x=1", "%61mp=1", "=", "=x", "a=+", "a=%2B", "é=é"])
)
addresses = st.builds(
    lambda scheme, host, port, path, query, fragment: (
        f"{scheme}://{host}{port}/{'/'.join(path)}?{'&'.join(query)}#{fragment}"
    ),
    st.sampled_from(["http", "https", "HTTP"]),
    hosts,
    st.sampled_from(["", ":80", ":443", ":8080"]),
    st.lists(pieces | st.text(max_size=5), max_size=6),
    queries | st.lists(st.text(max_size=5)),
    st.text(max_size=3),
)


@given(addresses | st.text().map(lambda text: f"https://a.example/{text}") | st.text())
def test_a_canonical_address_stays_as_it_is(address):
    try:
        once = canonical_url(address)
    except InvalidInput:
        return
    assert canonical_url(once) == once
    assert once.isascii()


@given(addresses, st.sampled_from(["utm_source=rss", "fbclid=x", "ref=home", "gclid=1"]))
def test_tracking_never_changes_the_address(address, tracking):
    try:
        expected = canonical_url(address)
    except InvalidInput:
        return
    base, _, _ = address.partition("#")
    joint = "&" if "?" in base else "?"
    assert canonical_url(f"{base}{joint}{tracking}") == expected
