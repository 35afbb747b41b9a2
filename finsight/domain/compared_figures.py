"""Says in words which of two compared figures is the higher one.

An encoder reads figures in pieces and can't tell which is the higher. So a word is put before each
figure that the text compares with another: "profit was EUR 8.3 mn , compared to EUR 8.4 mn" becomes
"profit was lower EUR 8.3 mn , compared to EUR 8.4 mn". Whether higher is good (profit) or bad
(costs) is left to it. A loss lies below nothing: a smaller one is "higher". Every gap is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

COMPARES_FIGURES = "finsight_compares_figures"
"""What a model's files say, where it was trained on texts that went through here."""

_CODES = "EUR|USD|GBP|GBX|SEK|NOK|DKK|CHF|JPY|CNY|INR|RUB|CAD|AUD|HKD|PLN|EEK|LVL|LTL|BTC|ETH"
_PREFIX = (  # x20ac and "& euro ;" are what is left of a euro sign in some texts
    rf"(?:(?i:\b(?:{_CODES}|euros?|x20ac|rs)\s{{0,2}})|&\s?euro\s?;\s?"
    r"|\(\s{0,2}(?i:x20ac|euro)\s?\)\s?|(?:\b(?:US|AU|NZ|HK|A|C|S|R))?[$€£¥₹]\s{0,2})"
)
_FIGURE = re.compile(
    rf"(?<![\w.,/:$€£])(?P<prefix>{_PREFIX})?(?P<sign>[-+−])?(?P<number>"
    r"\d{1,3}(?:\s?,\d{3}){1,4}(?!\d)(?:\s?\.\d{1,6})?|\d{1,3}(?:\.\d{3}){2,4}(?!\d)"
    r"|\d{1,3}(?: \d{3}){1,4}(?![\d.,]\d|\d)|\d{1,15}(?:\s?[.,]\d{1,8})?)"
    r"(?:\s?-?(?P<scale>(?i:thousand|trillion|billion|million|mill|mln|mio|bln|trn|mn|bn|tn)\b)"
    r"|(?(prefix)\s?)(?P<letter>[kKmMbBtT])\b)?(?:(?(prefix)(?!)|[\s-]{0,2}(?P<unit>(?i:"
    rf"percentage points?|pct points?|basis points?|bps|pp|per ?cent|pct|%|{_CODES}|euros?|yen|"
    r"dollars?|pounds?|crowns?|kron(?:or|a)|rupees|rou?bles|cents?|pence|[cp](?=\W|$)|€|£))"
    r"(?!\w|\s?\d)))?"
)
_SCALES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_NAMES = {"€": "EUR", "x20ac": "EUR", "euro": "EUR", "$": "USD", "us$": "USD", "doll": "USD"}
_NAMES |= {"£": "GBP", "poun": "GBP", "¥": "JPY", "yen": "JPY", "pct": "%", "perc": "%"}
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
_TIME_AFTER = re.compile(
    rf"(?i)\s?[-–/]?\s?(?:{_MONTH}\b|(?<=M\s)20\d\d|(?:month|year|day|week|hour|minute|quarter)s?"
    r"|[ap]\.?m\b|[hq][1-4]\b|(?:st|nd|rd|th)\b)|[:/]\d|-[a-z]|\.\d"
)
_TIME_BEFORE = re.compile(rf"(?i)(?:\b(?:{_MONTH}\.?|no\.)\s?|(?:[a-z]|\b(?:19|20)\d\d)[-/–])$")
_NOT_A_NOUN = {
    "in", "for", "a", "an", "the", "from", "to", "compared", "as", "versus", "vs", "against",
    "year", "last", "on", "at", "up", "down", "and", "or", "of", "while", "by", "per", "with",
    "profit", "loss", "net", "operating", "during", "this", "after", "was", "is", "but",
    "before", "ago", "than",
}  # fmt: skip
_CHANGES = (
    r"\b(?:ris|rose|rais|grow|grew|increas|climb|jump|surg|soar|gain|improv|expan|widen|doubl|tripl"
    r"|up\b|lift|boost|higher|fall|fell|drop|declin|decreas|cut|lower|reduc|slid|slip|plung|plumm"
    r"|sank|sink|tumbl|shr[aiu]nk|narrow|contract|weaken|down\b|halv|revis|chang|mov|sw[iu]ng|turn"
    r"|trim|slash|hik|crash|rall|rebound|return|strengthen|dip|eas|went|upgrad|los(?:t|es|ing)\b)"
)
_CHANGE = re.compile(rf"(?i){_CHANGES}")
_STEP = re.compile(rf"(?i)(?:\bby|\bfrom|{_CHANGES}[a-z]*)\s*$")
_BASE = re.compile(
    r"(?i)\b(?:from|compared\s(?:to|with)|versus|vs\b\.?|against|as opposed to|relative to"
    r"|in comparison (?:to|with)|after(?=\san?\s(?:[\w-]+\s){0,2}(?:loss|profit)\sof\b)"
    r"|(?:increase|rise|growth|improvement|gain|decrease|decline|drop)\s(?:over|on)|than"
    r"(?=\s(?:the|last|its|a year|analyst|year|expected|forecast|consensus|market|estimate)))(?!\w)"
)
_BLOCKED = re.compile(  # what may not stand between "compared with" and the base
    r"[;:]|,(?! when\b)|(?<!when )(?<!when it )(?<!when they )\b(?:was|were|total\w*|amount\w*)\b"
    r"|[.!?]\s+[A-Z]|\b(?:to|and|while|but|by|through|is|came|stood|rose|fell)\b"
    r"|\b(?:year|period|quarter|half|\d{4})\s*$"
)
_HOPED = re.compile(  # a forecast is a base, and so is "(previously 3 %)"
    r"(?i)\b(?:consensus(?: \w+){0,2}(?: of| for)?|(?:beat\w*|exceed\w*|surpass\w*|above|below"
    r"|ahead of|miss\w*|topp\w*|in line with|short of|than)(?: [\w'-]+){0,4} (?:estimates?"
    r"|expectations?|forecasts?|guidance)(?: of| for)?|(?:analysts?|economists?|market)(?: had)?"
    r" (?:expected|forecast)):?(?: up| down| an?| the)?\s*$|[(,;/]\s?(?:previous(?:ly)?|prior|year"
    r"[- ](?:ago|earlier)|est\.?|estimate|expected|forecast):?\s*$|\bwh(?:ile|ereas|en) a year"
    r" (?:before|earlier|ago) ?,?(?: [\w'-]+){0,5} $|(?:period|year|20\d\d) ?\( ?$|\( ?20\d\d ?: ?$"
)
_BRACKET_END = re.compile(r"\s?(?:(?:[,;]|in|for)?\s?(?:a year \w+|[\dQH/ –-]{2,12}))?\s?\)")
_TO = re.compile(r"(?i)(?<!due)(?:^|\s)to(?:\s[\w'-]{1,20}){0,5}\s*$")
_BREAK = re.compile(r"[.!?]\s+[A-Z]|[;\n]|\b(?:while|whereas|but|although|and)\b")
_SENTENCE_END = re.compile(r"[.!?]\s+[A-Z]|\n|\b(?:while|whereas)\b(?! a year)")
_SIDE = re.compile(  # "on sales of 50" and "including a gain of 2" say something else beside
    r"(?i)(?:\bon (?:net |total )?(?:sales|revenues?|turnover|volumes?)(?: of)?|\b(?:includ(?:ing"
    r"|es?)|excluding|of which|representing|corresponding to|or|with an?|by|margin of)(?: (?!(?:to"
    r"|was|were|is|are|at|total\w*|amount\w*|came|stood|rose|fell)\b)[\w'-]+){0,4})\s*$"
)
_CONVERTED = re.compile(r"[\s(/-]{0,4}(?:or |about |approx\. |some )?")
_RESULT = re.compile(
    r"(?i)(?P<below>(?<!impairment )(?<!credit )(?<!loan )(?<!job )\bloss(?:es)?\b(?![-/]| ratio))"
    r"|\b(?:profits?|earnings|eps|income|ebit\w*|sales|revenues?|turnover|surplus|gain|cash)\b"
)
_RESULT_AFTER = re.compile(r"(?i)\s?(?:net |operating )?(?:(?P<below>loss)|profit|gain)\b")
_FALL = re.compile(
    r"(?i)\b(?:down|fell|declined|loss of)(?: by)?\s*\||\|\s?(?:drop|decline|fall|decrease)\b"
)
_MARKED = re.compile(rf"\b(?:higher|lower|unchanged) (?=(?:{_PREFIX})?[-+−]?\d)")


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure as written: "EUR 8.3 mn" is 8.3, scale 1e6, kind "EUR". A plain one's kind is ""."""

    start: int
    end: int
    number: float
    scale: float
    kind: str
    noun: str
    lead: str
    tail: str
    below: bool | None


