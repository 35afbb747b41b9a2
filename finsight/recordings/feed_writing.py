"""FinSight's own notes as RSS 2.0 and as Atom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from xml.etree import ElementTree

ATOM = "http://www.w3.org/2005/Atom"


@dataclass(frozen=True)
class Note:
    """One item of a feed. `slug` names its page."""

    slug: str
    published_at: datetime
    title: str
    summary: str

    @property
    def url(self) -> str:
        return f"https://finsight.example/notes/{self.slug}"


def write_rss(path: Path, notes: list[Note], about: str, updated_at: datetime) -> None:
    """Write RSS 2.0, newest first."""
    rss = ElementTree.Element("rss", version="2.0")
    channel = ElementTree.SubElement(rss, "channel")
    for tag, text in (
        ("title", "FinSight market notes"),
        ("link", "https://finsight.example/notes"),
        ("description", about),
        ("language", "en"),
        ("lastBuildDate", format_datetime(updated_at)),
    ):
        ElementTree.SubElement(channel, tag).text = text
    for note in _newest_first(notes):
        item = ElementTree.SubElement(channel, "item")
        ElementTree.SubElement(item, "title").text = note.title
        ElementTree.SubElement(item, "link").text = f"{note.url}?utm_source=rss"
        ElementTree.SubElement(item, "guid", isPermaLink="true").text = note.url
        ElementTree.SubElement(item, "pubDate").text = format_datetime(note.published_at)
        ElementTree.SubElement(item, "description").text = f"<p>{note.summary}</p>"
    _write(path, rss)


def write_atom(path: Path, notes: list[Note], about: str, updated_at: datetime) -> None:
    """Write Atom 1.0, newest first."""
    feed = ElementTree.Element("feed", xmlns=ATOM)
    ElementTree.SubElement(feed, "title").text = "FinSight desk notes"
    ElementTree.SubElement(feed, "subtitle").text = about
    ElementTree.SubElement(feed, "id").text = "https://finsight.example/notes/desk"
    ElementTree.SubElement(feed, "updated").text = updated_at.isoformat()
    for note in _newest_first(notes):
        entry = ElementTree.SubElement(feed, "entry")
        ElementTree.SubElement(entry, "title").text = note.title
        ElementTree.SubElement(entry, "id").text = note.url
        ElementTree.SubElement(entry, "link", href=note.url)
        ElementTree.SubElement(entry, "published").text = note.published_at.isoformat()
        ElementTree.SubElement(entry, "updated").text = note.published_at.isoformat()
        ElementTree.SubElement(entry, "summary").text = note.summary
    _write(path, feed)


def _newest_first(notes: list[Note]) -> list[Note]:
    return sorted(notes, key=lambda note: note.published_at, reverse=True)


def _write(path: Path, root: ElementTree.Element) -> None:
    ElementTree.indent(root)
    path.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")
