"""What confuses a model: the pairs it puts too near over a whole data set, as a page, files and tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.atomic import replace_text
from sslkit.contracts import Features, Source
from sslkit.data.pictures import picture
from sslkit.errors import ConfigError, DecodeError
from sslkit.mining.confusions import Confusions, Kind, Pair, find_confusions
from sslkit.page import Page, Tile
from sslkit.registry import open_source
from sslkit.runs.bootstrap import Bootstrap, bootstrap_class
from sslkit.runs.embedder import Embedder, open_embedder
from sslkit.runs.origins import PICTURE_SIDE
from sslkit.runs.reading import open_data
from sslkit.runs.run_folder import RunFolder
from sslkit.training.progress import ProgressLine

NEAR_DUPLICATE = 0.98
"""Cosine from which two samples without labels are listed as near-duplicates instead of as confused."""

_SHOWN = 10  # pairs of each kind that are printed
_PICTURES = 12  # negatives of each round that the page shows
_TITLES: dict[Kind, tuple[str, str]] = {
    "confused": (
        "Near, and should not be",
        "The most similar pairs that should be negatives of each other: each sample with its nearest one of "
        "another class, or, where classes are unknown, with its nearest other one that is no near-duplicate.",
    ),
    "near-duplicate": (
        "Near-duplicates",
        "Pairs at or above the cap: most likely the same picture twice, which should not be repelled. Give "
        "them one group, or set mining.similarity_cap.",
    ),
    "far": (
        "Of one class, and far",
        "Samples that are nearer to another class than to their own: each with its nearest one of the same "
        "class, the worst first. Mislabelled samples gather here.",
    ),
}


@dataclass(frozen=True)
class ConfusedPairs:
    """What was found in a data set, with names; rows are positions in `features`."""

    model: str
    data: str
    source: Source
    features: Features
    labelled: bool
    cap: float
    found: Confusions

    @property
    def notes(self) -> list[str]:
        """What a reader should know before trusting the pairs."""
        count, notes = len(self.features), []
        if self.features.skipped:
            notes.append(f"{len(self.features.skipped):,} images could not be decoded and are left out.")
        if self.found.blank:
            notes.append(f"{self.found.blank:,} of {count:,} embeddings are all zero and are left out.")
        if self.found.alone:
            notes.append(f"{self.found.alone:,} samples met only their own group among their neighbours.")
        if self.found.crowded > 0.5:
            notes.append(
                f"{self.found.crowded:.0%} of the samples have a neighbour at {self.cap} or above: either "
                "the data is full of near-duplicates or the model hardly tells its samples apart."
            )
        return notes

    def rows(self) -> list[dict[str, Any]]:
        """One plain row for each pair."""
        return [
            {
                "kind": pair.kind,
                "similarity": round(pair.similarity, 6),
                "rank": pair.rank,
                "anchor_id": self._id(pair.anchor),
                "anchor": self._name(pair.anchor),
                "anchor_class": self._class(pair.anchor),
                "neighbour_id": self._id(pair.neighbour),
                "neighbour": self._name(pair.neighbour),
                "neighbour_class": self._class(pair.neighbour),
            }
            for pair in self.found.pairs
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.model,
            "data": self.data,
            "samples": len(self.features),
            "index": self.found.index,
            "near_duplicate": None if self.labelled else self.cap,
            "notes": self.notes,
            "false_negatives": [band._asdict() for band in self.found.bands],
            "chance": self.found.chance,
            "confused_classes": [
                dict(zip(("class", "neighbour", "share"), row, strict=True)) for row in self._class_rows()
            ],
            "pairs": self.rows(),
        }

    def to_text(self) -> str:
        """Tables for people, with the first pairs of each kind."""
        lines = [f"{self._subject}; neighbours by {self.found.index}", *self.notes]
        if self.found.bands:
            lines += ["", "neighbours   of the same class  mean similarity"]
            lines += [f"{band:<11}  {share:>17.1%}  {near:>15.3f}" for band, share, near in self._band_rows()]
            lines.append(f"{'any':<11}  {self.found.chance:>17.1%}")
        if self.found.classes:
            lines += ["", "share of the 10 nearest neighbours of a class that are of another"]
            lines += [f"{share:7.1%}  {one} -> {other}" for one, other, share in self._class_rows()]
        rows = self.rows()
        for kind, (title, _) in _TITLES.items():
            if of_kind := [row for row in rows if row["kind"] == kind]:
                lines += ["", f"{title} ({len(of_kind)} pairs)"]
                lines += [
                    f"  {row['similarity']:6.3f}  rank {row['rank']:>5,}  "
                    + " | ".join(_named(row[side], row[f"{side}_class"]) for side in ("anchor", "neighbour"))
                    for row in of_kind[:_SHOWN]
                ]
        return "\n".join(lines)

    def draw(self, path: Path) -> None:
        """Write the page, in one file, with the pictures of all pairs."""
        page = Page("What confuses the model", f"{self._subject}\nNeighbours by {self.found.index}")
        for note in self.notes:
            page.text(note)
        if self.found.bands:
            page.heading("How many of the nearest are of the same class")
            page.text(
                "Rank 0 is the nearest other sample. Mined negatives that are of the anchor's own class are "
                "false negatives: choose mining.skip_nearest so that ranks with many of them are left alone."
            )
            rows = [*self._band_rows(), ("any", self.found.chance, None)]
            page.table(("Ranks", "Share of the same class", "Mean similarity"), rows)
        if self.found.classes:
            page.heading("Classes confused most")
            header = ("Class", "Confused with", "Of its 10 nearest")
            page.table(header, self._class_rows())
        for kind, (title, explained) in _TITLES.items():
            if pairs := [pair for pair in self.found.pairs if pair.kind == kind]:
                page.heading(title).text(explained).images(self._tiles(pairs))
        page.write(path)

    def write(self, folder: Path) -> None:
        """Write confusions.json and pairs.csv."""
        replace_text(folder / "confusions.json", json.dumps(self.to_dict(), indent=2) + "\n")
        table = io.StringIO()
        rows = self.rows()
        if rows:
            writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        replace_text(folder / "pairs.csv", table.getvalue())

    def _tiles(self, pairs: Sequence[Pair]) -> list[Tile]:
        tiles = []
        for number, pair in enumerate(pairs, start=1):
            for row, title, level in (
                (pair.anchor, f"{number}", None),
                (pair.neighbour, f"{pair.similarity:.3f}, rank {pair.rank:,}", pair.similarity),
            ):
                note = "\n".join(filter(None, (self._class(row), self._name(row))))
                image = _picture(self.source, self._id(row))
                tiles.append(Tile(image, title, note, level, first=level is None))
        return tiles

    @property
    def _subject(self) -> str:
        return f"{self.model} on {self.data}: {len(self.features):,} images"

    def _band_rows(self) -> list[tuple[str, float, float]]:
        return [(f"{one.first}-{one.last}", one.false_negatives, one.similarity) for one in self.found.bands]

    def _class_rows(self) -> list[tuple[str, str, float]]:
        names = self.source.classes
        return [(names[one.anchor], names[one.neighbour], one.share) for one in self.found.classes]

    def _id(self, row: int) -> int:
        return int(self.features.ids[row])

    def _name(self, row: int) -> str:
        return self.source[self._id(row)].name

    def _class(self, row: int) -> str | None:
        return self.source.classes[int(self.features.labels[row])] if self.labelled else None


def mine(
    model: str | Path,
    data: str | Path | None = None,
    *,
    pairs: int = 50,
    cap: float = NEAR_DUPLICATE,
    html: str | Path | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> ConfusedPairs:
    """Find the pairs that a run or timm model confuses most in `data`, by default the data of the run.

    pairs: how many of each kind. cap: without labels, pairs at least this similar are near-duplicates. html:
    a page of the pairs to write. out: a folder for confusions.json and pairs.csv.

    Raises ConfigError for options out of range, DataError for data that cannot be compared, ModelError or
    RunError for a wrong model.
    """
    if pairs < 1 or not -1 < cap <= 1:  # before an hour of embedding
        raise ConfigError(f"pairs={pairs}, cap={cap}; use at least 1 pair and a cosine such as 0.98 as cap")
    embedder, source, name = _opened(model, data)
    features = embedder.features(source, progress=progress)
    labelled = source.labels is not None and len(source.classes) > 1
    groups: NDArray[np.int64] | None = getattr(source, "groups", None)
    with ProgressLine(total=100, shown=progress, label="neighbours, percent") as line:
        found = find_confusions(
            features.embeddings,
            features.labels.numpy() if labelled else None,
            None if groups is None else groups[features.ids.numpy()],
            pairs=pairs,
            cap=cap,
            progress=lambda done, total: line.update(100 * done // total, {}),
        )
    mined = ConfusedPairs(Path(str(model)).name, name, source, features, labelled, cap, found)
    if out is not None:
        mined.write(Path(out))
    if html is not None:
        mined.draw(Path(html))
    return mined


def mine_class(
    model: str | Path,
    data: str | Path | None,
    name: str,
    *,
    rounds: int = 5,
    html: str | Path | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> Bootstrap:
    """Bootstrap a logistic classifier on frozen embeddings for class `name` against all others.

    html: a page of the rounds with the hard negatives they found. out: a folder for bootstrap.json. Raises
    what `bootstrap_class` raises, and ModelError or RunError for a wrong model.
    """
    embedder, source, place = _opened(model, data)
    result = bootstrap_class(embedder.features(source, progress=progress), source, name, rounds=rounds)
    if out is not None:
        result.write(Path(out) / "bootstrap.json")
    if html is not None:
        _draw_rounds(Path(html), result, source, name, f"{Path(str(model)).name} on {place}")
    return result


def _draw_rounds(path: Path, result: Bootstrap, source: Source, name: str, subtitle: str) -> None:
    page = Page(f"Hard negatives of {name}", subtitle)
    header = ("Round", "Negatives", "False positives", "Added", "False-positive rate", "Recall")
    page.table(header, [tuple(vars(one).values()) for one in result.rounds])
    for number in range(1, len(result.rounds)):
        found = result.ids[result.found_in == number][:_PICTURES].tolist()
        page.heading(f"Added by round {number}").images(
            Tile(_picture(source, id), note=source[id].name) for id in found
        )
    page.write(path)


def _opened(model: str | Path, data: str | Path | None) -> tuple[Embedder, Source, str]:
    """The model, the data it is to be judged on, and what the data is called."""
    if data is not None:
        source = open_source(str(data))
        return open_embedder(model), source, str(data)
    if not Path(model).is_dir():
        raise ConfigError(
            f"{model} is no run folder, so it has no data of its own; name DATA after the model"
        )
    recipe = RunFolder(Path(model)).recipe()
    return open_embedder(model), open_data(recipe), recipe.data.address


def _picture(source: Source, id: int) -> NDArray[np.uint8] | None:
    try:
        return picture(source[id], side=PICTURE_SIDE)
    except DecodeError:
        return None


def _named(name: str, class_name: str | None) -> str:
    return name if class_name is None else f"{name} [{class_name}]"
