"""Addresses that users give can't reach private networks, exhaust memory or take for ever."""

import gzip
import ipaddress
import socket
import zlib
from datetime import UTC, datetime

import pytest

from finsight.adapters.news.guarded_http import GuardedHttp, is_public, retry_after_s
from finsight.domain.errors import SourceBusy, SourceRefused, SourceUnavailable
from tests.web_server import Reply, a_web_server


@pytest.fixture
def web():
    with a_web_server() as server:
        yield server


@pytest.fixture
async def http():
    client = GuardedHttp(allow_private=True, timeout_s=5)
    yield client
    await client.close()


@pytest.fixture
async def guarded():
    client = GuardedHttp(timeout_s=5)
    yield client
    await client.close()


@pytest.fixture
def names(monkeypatch):
    """DNS of the test's own: names it lists resolve to what it says, in turn; others as usual."""
    answers: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def resolve(host, port, *args, **kwargs):
        if host not in answers:
            return real(host, port, *args, **kwargs)
        address = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return real(address, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return answers


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0",
     "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
     "224.0.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1",
     "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[fe80::1]",
     "[fc00::1]", "[ff02::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:db8::1]",
     "①②⑦.0.0.1"],
)  # fmt: skip
async def test_private_addresses_are_refused_however_they_are_written(guarded, web, host):
    with pytest.raises(SourceRefused, match=r"not a public address|not an address"):
        await guarded.get(f"http://{host}:{web.port}/")
    assert web.asked == []


@pytest.mark.parametrize("number", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(number):
    assert is_public(ipaddress.ip_address(number))


async def test_a_name_that_resolves_to_loopback_is_refused(guarded, web, names):
    names["feeds.example"] = ["127.0.0.1"]
    with pytest.raises(SourceRefused, match=r"feeds\.example leads to 127\.0\.0\.1"):
        await guarded.get(f"http://feeds.example:{web.port}/")
    assert web.asked == []


async def test_a_name_is_resolved_once_so_a_second_answer_changes_nothing(http, web, names):
    web.replies["/feed"] = Reply(body=b"ok")
    names["feeds.example"] = ["127.0.0.1", "203.0.113.1"]
    answer = await http.get(f"http://feeds.example:{web.port}/feed")
    assert answer.body == b"ok"
    assert web.asked[0].headers["host"] == f"feeds.example:{web.port}"


async def test_a_redirect_to_loopback_is_refused(web, names, monkeypatch):
    # The first hop stands for a public server: its number alone is taken as public.
    monkeypatch.setattr(
        "finsight.adapters.news.guarded_http.is_public", lambda n: str(n) == "127.0.0.1"
    )
    client = GuardedHttp(timeout_s=5)
    names["inside.example"] = ["127.0.0.2"]
    for target in (
        f"http://inside.example:{web.port}/secret",
        f"http://[::1]:{web.port}/secret",
        f"http://127.0.0.3:{web.port}/secret",
        f"//127.0.0.2:{web.port}/secret",
    ):
        web.replies["/go"] = Reply(302, headers={"location": target})
        with pytest.raises(SourceRefused, match="not a public address"):
            await client.get(web.url("/go"))
    await client.close()
    assert {asked.path for asked in web.asked} == {"/go"}


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://a.example/x", "gopher://x", ""])
async def test_a_redirect_to_anything_but_the_web_is_refused(http, web, target):
    web.replies["/go"] = Reply(301, headers={"location": target})
    with pytest.raises(SourceRefused):
        await http.get(web.url("/go"))


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "feed", "", "http://", "//x/y", "http://[::"]
)
async def test_only_web_addresses_are_fetched(http, url):
    with pytest.raises(SourceRefused):
        await http.get(url)


