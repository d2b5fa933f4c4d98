"""Pictures on a page: written into it, shrunk to what can be seen."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sslkit.errors import DataError
from sslkit.page.cells import escaped

_SMALL = 96  # sides up to this are kept exact (PNG) and shown with hard pixels
_LARGE = 480  # longer sides are shrunk to this: twice the widest tile, for dense screens
_LEAST = 240  # no picture is shrunk below this side to save bytes


@dataclass(frozen=True)
class Tile:
    """One picture of a grid.

    image: uint8 (H, W, 3), (H, W, 1) or (H, W), or None for a picture that cannot be had. title: the bold
    line; note: the soft lines below; level: 0..1, drawn as a thin bar; first: framed, as the query is.
    """

    image: NDArray[np.uint8] | None
    title: str = ""
    note: str = ""
    level: float | None = None
    first: bool = False


def tile_figure(tile: Tile) -> str:
    """A tile as a figure; raises DataError where its image is none."""
    if tile.image is None:
        frame = '<span class="missing">no picture</span>'
    else:
        kind = ' class="small"' if max(tile.image.shape[:2]) <= _SMALL else ""
        frame = f'<img{kind} src="{data_uri(tile.image)}" alt="{escaped(tile.title)}">'
    level = "" if tile.level is None else f'<meter value="{min(max(tile.level, 0.0), 1.0):.4f}"></meter>'
    title = f"<b>{escaped(tile.title)}</b>" if tile.title else ""
    first = ' class="first"' if tile.first else ""
    return (
        f'<figure{first}><div class="frame">{frame}</div>{level}'
        f"<figcaption>{title}{escaped(tile.note)}</figcaption></figure>"
    )


def data_uri(image: NDArray[np.uint8], most: int | None = _LARGE) -> str:
    """A picture as the address of itself, no side longer than `most`; small ones are kept exactly.

    Raises DataError where it is no uint8 image.
    """
    picture = _picture(image)
    exact = max(picture.size) <= _SMALL
    if most is not None and max(picture.size) > most:
        picture.thumbnail((most, most))
    return _encoded(picture, exact)


def fitting_uri(image: NDArray[np.uint8], most_bytes: int) -> str:
    """The same, shrunk until it has at most so many bytes, but to no side below 240 pixels."""
    picture = _picture(image)
    while len(uri := _encoded(picture, exact=False)) > most_bytes and max(picture.size) > _LEAST:
        side = max(_LEAST, int(0.8 * max(picture.size)))
        picture.thumbnail((side, side))
    return uri


def _picture(image: NDArray[np.uint8]) -> Image.Image:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise DataError(
            f"a picture is {image.dtype} of shape {image.shape}; uint8 (H, W, 3) or (H, W) is needed"
        )
    pixels = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise DataError(f"a picture has {pixels.shape[2]} channels; 1 or 3 are needed")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _encoded(picture: Image.Image, exact: bool) -> str:
    stream = io.BytesIO()
    picture.save(stream, "PNG" if exact else "JPEG", **({"optimize": True} if exact else {"quality": 85}))
    kind = "png" if exact else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