def with_comparisons(text: str) -> str:
    """`text` with "higher ", "lower " or "unchanged " before each figure it compares with another.

    "EPS rose to $1.2 from $1" becomes "EPS rose to higher $1.2 from $1". Marked text stays.
    """
    if not re.search(r"\d\D+\d", text) or _MARKED.search(text):
        return text
    figures = _without_conversions(_with_ranges(list(_figures(text)), text), text)
    marks: dict[int, str] = {}
    bases: set[int] = set()
    for index, base in enumerate(figures):
        new = _compared(index, figures, bases, text)
        if new:
            marks.setdefault(new.start, _word(new, base))
    cuts = sorted({0, *marks, len(text)})
    return "".join([marks.get(start, "") + text[start:end] for start, end in pairwise(cuts)])


def _figures(text: str) -> Iterator[_Figure]:
    """The figures that could be compared: no years, dates, times or parts of words."""
    before = 0
    carried: bool | None = None
    for match in _FIGURE.finditer(text):
        start, end = match.span()
        lead, tail = text[max(before, start - 160) : start], text[end : end + 40]
        kind, worth = _kind(match["prefix"] or match["unit"] or "")
        dated = re.fullmatch(r"(?:19|20)\d\d", match["number"]) or _TIME_BEFORE.search(lead)
        plain = not kind and not match["scale"]
        if tail[:1].isalnum() or (plain and (dated or _TIME_AFTER.match(text, end))):
            continue
        scale = (match["scale"] or match["letter"] or "").lower()
        worth *= _SCALES.get(scale, _SCALES.get(scale[:1], 1.0))
        number, below = _number(match["number"]), _below(lead, tail)
        if kind == "%":
            carried, below = below, bool(_FALL.search(f"{lead[-30:]}|{tail}"))
        else:
            carried, below = None, carried if below is None else below
        if match["sign"] or re.search(r"\b(?:negative|minus)\s*$", lead[-20:]):
            number, below = number * (1 if match["sign"] == "+" else -1), False
        word = re.match(r"\s?([a-z]{2,24})\b", tail)
        noun = word[1].rstrip("s") if word and word[1] not in _NOT_A_NOUN else ""
        yield _Figure(start, end, number, worth, kind, noun, lead, tail, below)
        before = end


