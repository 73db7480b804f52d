"""Sitemaps: the pages, or the other sitemaps, that a sitemap.xml names (https://www.sitemaps.org/protocol.html)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from jobline import NonRetryable

MOST_SITEMAPS: Final = 50
"""Of an index that are read; an index in an index is not."""
_LONGEST_URL: Final = 2048


@dataclass(slots=True)
class Sitemap:
    """What a sitemap names."""

    pages: list[str] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)


def read_sitemap(data: bytes) -> Sitemap:
    """What a sitemap names; raises NonRetryable for what is none.

    A document type is refused: with it come entities, which can name files and grow without end, and no sitemap has one.
    """
    # Imported here: no other job of this worker needs it.
    from xml.parsers import expat

    found, path = Sitemap(), list[str]()
    text: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name.rpartition(" ")[2])
        text.clear()

    def end(name: str) -> None:
        url = "".join(text).strip()
        if path[-2:] == ["url", "loc"] and 0 < len(url) <= _LONGEST_URL:
            found.pages.append(url)
        elif path[-2:] == ["sitemap", "loc"] and 0 < len(url) <= _LONGEST_URL:
            found.sitemaps.append(url)
        path.pop()
        text.clear()

    def refuse(*_: Any) -> None:
        raise NonRetryable("sitemap: it has a document type, which no sitemap has")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise NonRetryable(f"sitemap: it is no XML: {error}") from error
    if not found.pages and not found.sitemaps:
        raise NonRetryable("sitemap: it names no page")
    return found
