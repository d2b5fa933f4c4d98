"""Tables of what is known of items, from CSV, JSON, JSON lines or Parquet.

A cell that is empty, null or NaN is no value: the item has no such key. In CSV a column whose cells are all
whole numbers, or all numbers, is one of numbers; "007" is text, and so is the column it stands in.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from sslkit.errors import ConfigError, DataError
from sslkit.retrieval.filters import COLUMNS

JsonValue: TypeAlias = str | int | float | bool | list[Any] | dict[str, Any]
Row: TypeAlias = dict[str, JsonValue]

NAME = "name"
TEXTS = (NAME, "label")
"""Columns that stay text, whatever their cells look like."""

_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")  # fits int64
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d*)?([eE][-+]?\d+)?|-?\.\d+([eE][-+]?\d+)?")
_SHOWN = 8


def read_metadata(path: Path | str, *, leave_out: Collection[str] = ()) -> dict[str, Row]:
    """What a table says of items by the text in its column `name`; columns in `leave_out` are not read.

    A name may come again with the same values. Raises ConfigError for another kind of file, DataError when it
    cannot be read, has no `name`, says two things of one item, or has a key that conditions cannot name.
    """
    path = Path(path)
    rows = read_rows(path)
    found: dict[str, Row] = {}
    for number, row in enumerate(rows):
        name = row.get(NAME)
        if not isinstance(name, str):
            raise DataError(
                f"row {number} of {path} has no '{NAME}': a table of metadata has a column or key '{NAME}', "
                "the path of each item inside its data set, as `sslkit embed` writes it into items.csv"
            )
        own = {key: value for key, value in row.items() if key != NAME and key not in leave_out}
        if found.setdefault(name, own) != own:
            raise DataError(
                f"{path} says two things of {name!r}, the second in row {number}; keep one of them"
            )
    _check_keys(path, sorted({key for own in found.values() for key in own}))
    return found


def read_rows(path: Path) -> list[Row]:
    """The rows of a table in their order; errors as `read_metadata`, which looks at the keys too."""
    readers: dict[str, Callable[[Path], list[Row]]] = {
        ".csv": _read_csv,
        ".json": _read_json,
        ".jsonl": _read_lines,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path} is no table known here; its name ends in one of {', '.join(readers)}")
    try:
        rows = reader(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not rows:
        raise DataError(f"{path} has no rows; a table of items has at least one")
    return rows


def shown_numbers(numbers: Sequence[int]) -> str:
    """The first few of some row numbers, for a message."""
    return ", ".join(map(str, numbers[:_SHOWN])) + (" ..." if len(numbers) > _SHOWN else "")


def _read_csv(path: Path) -> list[Row]:
    # As items.csv is written: bytes of file names that are no UTF-8 stay what they are.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = csv.reader(file)
        header = next(lines, None)
        if header is None:
            return []
        repeated = sorted({key for key in header if header.count(key) > 1})
        if repeated or "" in header:
            what = f"the column {repeated[0]!r} twice" if repeated else "a column without a name"
            raise DataError(f"{path} has {what}; every column needs a name of its own in the first line")
        columns: list[list[str]] = [[] for _ in header]
        for number, line in enumerate(filter(None, lines)):
            if len(line) != len(header):
                raise DataError(
                    f"row {number} of {path} has {len(line)} cells under {len(header)} headings; put cells "
                    "that hold commas in quotes"
                )
            for column, cell in zip(columns, line, strict=True):
                column.append(cell)
    kept = [column if key in TEXTS else _typed(column) for key, column in zip(header, columns, strict=True)]
    return [
        {key: value for key, value in zip(header, values, strict=True) if value != ""}
        for values in zip(*kept, strict=True)
    ]


def _typed(column: Sequence[str]) -> Sequence[str | int | float]:
    """The cells as numbers where all of them are; empty ones stay empty."""
    cells = [cell for cell in column if cell]
    if cells and all(map(_WHOLE.fullmatch, cells)):
        return [int(cell) if cell else cell for cell in column]
    if cells and all(_NUMBER.fullmatch(cell) and math.isfinite(float(cell)) for cell in cells):
        return [float(cell) if cell else cell for cell in column]
    return column


def _read_json(path: Path) -> list[Row]:
    try:
        read = json.loads(_text(path), parse_constant=_not_a_number)
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}") from error
    if isinstance(read, dict):  # of objects by name
        read = [{**own, NAME: name} if isinstance(own, dict) else own for name, own in read.items()]
    if not isinstance(read, list):
        raise DataError(f"{path} is no table: a list of objects with '{NAME}', or an object of them by name")
    return [_row(path, number, row) for number, row in enumerate(read)]


def _read_lines(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(_text(path).split("\n")):  # JSON may hold other line breaks as they are
        if line.strip():
            try:
                rows.append(_row(path, number, json.loads(line, parse_constant=_not_a_number)))
            except ValueError as error:
                raise DataError(f"line {number + 1} of {path} is no JSON: {error}") from error
    return rows


def _read_parquet(path: Path) -> list[Row]:
    reader = parquet()
    from pyarrow import ArrowException

    try:
        table = reader.read_table(path)
    except ArrowException as error:
        raise DataError(f"{path} is no Parquet file, or a damaged one: {error}") from error
    return [_row(path, number, row) for number, row in enumerate(table.to_pylist())]


def parquet() -> Any:
    """The library that reads and writes Parquet; ConfigError when it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            "Parquet needs pyarrow, which is not installed: pip install 'sslkit[parquet]', or use a .csv file"
        ) from error
    return pyarrow.parquet


def _row(path: Path, number: int, row: Any) -> Row:
    """A row with what is no value left out; DataError unless all values are such that JSON has."""
    if not isinstance(row, dict):
        raise DataError(f"row {number} of {path} is no object of keys and values")
    values = {key: _plain(value) for key, value in row.items() if not _missing(value)}
    for key, value in values.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"row {number} of {path} has in '{key}' what JSON cannot hold: {error}; make it text or "
                "a number"
            ) from error
    if NAME in values and isinstance(values[NAME], int | float):  # a column of numbered files
        values[NAME] = str(values[NAME])
    return values


def _plain(value: Any) -> Any:
    """Dates and times, which Parquet has and JSON has not, as ISO 8601 text."""
    return value.isoformat() if hasattr(value, "isoformat") else value


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="surrogateescape")


def _not_a_number(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON value; leave the key out, or write null")


def _check_keys(path: Path, keys: Iterable[str]) -> None:
    """Raise DataError for keys that a condition could not name, or not without doubt."""
    known: dict[str, str] = {}
    for key in keys:
        if not key.strip() or '"' in key or "\0" in key:
            raise DataError(f"{path} has the key {key!r}; a key is some text without double quotes")
        if key.lower() in COLUMNS:
            raise DataError(
                f"{path} has the key '{key}', which conditions use for what an index knows itself "
                f"({', '.join(COLUMNS)}); rename it, for example to 'own_{key}'"
            )
        other = known.setdefault(key.lower(), key)
        if other != key:
            raise DataError(f"{path} has the keys '{other}' and '{key}', which SQL takes for one; rename one")
