"""The one address that stands for an article, however a feed wrote it."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from finsight.domain.errors import InvalidInput

MAX_ADDRESS_CHARACTERS = 4096

_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT_IN_PATH = _UNRESERVED | frozenset("!$&'()*,;=:@/")
_KEPT_IN_QUERY = _UNRESERVED | frozenset("!$'()*,;:@/?=")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_TRACKING_PREFIXES = ("utm_", "_hs", "oly_", "vero_", "guce_", "mtm_", "pk_", "at_")
_TRACKING = {
    "fbclid", "gclid", "gclsrc", "dclid", "gbraid", "wbraid", "msclkid", "yclid", "twclid",
    "ttclid", "igshid", "igsh", "li_fat_id", "mc_cid", "mc_eid", "mkt_tok", "ref", "ref_src",
    "ref_url", "referrer", "cmpid", "cmp", "ncid", "s_cid", "smid", "sref", "spm", "_ga", "_gl",
    "guccounter", "hsctatracking", "fb_action_ids", "fb_action_types", "fb_source", "action_ref",
    "trk", "trkcampaign", "sr_share", "soc_src", "soc_trk", "xtor", "wt_mc",
    "__twitter_impression",
}  # fmt: skip
_AMP_KEYS = frozenset({"amp", "_amp", "amp_js_v", "amp_gsa", "usqp"})
_AMP_VALUE_KEYS = frozenset({"output", "outputtype", "type", "view"})
_GOOGLE_AMP_PATH = re.compile(r"/amp/(?:s/)?(?P<address>[^/?]+\.[^/?]+(?:/.*)?)$")
_AMP_CACHE_PATH = re.compile(r"/(?:c|v|a)/(?:s/)?(?P<address>[^/?]+\.[^/?]+(?:/.*)?)$")


def canonical_url(address: str) -> str:
    """Return the address that every spelling of `address` shares.

    Removed: tracking parameters, the fragment, AMP variants (also Google's AMP
    caches), user names, default ports, `www.` and the trailing slash. Made one:
    http and https, upper and lower case of the host, percent-encoding, the order
    of the query, international names (as punycode). It identifies an article; to
    open the article, use the address the feed gave. Canonical addresses stay as
    they are.

    Raises:
        InvalidInput: not an absolute http or https address.
    """
    before, now = address, _canonical_step(address.strip())
    # Taking one wrapping off can show another: an AMP cache of a page that is AMP.
    while now != before:
        before, now = now, _canonical_step(now)
    return now


def _canonical_step(address: str) -> str:
    parts, port = _parse(address)
    host = _canonical_host(parts.hostname or "", address)
    wrapped = _inside_amp_cache(host, parts)
    if wrapped is not None:
        return wrapped
    path = _canonical_path(parts.path)
    query = _canonical_query(parts.query)
    scheme = parts.scheme.lower()
    if port in (None, _DEFAULT_PORTS[scheme]):
        return f"https://{host}{path}{query}"
    return f"{scheme}://{host}:{port}{path}{query}"


def _parse(address: str) -> tuple[SplitResult, int | None]:
    shown = address[:200]
    if len(address) > MAX_ADDRESS_CHARACTERS:
        raise InvalidInput(f"the address {shown}… is longer than {MAX_ADDRESS_CHARACTERS}")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as exc:
        raise InvalidInput(f"{shown!r} is not an address: {exc}") from exc
    if parts.scheme.lower() not in _DEFAULT_PORTS or not parts.hostname:
        raise InvalidInput(f"{shown!r} is not an http or https address")
    return parts, port


def _canonical_host(host: str, address: str) -> str:
    if ":" in host:
        name = f"[{host.lower()}]"
    else:
        try:
            name = host.encode("idna").decode("ascii").lower().rstrip(".")
        except UnicodeError as exc:
            raise InvalidInput(f"{address[:200]!r} has no host that can exist: {exc}") from exc
    if not _HOST.fullmatch(name):
        raise InvalidInput(f"{address[:200]!r} has no host that can exist")
    for prefix in ("www.", "amp."):
        if name.startswith(prefix) and "." in name.removeprefix(prefix):
            return name.removeprefix(prefix)
    return name


def _inside_amp_cache(host: str, parts: SplitResult) -> str | None:
    """The address that a Google AMP address wraps, or None when it is not one."""
    match = None
    if re.fullmatch(r"google\.[a-z.]+", host):
        match = _GOOGLE_AMP_PATH.match(parts.path)
    elif host.endswith(".cdn.ampproject.org"):
        match = _AMP_CACHE_PATH.match(parts.path)
    if match is None:
        return None
    query = f"?{parts.query}" if parts.query else ""
    return f"https://{match['address']}{query}"


def _canonical_path(path: str) -> str:
    segments: list[str] = []
    for segment in _one_encoding(path, _KEPT_IN_PATH).split("/"):
        if segment == "..":
            segments = segments[:-1]
        elif segment not in ("", "."):
            segments.append(segment)
    # An address that is nothing but /amp may be a page about amplifiers.
    if len(segments) > 1 and segments[-1].lower() == "amp":
        segments = segments[:-1]
    elif len(segments) > 1 and segments[0].lower() == "amp":
        segments = segments[1:]
    if segments:
        segments[-1] = re.sub(r"(?i)(?<=.)\.amp(?=(\.html?)?$)", "", segments[-1])
    return "/" + "/".join(segments)


def _canonical_query(query: str) -> str:
    kept = set()
    for pair in query.replace("+", "%20").split("&"):
        key, equals, value = _one_encoding(pair, _KEPT_IN_QUERY).partition("=")
        if (key or value) and not _says_nothing_of_the_article(key.lower(), value.lower()):
            kept.add((key, equals, value))
    return "?" + "&".join("".join(pair) for pair in sorted(kept)) if kept else ""


def _says_nothing_of_the_article(key: str, value: str) -> bool:
    return (
        key in _TRACKING
        or key.startswith(_TRACKING_PREFIXES)
        or key in _AMP_KEYS
        or (key in _AMP_VALUE_KEYS and value == "amp")
    )


def _one_encoding(text: str, kept: frozenset[str]) -> str:
    """Percent-encode exactly what must be, in upper case; what is encoded stays so."""
    pieces: list[str] = []
    position = 0
    while position < len(text):
        escape = _ESCAPE.match(text, position)
        if escape:
            byte = chr(int(escape[1], 16))
            pieces.append(byte if byte in _UNRESERVED else escape[0].upper())
            position = escape.end()
            continue
        character = text[position]
        if character in kept:
            pieces.append(character)
        else:
            encoded = character.encode("utf-8", "replace")
            pieces.extend(f"%{byte:02X}" for byte in encoded)
        position += 1
    return "".join(pieces)