async def test_five_redirects_are_followed_and_a_sixth_is_not(http, web):
    for hop in range(6):
        web.replies[f"/{hop}"] = Reply(302, headers={"location": f"/{hop + 1}"})
    web.replies["/6"] = Reply(body=b"end")
    assert (await http.get(web.url("/1"))).body == b"end"
    with pytest.raises(SourceRefused, match="more than 5"):
        await http.get(web.url("/0"))


async def test_a_body_that_is_too_large_is_refused(web):
    client = GuardedHttp(allow_private=True, max_bytes=1000)
    web.replies["/fits"] = Reply(body=b"x" * 1000)
    web.replies["/large"] = Reply(body=b"x" * 1001)
    assert len((await client.get(web.url("/fits"))).body) == 1000
    with pytest.raises(SourceRefused, match="larger than"):
        await client.get(web.url("/large"))
    await client.close()


async def test_a_body_that_is_too_large_once_unpacked_is_refused(http, web):
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 100_000
    web.replies["/bomb"] = Reply(body=bomb, headers={"content-encoding": "gzip"})
    with pytest.raises(SourceRefused, match="larger than 5 MB"):
        await http.get(web.url("/bomb"))


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_packed_bodies_are_unpacked(http, web, pack):
    web.replies["/x"] = Reply(body=pack(b"text" * 1000), headers={"content-encoding": "gzip"})
    assert (await http.get(web.url("/x"))).body == b"text" * 1000


async def test_other_encodings_are_refused_and_damage_may_pass(http, web):
    web.replies["/br"] = Reply(body=b"?", headers={"content-encoding": "br"})
    web.replies["/bad"] = Reply(body=b"not gzip", headers={"content-encoding": "gzip"})
    with pytest.raises(SourceRefused, match="'br'"):
        await http.get(web.url("/br"))
    with pytest.raises(SourceUnavailable, match="damaged"):
        await http.get(web.url("/bad"))


async def test_a_server_that_trickles_is_given_up(web):
    client = GuardedHttp(allow_private=True, timeout_s=0.5)
    web.replies["/slow"] = Reply(pieces=[b"x"] * 20, pause_s=0.2)
    with pytest.raises(SourceUnavailable, match="longer than"):
        await client.get(web.url("/slow"))
    await client.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, SourceRefused), (403, SourceRefused), (404, SourceRefused), (410, SourceRefused),
     (418, SourceRefused), (432, SourceRefused), (206, SourceRefused), (204, SourceRefused),
     (408, SourceUnavailable), (500, SourceUnavailable), (502, SourceUnavailable),
     (503, SourceUnavailable), (504, SourceUnavailable), (429, SourceBusy)],
)  # fmt: skip
async def test_statuses_say_whether_to_try_again(http, web, status, error):
    web.replies["/x?key=secret"] = Reply(status)
    with pytest.raises(error) as raised:
        await http.get(web.url("/x?key=secret"))
    assert type(raised.value) is error
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("status", [429, 503])
async def test_the_pause_asked_for_is_passed_on(http, web, status):
    web.replies["/x"] = Reply(status, headers={"retry-after": "17"})
    with pytest.raises(SourceBusy) as raised:
        await http.get(web.url("/x"))
    assert raised.value.retry_after_s == 17


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("30", 30), ("Mon, 01 Jan 2024 12:01:00 GMT", 60), ("Mon, 01 Jan 2024 11:00:00 GMT", 0),
     ("soon", None), ("", None), ("-5", None)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(given, seconds):
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    assert retry_after_s({"retry-after": given}, noon) == seconds


async def test_an_address_nobody_answers_at_is_unavailable(http, web, names):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(SourceUnavailable, match="can't be reached"):
            await http.get(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    with pytest.raises(SourceUnavailable, match="no address"):
        await http.get("http://nowhere.invalid/")


async def test_a_connection_cut_in_the_middle_is_unavailable(http, web):
    web.replies["/cut"] = Reply(pieces=[b"half"], headers={"content-length": "100"})
    with pytest.raises(SourceUnavailable):
        await http.get(web.url("/cut"))
