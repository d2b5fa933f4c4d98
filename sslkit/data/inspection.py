"""What a data set holds, before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sslkit.contracts import Skipped, Source
from sslkit.data.decode.image import decode_image, read_header
from sslkit.errors import DecodeError

_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
_CANVAS = 32  # unreadable files show at any size; a small canvas lets JPEG skip most of the work


@dataclass(frozen=True)
class Inspection:
    """Counts of a whole source, and what decoding `sampled` of its items showed.

    classes: samples by class name. formats: decoded items by format and mode, such as "JPEG RGB".
    widths, heights: quantiles in pixels, by name ("minimum", "5 %", "median", "95 %", "maximum").
    """

    count: int
    fingerprint: str
    classes: Mapping[str, int]
    sampled: int
    formats: Mapping[str, int]
    widths: Mapping[str, int]
    heights: Mapping[str, int]
    unreadable: tuple[Skipped, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values that JSON can write."""
        return asdict(self)


def inspect_source(source: Source, *, sample: int | None = 1000) -> Inspection:
    """Count a source and decode `sample` evenly spread items, or all of them when it is None."""
    count = len(source)
    wanted = count if sample is None else min(max(0, sample), count)
    ids = np.arange(wanted, dtype=np.int64) * count // max(1, wanted)
    formats: Counter[str] = Counter()
    sizes: list[tuple[int, int]] = []
    unreadable: list[Skipped] = []
    for id in ids.tolist():
        item = source[id]
        try:
            header = read_header(item.content)
            decode_image(item.content, canvas=_CANVAS)
        except DecodeError as error:
            unreadable.append(Skipped(id, item.name, str(error)))
            continue
        formats[f"{header.format} {header.mode}"] += 1
        sizes.append((header.width, header.height))
    return Inspection(
        count=count,
        fingerprint=source.fingerprint,
        classes=_class_counts(source),
        sampled=wanted,
        formats=dict(formats.most_common()),
        widths=_quantiles([width for width, _ in sizes]),
        heights=_quantiles([height for _, height in sizes]),
        unreadable=tuple(unreadable),
    )


def _class_counts(source: Source) -> dict[str, int]:
    if source.labels is None:
        return {}
    counts = np.bincount(source.labels, minlength=len(source.classes)).tolist()
    return dict(zip(source.classes, counts, strict=True))


def _quantiles(values: list[int]) -> dict[str, int]:
    names = ("minimum", "5 %", "median", "95 %", "maximum")
    if not values:
        return {}
    found = np.quantile(values, _QUANTILES, method="nearest")
    return {name: int(value) for name, value in zip(names, found, strict=True)}
