"""What a frozen backbone made of each sample of a source, as heads see it: written and read as an entry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from sslkit.contracts import FeatureMap, HeadFeatures, Meta, Skipped
from sslkit.training.feature_entry import Entry, EntryWriter


def write_features(
    writer: EntryWriter, batches: Iterable[tuple[HeadFeatures | None, Sequence[Skipped]]], *, of: int
) -> None:
    """Keep batches in the number format they come in, and what could not be decoded; of: rows in all."""
    metas: list[list[object]] = []
    left_out: list[list[object]] = []
    writer.notes.update(metas=metas, skipped=left_out, strides=[], canvas=[0, 0])
    for features, skipped in batches:
        left_out += [[one.id, one.name, one.reason] for one in skipped]
        if features is None:
            continue
        parts = {f"map-{place}": part.values for place, part in enumerate(features.maps)}
        if features.vector is not None:
            parts["vector"] = features.vector
        writer.append(parts, of=of)
        writer.notes["strides"] = [[part.stride, part.temporal_stride] for part in features.maps]
        writer.notes["canvas"] = list(features.canvas)
        metas += [
            [one.id, one.name, list(one.original), list(one.valid), list(one.canvas), one.view]
            for one in features.metas
        ]


class FeatureCache:
    """Features of a source's samples by id, in all the views there are of each.

    skipped: the samples that could not be decoded; they have no features.
    """

    def __init__(self, entry: Entry) -> None:
        notes = entry.notes
        self._entry = entry
        self._canvas: tuple[int, int] = (notes["canvas"][0], notes["canvas"][1])
        self._metas = [
            Meta(id, name, tuple(original), tuple(valid), tuple(canvas), view)
            for id, name, original, valid, canvas, view in notes["metas"]
        ]
        self._rows: dict[int, list[int]] = {}
        for row, meta in enumerate(self._metas):
            self._rows.setdefault(meta.id, []).append(row)
        self.skipped = tuple(Skipped(*one) for one in notes["skipped"])

    def __len__(self) -> int:
        """How many samples have features."""
        return len(self._rows)

    def batch(
        self, ids: Sequence[int], device: torch.device, *, as_made: bool = False
    ) -> HeadFeatures | None:
        """Features of samples on a device, their views in order; None where none of them has any.

        as_made: with the strides the backbone gave them, else contiguous.
        """
        rows = [row for id in ids for row in self._rows.get(id, ())]
        if not rows:
            return None
        places = torch.tensor(rows)
        values = {name: column[places] for name, column in self._entry.columns.items()}
        if not as_made:
            values = {name: column.contiguous() for name, column in values.items()}
        maps = tuple(
            FeatureMap(values[f"map-{place}"].to(device), *strides)
            for place, strides in enumerate(self._entry.notes["strides"])
        )
        vector = values["vector"].to(device) if "vector" in values else None
        return HeadFeatures(vector, maps, self._canvas, tuple(self._metas[row] for row in rows))
