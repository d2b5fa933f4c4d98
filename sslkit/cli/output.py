"""What a command prints: JSON for programs, aligned lines for people, both on stdout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def print_json(value: Any) -> None:
    """One JSON document; NaN, which JSON lacks, is an error rather than bad output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def print_facts(facts: Mapping[str, Any]) -> None:
    """One `name  value` line per fact, the values aligned."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else value
        typer.echo(f"{name:<{width}}  {shown}")


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """Rows of text with their columns aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
