"""Masks written down as polygons or run lengths, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from faster_coco_eval.mask_api_new_cpp import toUncompressedRLE

from sslkit.errors import DataError

TOLERANCE = 1.0
"""Pixels by which annotations may leave their image: rounding, as real sets have it; they are clipped."""


def decoded_mask(outline: Any, width: int, height: int) -> np.ndarray:
    """An outline to its pixels, bool (height, width).

    outline: polygons, each x, y, x, y, ... in pixels; or COCO run lengths, compressed or not, as a mapping of
    size and counts. Raises DataError that says what is wrong.
    """
    return np.asarray(coco_mask.decode(_runs(outline, width, height))).astype(bool)


def check_outline(outline: Any, width: int, height: int) -> None:
    """Raise DataError if the outline cannot be decoded; decodes nothing."""
    if isinstance(outline, Mapping):
        _counts(outline, width, height)
    else:
        _checked_polygons(outline, width, height)


def polygon_box(polygon: Sequence[float]) -> tuple[float, float, float, float]:
    """The box (xyxy) around x, y, x, y, ..."""
    return min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2])


def _runs(outline: Any, width: int, height: int) -> Any:
    if not isinstance(outline, Mapping):
        polygons = _checked_polygons(outline, width, height)
        return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return coco_mask.frPyObjects(_counts(outline, width, height), height, width)


def _counts(outline: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    """Run lengths as size and a list of counts, which cover the image."""
    size, counts = outline.get("size"), outline.get("counts")
    if size != [height, width]:
        raise DataError(f"mask of size {size} (height, width) in an image of {[height, width]}")
    if isinstance(counts, str):
        counts = _uncompressed(counts, height, width)
    if not isinstance(counts, list) or not all(type(one) is int and one >= 0 for one in counts):
        raise DataError("run lengths are neither text nor a list of whole numbers >= 0")
    if sum(counts) != width * height:
        raise DataError(f"run lengths cover {sum(counts)} pixels, the image has {width * height}")
    return {"size": size, "counts": counts}


def _uncompressed(text: str, height: int, width: int) -> Any:
    if not all("0" <= letter <= "o" for letter in text):  # six bits each, from 48 on
        raise DataError("run lengths hold letters that no encoder writes")
    try:
        return toUncompressedRLE([{"size": [height, width], "counts": text.encode()}])[0]["counts"]
    except (RuntimeError, ValueError) as error:  # what the library says of text that breaks off
        raise DataError(f"run lengths are damaged: {error}") from error


def _checked_polygons(outline: Any, width: int, height: int) -> list[list[float]]:
    if not isinstance(outline, list) or not outline:
        raise DataError("no outline: neither polygons nor run lengths")
    room = np.array([width, height])
    for polygon in outline:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise DataError("a polygon needs at least three points x, y")
        try:
            points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError("a polygon holds something else than numbers") from error
        if not np.isfinite(points).all():
            raise DataError("a polygon holds a number that is not finite")
        beyond = float(np.maximum(-points, points - room).max())
        if beyond > TOLERANCE:  # also keeps the drawing of edges from growing without bound
            raise DataError(f"a polygon leaves the image of {width} x {height} by {beyond:.1f} pixels")
    return outline
