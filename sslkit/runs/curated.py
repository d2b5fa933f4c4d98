"""What was found in an index: as text, as a table, as a gallery, and as a list of what to keep."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sslkit.errors import ConfigError
from sslkit.page import Page, Tile
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.curation.neighbours import Progress
from sslkit.retrieval.folder import write_description, written_aside
from sslkit.retrieval.items import IndexedItem
from sslkit.runs.list_file import check_place, write_list
from sslkit.runs.origins import Origins
from sslkit.training.progress import ProgressLine

FILES = ("findings.json", "items.csv", "gallery.html")

_LINES = 20  # findings printed
_ITEMS = 4096  # read from the database at a time

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Shown:
    """An item in a gallery. title: the bold line; note: the soft ones; level: 0..1; first: framed."""

    item: IndexedItem
    title: str
    note: str = ""
    level: float | None = None
    first: bool = False


@dataclass(frozen=True)
class Panel:
    """Items beside each other under a heading."""

    heading: str
    tiles: Sequence[Shown]


@dataclass(frozen=True)
class Curated:
    """The answer to a question about an index.

    facts: headline figures; rows: findings, one flat mapping each, of the same keys; lines: the same to read;
    about: how it was found and what it means; panels: of the gallery; keep: ids of what to keep, int64, in
    the order of listing; table: what items.csv holds, where not `rows`; figure: of the gallery; classes:
    names of what `label_of` says of kept items, instead of the index's; notes: what makes it doubtful.
    """

    question: str
    about: str
    facts: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    lines: Sequence[str]
    panels: Sequence[Panel]
    keep: NDArray[np.int64]
    table: Callable[[], Rows] | None = None
    figure: Figure | None = None
    classes: Sequence[str] | None = None
    label_of: Mapping[int, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    written: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "question": self.question,
            **self.facts,
            "notes": list(self.notes),
            "written": list(self.written),
            "findings": list(self.rows),
        }

    def to_text(self) -> str:
        """Figures, the first findings, and what was written."""
        width = max(len(name) for name in self.facts)
        parts = ["\n".join(f"{name:<{width}}  {_worded(value)}" for name, value in self.facts.items())]
        lines = list(self.lines[:_LINES])
        if len(self.lines) > _LINES:
            lines.append(f"... and {len(self.lines) - _LINES} more: --out DIR writes all of them")
        last = [f"note: {note}" for note in self.notes] + [f"wrote {place}" for place in self.written]
        return "\n\n".join([*parts, *("\n".join(group) for group in (lines, last) if group)])


@dataclass(frozen=True)
class Wanted:
    """Where an answer goes. out: a folder for table and gallery; apply: a list file of what to keep."""

    out: str | Path | None = None
    apply: str | Path | None = None
    overwrite: bool = False
    progress: bool = True

    def check(self) -> None:
        """Raise ConfigError for a place that is taken, before any work."""
        if self.apply is not None:
            check_place(Path(self.apply), overwrite=self.overwrite)
        if self.out is not None and Path(self.out).exists() and not self.overwrite:
            raise ConfigError(
                f"{self.out} exists and would be lost; choose another folder or ask to overwrite it"
            )


def finish(found: Curated, index: Index, wanted: Wanted) -> Curated:
    """Write what is wanted of an answer, and tell where.

    Raises ConfigError for a place that cannot be written to, DataError for items that a list cannot hold.
    """
    written = list[str]()
    if wanted.out is not None:
        with written_aside(Path(wanted.out), FILES, overwrite=wanted.overwrite) as folder:
            plain = {"index": str(index.path.resolve()), **replace(found, lines=()).to_dict()}
            write_description(folder / "findings.json", in_json(plain))
            _write_table(folder / "items.csv", found.rows if found.table is None else found.table())
            _page(found, index).write(folder / "gallery.html")
        written.append(str(wanted.out))
    if wanted.apply is not None:
        items = items_of(index, found.keep)
        if found.label_of:
            items = (replace(item, label=found.label_of[item.id]) for item in items)
        classes = found.classes if found.classes is not None else index.classes or None
        count = write_list(Path(wanted.apply), items, classes, overwrite=wanted.overwrite)
        written.append(f"{wanted.apply}, a list of {count} images")
    return replace(found, written=tuple(written))


def items_of(index: Index, ids: NDArray[np.int64]) -> Iterator[IndexedItem]:
    """The items of many ids, in their order, a part of them in memory."""
    for start in range(0, len(ids), _ITEMS):
        yield from index.items(ids[start : start + _ITEMS].tolist())


def known(item: IndexedItem, classes: Sequence[str]) -> dict[str, Any]:
    """What a table says of every item."""
    return {"id": item.id, "path": item.name, "label": label_name(item.label, classes), "source": item.source}


def label_name(label: int | None, classes: Sequence[str]) -> str:
    """The name of a class; its number where it has none, nothing for no class."""
    if label is None:
        return ""
    return classes[label] if label < len(classes) else str(label)


@contextmanager
def told(label: str, shown: bool) -> Iterator[Progress]:
    """A line of progress that appears with the first item that is done."""
    with ExitStack() as stack:
        line: list[ProgressLine] = []

        def tell(done: int, total: int) -> None:
            if not line:
                line.append(stack.enter_context(ProgressLine(total=total, shown=shown, label=label)))
            line[0].update(done, {})

        yield tell


def in_json(value: Any) -> Any:
    """Plain values, with None for numbers that JSON lacks."""
    if isinstance(value, Mapping):
        return {str(key): in_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [in_json(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _worded(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_worded(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _write_table(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer: csv.DictWriter[str] | None = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
            writer.writerow(row)


def _page(found: Curated, index: Index) -> Page:
    origins = Origins.of(index)
    page = Page(found.question.capitalize(), f"{index.path.name}, model {index.model_hash}")
    page.facts({name: value for name, value in found.facts.items() if isinstance(value, str | int | float)})
    page.text(found.about)
    for note in found.notes:
        page.warning(note)
    if found.figure is not None:
        page.figure(found.figure)
    for panel in found.panels:
        page.heading(panel.heading).images(
            Tile(origins.picture(tile.item), tile.title, tile.note, tile.level, tile.first)
            for tile in panel.tiles
        )
    return page
