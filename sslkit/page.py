"""A web page in one file: text, tables, figures and images, with nothing fetched from anywhere.

It follows the reader's light or dark setting and fits a phone. Everything given as text is escaped.
"""

from __future__ import annotations

import base64
import html
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sslkit.atomic import replace_text
from sslkit.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | int | float | None
_SMALL = 96  # sides up to this are kept exact (PNG) and shown with hard pixels
_LARGE = 480  # longer sides are shrunk to this: twice the widest tile, for dense screens


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


class Page:
    """Sections are added top to bottom; every method returns the page."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title, self._subtitle = title, subtitle
        self._body: list[str] = []

    def heading(self, text: str) -> Page:
        """A section heading."""
        return self._add(f"<h2>{_escaped(text)}</h2>")

    def text(self, text: str) -> Page:
        """A paragraph; line breaks are kept."""
        return self._add(f"<p>{_escaped(text)}</p>")

    def code(self, text: str) -> Page:
        """A command or listing, as it is."""
        return self._add(f"<pre>{_escaped(text)}</pre>")

    def facts(self, facts: Mapping[str, Cell]) -> Page:
        """A row of headline figures with their names above."""
        pairs = (
            f"<div><dt>{_escaped(name)}</dt><dd>{_cell(value)}</dd></div>" for name, value in facts.items()
        )
        return self._add(f'<dl class="facts">{"".join(pairs)}</dl>')

    def table(self, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Page:
        """A table; columns that hold only numbers (or nothing) are set to the right.

        Raises DataError when a row has not as many cells as the header.
        """
        rows = [list(row) for row in rows]
        for row in rows:
            if len(row) != len(header):
                raise DataError(f"a table row of {len(row)} cells under {len(header)} headings: {row}")
        columns = range(len(header))
        numeric = [bool(rows) and all(not isinstance(row[column], str) for row in rows) for column in columns]

        def line(tag: str, cells: Iterable[str]) -> str:
            parts = (
                f"<{tag}{' class=number' if right else ''}>{cell}</{tag}>"
                for cell, right in zip(cells, numeric, strict=True)
            )
            return f"<tr>{''.join(parts)}</tr>"

        head = line("th", map(_escaped, header))
        body = "".join(line("td", map(_cell, row)) for row in rows)
        return self._add(f'<div class="wide"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>')

    def figure(self, figure: Figure, caption: str = "") -> Page:
        """A matplotlib figure as inline SVG without background; black becomes the ink of the page."""
        stream = io.StringIO()
        # Text stays text; the fixed salt makes equal figures equal bytes.
        style = {"svg.fonttype": "none", "svg.hashsalt": "sslkit"}
        with matplotlib.rc_context(style), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph .* missing")  # the browser's fonts will have it
            figure.savefig(
                stream, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
            )
        drawn = stream.getvalue()
        drawn = drawn[drawn.index("<svg") :].replace("#000000", "currentColor")
        return self._add(f"<figure>{drawn}{_caption(caption)}</figure>")

    def images(self, tiles: Iterable[Tile], caption: str = "") -> Page:
        """A grid of pictures; DataError where one is no uint8 image."""
        grid = f'<div class="images">{"".join(map(_tile, tiles))}</div>'
        return self._add(f"<figure>{grid}{_caption(caption)}</figure>" if caption else grid)

    def picture(self, image: NDArray[np.uint8], caption: str = "") -> Page:
        """One picture, uint8 (H, W, 3), across the page at its own resolution."""
        shown = f'<div class="wide"><img src="{_data_uri(image, most=None)}" alt="{_escaped(caption)}"></div>'
        return self._add(f"<figure>{shown}{_caption(caption)}</figure>")

    def html(self) -> str:
        """The whole page."""
        style = (files("sslkit") / "page.css").read_text("utf-8")
        subtitle = f"<p>{_escaped(self._subtitle)}</p>" if self._subtitle else ""
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_escaped(self._title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
            f"<header><h1>{_escaped(self._title)}</h1>{subtitle}</header>\n"
            + "\n".join(self._body)
            + "\n</body>\n</html>\n"
        )

    def write(self, path: Path) -> None:
        """Write the page to a file, in one step: a reader sees the old page or the new one, never a part."""
        replace_text(path, self.html())

    def _add(self, part: str) -> Page:
        self._body.append(part)
        return self


def _escaped(text: str) -> str:
    # A file name may hold bytes that are no UTF-8 (lone surrogates): shown as "?", never an error.
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def _cell(value: Cell) -> str:
    if value is None:
        return "–"  # noqa: RUF001
    if isinstance(value, str):
        return _escaped(value)
    if isinstance(value, int):
        return f"{value:,}"
    if 0 < abs(value) < 1e-3:
        return f"{value:.2g}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _caption(text: str) -> str:
    return f"<figcaption>{_escaped(text)}</figcaption>" if text else ""


def _tile(tile: Tile) -> str:
    if tile.image is None:
        frame = '<span class="missing">no picture</span>'
    else:
        kind = ' class="small"' if max(tile.image.shape[:2]) <= _SMALL else ""
        frame = f'<img{kind} src="{_data_uri(tile.image)}" alt="{_escaped(tile.title)}">'
    level = "" if tile.level is None else f'<meter value="{min(max(tile.level, 0.0), 1.0):.4f}"></meter>'
    title = f"<b>{_escaped(tile.title)}</b>" if tile.title else ""
    first = ' class="first"' if tile.first else ""
    return (
        f'<figure{first}><div class="frame">{frame}</div>{level}'
        f"<figcaption>{title}{_escaped(tile.note)}</figcaption></figure>"
    )


def _data_uri(image: NDArray[np.uint8], most: int | None = _LARGE) -> str:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise DataError(
            f"a picture is {image.dtype} of shape {image.shape}; uint8 (H, W, 3) or (H, W) is needed"
        )
    pixels = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise DataError(f"a picture has {pixels.shape[2]} channels; 1 or 3 are needed")
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    exact = max(picture.size) <= _SMALL
    if most is not None and max(picture.size) > most:
        picture.thumbnail((most, most))
    stream = io.BytesIO()
    picture.save(stream, "PNG" if exact else "JPEG", **({"optimize": True} if exact else {"quality": 85}))
    kind = "png" if exact else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
