"""Vectors of other programs: read from a matrix in a .npy file, with a table of what they belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import DataError
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.retrieval.metadata import Row, read_rows, shown_numbers

ITEM_COLUMNS = ("id", "name", "label", "start", "stop", "source", "sample")
"""Columns of a table of items that are no metadata, as `export` writes them. label: the name of the class."""

_ROWS = 16384  # checked at a time


def imported(
    vectors: Path | str, items: Path | str | None = None, *, model_hash: str | None = None, address: str = ""
) -> EmbeddingSet:
    """The rows of a .npy file as an embedding set, vectors memory-mapped.

    vectors: float16, float32 or float64 (N, D), row by row. items: a table of N rows in the order of the
    vectors; of `ITEM_COLUMNS` each may be missing: ids are then row numbers, and names too. What else it
    holds is metadata, which `read_metadata(items, leave_out=ITEM_COLUMNS)` gives. model_hash: what queries
    must name; default: "imported:" and the sha256 of the file. address: of the data set whose samples the ids
    count; default: the one in `source`, where `sample` says that they do.

    Raises DataError for a matrix or table that cannot be used, naming the rows, ConfigError for a table of
    another kind.
    """
    path = Path(vectors)
    matrix = _matrix(path)
    ids = np.arange(len(matrix), dtype=np.int64)
    names, labels = [str(row) for row in range(len(matrix))], np.full(len(matrix), -1, np.int64)
    classes: tuple[str, ...] = ()
    times: NDArray[np.float64] | None = None
    if items is not None:
        table = Path(items)
        rows = read_rows(table)
        if len(rows) != len(matrix):
            raise DataError(
                f"{table} has {len(rows)} rows, {path} {len(matrix)}; row by row they must belong together"
            )
        ids, times = _ids(rows, ids, table), _times(rows, table)
        names = _names(rows, names, ids, table)
        labels, classes = _labels(rows, table)
        _refuse_repeated(names, times, table)
        address = address or _address(rows, ids)
    return EmbeddingSet(
        vectors=matrix,
        ids=ids,
        names=names,
        labels=labels,
        model_hash=model_hash or f"imported:{_sha256(path)[:32]}",
        classes=classes,
        preprocessing={},
        source_fingerprint="",
        address=address,
        times=times,
    )


def _matrix(path: Path) -> NDArray[np.floating[Any]]:
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"no file {path}; name a .npy file of vectors") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as a matrix ({error}); write it with numpy.save, as plain numbers"
        ) from error
    if not isinstance(matrix, np.ndarray):
        matrix.close()
        raise DataError(f"{path} holds several arrays; write the vectors alone with numpy.save")
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise DataError(
            f"{path} has the shape {matrix.shape}; vectors are a matrix (N, D) of at least one row"
        )
    if matrix.dtype.kind != "f" or matrix.dtype.itemsize > 8:
        raise DataError(
            f"{path} holds {matrix.dtype}; vectors are float16, float32 or float64: save x.astype('float32')"
        )
    if not matrix.flags.c_contiguous:
        raise DataError(
            f"{path} is written column by column (Fortran order), so that each row lies all over the file; "
            "save numpy.ascontiguousarray(x)"
        )
    _check_rows(path, matrix)
    return matrix


def _check_rows(path: Path, matrix: NDArray[np.floating[Any]]) -> None:
    """Raise DataError naming the rows that have no direction in float32."""
    broken, zero = list[int](), list[int]()
    for start in range(0, len(matrix), _ROWS):
        with np.errstate(over="ignore"):  # looked for right below
            block = np.asarray(matrix[start : start + _ROWS], np.float32)
        finite = np.isfinite(block).all(axis=1)
        broken += (np.flatnonzero(~finite) + start).tolist()
        zero += (np.flatnonzero(finite & ~block.any(axis=1)) + start).tolist()
    for rows, what in ((broken, "not finite as float32"), (zero, "all zero, so without a direction,")):
        if rows:
            raise DataError(
                f"{len(rows)} of {len(matrix)} vectors of {path} are {what} at rows {shown_numbers(rows)}; "
                "leave them out, of the table of items too"
            )


def _ids(rows: Sequence[Row], default: NDArray[np.int64], table: Path) -> NDArray[np.int64]:
    if not any("id" in row for row in rows):
        return default
    values = [row.get("id") for row in rows]
    bad = [
        row
        for row, value in enumerate(values)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63
    ]
    if bad:
        raise DataError(
            f"{table} has no usable id in rows {shown_numbers(bad)}, such as {values[bad[0]]!r}; ids are "
            "whole numbers from 0 to 2^63 - 1, in every row or in none"
        )
    ids = np.array(values, np.int64)
    unique, first = np.unique(ids, return_index=True)
    if len(unique) < len(ids):
        again = np.setdiff1d(np.arange(len(ids)), first).tolist()
        raise DataError(
            f"{table} gives ids a second time in rows {shown_numbers(again)}, such as {ids[again[0]]}; every "
            "item needs an id of its own"
        )
    return ids


def _names(rows: Sequence[Row], default: list[str], ids: NDArray[np.int64], table: Path) -> list[str]:
    if not any("name" in row for row in rows):
        return [str(id) for id in ids.tolist()] if "id" in rows[0] else default
    bad = [row for row, own in enumerate(rows) if not isinstance(own.get("name"), str)]
    if bad:
        raise DataError(f"{table} has no name in rows {shown_numbers(bad)}; give every row one, or none")
    return [str(row["name"]) for row in rows]


def _labels(rows: Sequence[Row], table: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class numbers, -1 without a label, and class names: numbers in their order, then others in theirs."""
    bad = [row for row, own in enumerate(rows) if isinstance(own.get("label"), list | dict)]
    if bad:
        raise DataError(f"{table} has more than one label in rows {shown_numbers(bad)}; a label is one name")
    given = [str(row["label"]) if "label" in row else None for row in rows]
    known = {label for label in given if label is not None}
    classes = tuple(
        sorted(known, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
    )
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([-1 if label is None else numbers[label] for label in given], np.int64), classes


def _times(rows: Sequence[Row], table: Path) -> NDArray[np.float64] | None:
    if not any("start" in row or "stop" in row for row in rows):
        return None
    times = np.full((len(rows), 2), np.nan)
    bad = []
    for number, row in enumerate(rows):
        start, stop = row.get("start"), row.get("stop")
        if start is None and stop is None:
            continue
        if isinstance(start, int | float) and isinstance(stop, int | float) and 0 <= start <= stop:
            times[number] = start, stop
        else:
            bad.append(number)
    if bad:
        raise DataError(
            f"{table} has no usable start and stop in rows {shown_numbers(bad)}; both are seconds, "
            "0 <= start <= stop, or both are empty"
        )
    return times


def _refuse_repeated(names: Sequence[str], times: NDArray[np.float64] | None, table: Path) -> None:
    """One name may belong to several moments of a video, but not to two items without times."""
    moments = (
        [(name, None) for name in names]
        if times is None
        else list(zip(names, times[:, 0].tolist(), strict=True))
    )
    known = set[tuple[str, float | None]]()
    again = []
    for row, (name, start) in enumerate(moments):
        key = (name, None if start is None or start != start else start)
        if key in known:
            again.append(row)
        known.add(key)
    if again:
        raise DataError(
            f"{table} gives names a second time in rows {shown_numbers(again)}, such as {names[again[0]]!r}; "
            "an index finds items by name when it grows, so every item needs one of its own"
        )


def _address(rows: Sequence[Row], ids: NDArray[np.int64]) -> str:
    sources = {row.get("source") for row in rows}
    (source,) = sources if len(sources) == 1 else (None,)
    samples = [row.get("sample") for row in rows]
    return source if isinstance(source, str) and samples == ids.tolist() else ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
