"""What stands in the cells of a page's tables, and text made safe for it."""

from __future__ import annotations

import html
from dataclasses import dataclass


@dataclass(frozen=True)
class Noted:
    """A table cell with soft lines below it: `note`, whose line breaks are kept."""

    text: str | float | None
    note: str


Cell = str | int | float | Noted | None


def escaped(text: str) -> str:
    """Text as it can stand between tags."""
    # A file name may hold bytes that are no UTF-8 (lone surrogates): shown as "?", never an error.
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def is_number(cell: Cell) -> bool:
    """Whether a cell holds a number, or nothing."""
    return not isinstance(cell.text if isinstance(cell, Noted) else cell, str)


def soft(note: str) -> str:
    """Soft lines; nothing where there are none."""
    return f"<small>{escaped(note)}</small>" if note else ""


def shown(value: Cell) -> str:
    """A cell as it is read: few digits, a dash for nothing."""
    if isinstance(value, Noted):
        return shown(value.text) + soft(value.note)
    if value is None:
        return "–"  # noqa: RUF001
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, int):
        return f"{value:,}"
    if 0 < abs(value) < 1e-3:
        return f"{value:.2g}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def captioned(text: str) -> str:
    """A caption, where there is one."""
    return f"<figcaption>{escaped(text)}</figcaption>" if text else ""