def _number(written: str) -> float:
    """8.3 for "8.3", "8,3" and "8 .3"; 8300 for "8,300", "8 300" and "8 ,300"."""
    digits = re.sub(r"\s|\.(?=\d{3}\.)|(?<=\.\d{3})\.", "", written)
    if re.fullmatch(r"\d+,\d+", digits) and not re.fullmatch(r"[1-9]\d*,\d{3}", digits):
        digits = digits.replace(",", ".")
    return float(digits.replace(",", ""))


def _kind(unit: str) -> tuple[str, float]:
    """The kind of a figure and what one of its units is worth: ("GBP", 0.01) for pence."""
    name = re.sub(r"[\s&;().]", "", unit).lower()
    if re.match(r"percentagep|pctp|bas|bps|pp$", name):
        return "points", 0.01 if name.startswith("b") else 1.0
    if name in {"p", "pence", "gbx", "c", "cent", "cents"}:
        return "cents" if name[0] == "c" else "GBP", 0.01
    return _NAMES.get(name, _NAMES.get(name[:4], name.upper())), 1.0


def _below(lead: str, tail: str) -> bool | None:
    """Whether the words around a figure call it a loss, a profit, or (None) neither."""
    found = [*_RESULT.finditer(lead), _RESULT_AFTER.match(tail)]
    words = [match["below"] for match in found if match]
    return words[-1] is not None if words else None


def _with_ranges(figures: list[_Figure], text: str) -> list[_Figure]:
    """The figures with each range ("3-5 %", "$3 to $5") as one figure, its middle."""
    merged = figures[:1]
    for high in figures[1:]:
        low = merged[-1]
        gap = text[low.end : high.start][:9].strip()
        dashed = gap in {"-", "–", "-up"} or (not gap and text[high.start] in "-–")
        between = gap == "and" and low.lead.endswith("between ")
        same = low.kind in {"", high.kind} and not low.noun
        one = low.number * (high.scale if low.scale == 1.0 else low.scale) / high.scale
        two = abs(high.number) if dashed else high.number
        if (
            same
            and one < two
            and (dashed or between or (gap == "to" and not _STEP.search(low.lead)))
        ):
            middle = (one + two) / 2
            high = replace(high, start=low.start, number=middle, lead=low.lead, below=low.below)
            merged.pop()
        merged.append(high)
    return merged


