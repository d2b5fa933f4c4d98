"""The page: sections one below the other."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from numpy.typing import NDArray

from sslkit.atomic import replace_text
from sslkit.errors import DataError
from sslkit.page.cells import Cell, captioned, escaped, is_number, shown
from sslkit.page.intervals import Interval, drawing
from sslkit.page.pictures import Tile, data_uri, fitting_uri, tile_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Page:
    """Sections are added top to bottom; every method returns the page."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title, self._subtitle = title, subtitle
        self._body: list[str] = []

    def heading(self, text: str) -> Page:
        """A section heading."""
        return self._add(f"<h2>{escaped(text)}</h2>")

    def text(self, text: str) -> Page:
        """A paragraph; line breaks are kept."""
        return self._add(f"<p>{escaped(text)}</p>")

    def code(self, text: str) -> Page:
        """A command or listing, as it is."""
        return self._add(f"<pre>{escaped(text)}</pre>")

    def points(self, texts: Iterable[str]) -> Page:
        """A list of sentences; nothing where there is none."""
        items = "".join(f"<li>{escaped(text)}</li>" for text in texts)
        return self._add(f"<ul>{items}</ul>") if items else self

    def warning(self, text: str) -> Page:
        """A framed paragraph that is read before the rest."""
        return self._add(f'<p class="warning"><b>Warning</b> {escaped(text)}</p>')

    @contextmanager
    def fold(self, title: str) -> Iterator[Page]:
        """What is added within is folded away under a title, and opens at a click; print shows it."""
        self._add(f"<details><summary>{escaped(title)}</summary>")
        try:
            yield self
        finally:
            self._add("</details>")

    def facts(self, facts: Mapping[str, Cell]) -> Page:
        """A row of headline figures with their names above."""
        pairs = (
            f"<div><dt>{escaped(name)}</dt><dd>{shown(value)}</dd></div>" for name, value in facts.items()
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
        numeric = [bool(rows) and all(is_number(row[column]) for row in rows) for column in columns]

        def line(tag: str, cells: Iterable[str]) -> str:
            parts = (
                f"<{tag}{' class=number' if right else ''}>{cell}</{tag}>"
                for cell, right in zip(cells, numeric, strict=True)
            )
            return f"<tr>{''.join(parts)}</tr>"

        head = line("th", map(escaped, header))
        body = "".join(line("td", map(shown, row)) for row in rows)
        return self._add(f'<div class="wide"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>')

    def intervals(self, rows: Iterable[Interval], axis: str, caption: str = "") -> Page:
        """Points with their reach on one axis, beside what they say; axis: what is drawn, with its unit."""
        return self._add(f"<figure>{drawing(rows, axis)}{captioned(caption)}</figure>")

    def figure(self, figure: Figure, caption: str = "") -> Page:
        """A matplotlib figure as inline SVG without background; black becomes the ink of the page."""
        return self._add(f"<figure>{_svg(figure)}{captioned(caption)}</figure>")

    def figures(self, figures: Iterable[tuple[Figure, str]]) -> Page:
        """Small figures with captions, as many beside each other as there is room for."""
        parts = (f"<figure>{_svg(figure)}{captioned(caption)}</figure>" for figure, caption in figures)
        return self._add(f'<div class="figures">{"".join(parts)}</div>')

    def images(self, tiles: Iterable[Tile], caption: str = "") -> Page:
        """A grid of pictures; DataError where one is no uint8 image."""
        grid = f'<div class="images">{"".join(map(tile_figure, tiles))}</div>'
        return self._add(f"<figure>{grid}{captioned(caption)}</figure>" if caption else grid)

    def picture(self, image: NDArray[np.uint8], caption: str = "") -> Page:
        """One picture, uint8 (H, W, 3), across the page at its own resolution."""
        framed = f'<div class="wide"><img src="{data_uri(image, most=None)}" alt="{escaped(caption)}"></div>'
        return self._add(f"<figure>{framed}{captioned(caption)}</figure>")

    def pictures(self, pictures: Iterable[tuple[NDArray[np.uint8], str]], *, most_bytes: int) -> Page:
        """Large pictures with captions, beside each other where there is room.

        Each is shrunk until it has at most `most_bytes`, but to no side below 240 pixels.
        """
        parts = (
            f'<figure><img src="{fitting_uri(image, most_bytes)}" alt="{escaped(caption)}">'
            f"{captioned(caption)}</figure>"
            for image, caption in pictures
        )
        return self._add(f'<div class="pictures">{"".join(parts)}</div>')

    def html(self) -> str:
        """The whole page."""
        style = (files("sslkit.page") / "page.css").read_text("utf-8")
        subtitle = f"<p>{escaped(self._subtitle)}</p>" if self._subtitle else ""
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escaped(self._title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
            f"<header><h1>{escaped(self._title)}</h1>{subtitle}</header>\n"
            + "\n".join(self._body)
            + "\n</body>\n</html>\n"
        )

    def write(self, path: Path) -> None:
        """Write the page to a file, in one step: a reader sees the old page or the new one, never a part."""
        replace_text(path, self.html())

    def _add(self, part: str) -> Page:
        self._body.append(part)
        return self


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    # Text stays text; the fixed salt makes equal figures equal bytes.
    style = {"svg.fonttype": "none", "svg.hashsalt": "sslkit"}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing")  # the browser's fonts will have it
        figure.savefig(stream, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    drawn = stream.getvalue()
    return drawn[drawn.index("<svg") :].replace("#000000", "currentColor")
