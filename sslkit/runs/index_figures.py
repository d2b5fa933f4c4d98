"""What an evaluation of an index says: figures with their intervals, as text, JSON and a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.neighbours.trials import interval
from sslkit.page import Cell, Page

NAMES = {"map_at_r": "mAP@R", "r_precision": "R-precision", "mrr": "MRR"}


@dataclass(frozen=True)
class Share:
    """A mean over queries, in 0..1, with its 95 % interval (that of `neighbours.trials`)."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.float64], k: int) -> Share:
        """values: (Q,); k: of how many answers each one is a share, at most."""
        return cls(*interval(values, k))


@dataclass(frozen=True)
class Times:
    """Milliseconds a query for k neighbours: one alone (median), and in a batch of all of them."""

    k: int
    one: float
    batch: float


@dataclass(frozen=True)
class Labelled:
    """How well neighbours are of the query's class.

    queries: with a label and at least one item of their class to find; alone: labelled ones without. depth:
    neighbours looked at. exact, found: figures on the true neighbours and on those that the index finds.
    per_class: of each class its `queries` and means of the exact figures; per_class_found: of the found ones.
    """

    queries: int
    alone: int
    depth: int
    exact: Mapping[str, Share]
    found: Mapping[str, Share]
    per_class: Mapping[str, Mapping[str, float]]
    per_class_found: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class IndexEvaluation:
    """What was measured of one generation of an index.

    structures: what finds neighbours, one name a segment. queries: how many were asked, of `asked` there
    were; gallery: among how many items. where: which items took part, in words. split: SQL of the queries, ""
    where each one is left out of its own results. recall: of the true k nearest, the share found, by k.
    labelled: None without labels.
    """

    index: str
    generation: int
    model_hash: str
    structures: Sequence[str]
    where: str
    split: str
    queries: int
    asked: int
    gallery: int
    recall: Mapping[int, Share]
    searched: Times
    exact: Times
    labelled: Labelled | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Facts, then aligned tables."""
        lines = [f"{name:<13}{value}" for name, value in self.facts().items()]
        for header, rows in self._tables():
            lines += ["", *_aligned([header, *rows])]
        return "\n".join([*lines, *(["", self._classes_said()] if self.labelled else [])])

    def facts(self) -> dict[str, str]:
        """What was measured, in words."""
        drawn = "" if self.queries == self.asked else f" of {self.asked:,}, drawn by key"
        among = "each among the others" if not self.split else f"those with {self.split}, among the rest"
        facts = {
            "index": f"{self.index}, generation {self.generation}, model {self.model_hash}",
            "searched by": ", ".join(self.structures)
            + ("; every vector is compared" if set(self.structures) == {"Flat"} else ""),
            "queries": f"{self.queries:,}{drawn}; {among}: {self.gallery:,} items",
        }
        return facts | ({"only": self.where} if self.where else {})

    def write_page(self, path: Path) -> None:
        """Write the figures as a web page in one file."""
        facts = (f"{name}: {value}" for name, value in self.facts().items())
        page = Page(f"How well {Path(self.index).name} finds", "\n".join(facts))
        recall, times, *labelled = self._tables()
        page.heading("Against exact search").table(*_cells(recall)).table(*_cells(times))
        for table in labelled:
            page.heading("By class of the neighbours").table(*_cells(table)).text(self._classes_said())
        if self.labelled is not None:
            for title, figures in (
                ("Every class, on exact neighbours", self.labelled.per_class),
                ("Every class, as the index finds", self.labelled.per_class_found),
            ):
                with page.fold(title) as fold:
                    fold.table(*_class_table(figures))
        page.write(path)

    def _tables(self) -> Iterator[tuple[list[str], list[list[str]]]]:
        yield (
            ["found of the true k nearest", "share", "95 % interval"],
            [[f"recall@{k}", *_parted(share)] for k, share in self.recall.items()],
        )
        yield (
            [f"milliseconds for {self.exact.k} neighbours", "one query", "each of a batch"],
            [
                [name, f"{times.one:.3f}", f"{times.batch:.3f}"]
                for name, times in (("as it is searched", self.searched), ("exact", self.exact))
            ],
        )
        if self.labelled is not None:
            exact, found = self.labelled.exact, self.labelled.found
            yield (
                ["of the query's class", "exact neighbours", "95 % interval", "as found", "95 % interval"],
                [[_titled(name), *_parted(exact[name]), *_parted(found[name])] for name in exact],
            )

    def _classes_said(self) -> str:
        assert self.labelled is not None
        alone = self.labelled.alone
        return (
            f"{self.labelled.queries:,} queries of {len(self.labelled.per_class):,} classes"
            + (f"; {alone:,} left out that have no other of their class to find" if alone else "")
            + f"; the first {self.labelled.depth:,} neighbours count, later ones do not."
        )


def _titled(name: str) -> str:
    return NAMES.get(name, name.replace("recall", "Recall"))


def _parted(share: Share) -> list[str]:
    return [f"{share.mean:.4f}", f"{share.low:.4f} to {share.high:.4f}"]


def _cells(table: tuple[list[str], list[list[str]]]) -> tuple[list[str], list[list[Cell]]]:
    return table[0], [list(row) for row in table[1]]


def _class_table(per_class: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[list[Cell]]]:
    figures = list(next(iter(per_class.values())))
    rows: list[list[Cell]] = [[name, *(own[figure] for figure in figures)] for name, own in per_class.items()]
    return ["class", *map(_titled, figures)], rows


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