def _without_conversions(figures: list[_Figure], text: str) -> list[_Figure]:
    """The figures without those that repeat the one before in another currency."""
    kept = figures[:1]
    for before, figure in pairwise(figures):
        kinds = {before.kind, figure.kind}
        money = len(kinds) == 2 and not kinds & {"", "%", "points", "cents"}
        if not (money and _CONVERTED.fullmatch(text[before.end : figure.start][:20])):
            kept.append(figure)
    return kept


def _compared(index: int, figures: list[_Figure], bases: set[int], text: str) -> _Figure | None:
    """The figure that is compared with figures[index], if that one is the base of a comparison."""
    base = figures[index]
    link = _link(base, text)
    if not link:
        return None
    bases.add(index)
    stop = _BREAK if link == "from" else _SENTENCE_END
    for new in figures[index + 1 : index + 3] if link in {"from", "first"} else []:
        gap = text[base.end : new.start][:161]
        if len(gap) > 160 or stop.search(gap):
            break
        if _alike(new, base) and (_TO.search(new.lead) if link == "from" else "," in gap):
            return new
    beside: _Figure | None = None
    for place in range(index - 1, max(-1, index - 7), -1):
        new = figures[place]
        if base.start - new.end > 260 or stop.search(text[new.end : base.start]):
            break
        bracketed = link == "bracket" and (base.kind or base.scale > 1)
        if _alike(new, base) and not (bracketed and new.kind != base.kind):
            if place in bases or not _SIDE.search(new.lead[-60:]):
                return None if place in bases else new
            beside = beside or new
    return beside if link == "with" else None


def _link(base: _Figure, text: str) -> str:
    """How the text makes this figure the base of a comparison: "from", "with", ... or ""."""
    lead = base.lead
    if re.fullmatch(r" ?\( ?", lead) and _BRACKET_END.match(base.tail):
        clear = base.kind or base.scale > 1 or base.number % 1 or base.number < 0
        return "bracket" if clear else ""
    hoped = re.match(r" consensus\b(?!\W{0,3}(?:of |at |was )?[A-Z]{0,3} ?[$€£\d])", base.tail)
    if hoped or _HOPED.search(lead):
        return "with"
    found = list(_BASE.finditer(lead))
    if not found or _BLOCKED.search(lead, found[-1].end()):
        return ""
    word, before = found[-1][0].lower(), lead[: found[-1].start()].strip()
    if word == "from":
        dated = base.kind and re.search(r"\b(?:year|quarter|period|20\d\d)\b", base.tail)
        moves = dated or _CHANGE.search(text, max(0, base.start - 120), base.start)
        return "with" if before.endswith((", up", ", down")) else "from" if moves else ""
    opening = (not before and base.start == len(lead)) or before.endswith(".")
    return "first" if "compared" in word and opening else "with"


def _alike(new: _Figure, base: _Figure) -> bool:
    """Whether two figures are of one kind, or one leaves out what the other says."""
    kinds = {new.kind, base.kind}
    if "" not in kinds:
        return len(kinds) == 1 or ("cents" in kinds and not kinds & {"%", "points"})
    if len(kinds) == 1:
        return not (new.noun and base.noun) or new.noun == base.noun
    bare = base if new.kind else new
    return not bare.noun and (bare.scale == 1.0 or not kinds & {"%", "points"})


def _word(new: _Figure, base: _Figure) -> str:
    """The word and a space; one scale counts for both in "8.3 mn compared to 8.4", if it can."""
    sizes = []
    for figure, scale in ((new, base.scale), (base, new.scale)):
        shared = figure.scale == 1.0 and scale > 1.0 and abs(figure.number) < 10_000
        sizes.append(figure.number * (scale if shared else figure.scale))
    one, two = sizes
    guessed = sizes != [new.number * new.scale, base.number * base.scale]
    if guessed and not abs(two) <= abs(one) * 100 <= abs(two) * 10_000:
        return ""
    one = -abs(one) if new.below else one
    loss = new.below and new.kind != "%" if base.below is None else base.below
    two = -abs(two) if loss else two
    if abs(one - two) <= 1e-9 * abs(one):
        said = re.search(r"\b(up|down) from\b", base.lead)
        return "unchanged " if not said else "higher " if said[1] == "up" else "lower "
    return "higher " if one > two else "lower "
