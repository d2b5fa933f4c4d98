"""What a search found for one query, as people and programs read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sslkit.retrieval import gallery
from sslkit.retrieval.artifact import Hit
from sslkit.retrieval.items import IndexedItem
from sslkit.runs.queries import Box, Query


@dataclass(frozen=True)
class SearchResult:
    """The neighbours of one query, most similar first.

    query: its file, or the name of the item or vector; id: of the item that was searched by; box, start and
    stop (seconds): the part of the file; note: the same in words.
    """

    query: str
    hits: Sequence[Hit]
    classes: Sequence[str] = ()
    id: int | None = None
    box: Box | None = None
    start: float | None = None
    stop: float | None = None
    note: str = ""

    @classmethod
    def of(cls, query: Query, classes: Sequence[str]) -> SearchResult:
        """Of a query that has no neighbours yet."""
        start, stop = query.times or (None, None)
        return cls(query.name, (), classes, None, query.box, start, stop, query.note)

    @classmethod
    def of_item(cls, item: IndexedItem, classes: Sequence[str]) -> SearchResult:
        """Of an item that is searched by, which has no neighbours yet."""
        note = ", ".join(filter(None, (f"id {item.id}", gallery.item_time(item))))
        return cls(gallery.item_name(item), (), classes, item.id, None, item.start, item.stop, note)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the label of a hit is its class number, beside the name of the class."""
        hits = [{**asdict(hit), "class_name": self._class_of(hit)} for hit in self.hits]
        box = None if self.box is None else list(self.box)
        part = {"id": self.id, "box": box, "start": self.start, "stop": self.stop}
        return {"query": self.query, **part, "hits": hits}

    def to_text(self) -> str:
        """One line a neighbour: similarity, class, name, and its time in a video."""
        lines = [f"{self.query}  {self.note}".rstrip()]
        for hit in self.hits:
            name = self._class_of(hit)
            parts = (
                f"{hit.similarity:6.3f}",
                name and f"[{name}]",
                gallery.item_name(hit),
                gallery.item_time(hit),
            )
            lines.append("  " + "  ".join(filter(None, parts)))
        if not self.hits:
            lines.append("  nothing found")
        return "\n".join(map(_line, lines))

    def _class_of(self, hit: Hit) -> str | None:
        return None if hit.label is None else gallery.class_name(hit.label, self.classes)


def _line(text: str) -> str:
    """One line whatever is in a file's name."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
