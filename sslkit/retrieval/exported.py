"""An index for other programs: the EXPORT folder, which nothing of sslkit is needed to read.

vectors.npy     float32 (N, D), unit vectors, by id
items.parquet   a row for each: id, name, label, start, stop, source, sample and metadata; or items.csv
index.faiss     FAISS's own, whose search gives cosines and ids
export.json     which model made the vectors, how pixels were prepared, what is in the other files
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours.exported import write_exported
from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.structure import Effort
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.folder import write_description, written_aside
from sslkit.retrieval.metadata import parquet
from sslkit.retrieval.store import IndexedItem
from sslkit.version import __version__

FORMAT = 1
FILES = ("vectors.npy", "items.parquet", "items.csv", "index.faiss", "export.json")
COLUMNS = ("id", "name", "label", "start", "stop", "source", "sample")
Table = Literal["auto", "parquet", "csv"]

_ROWS = 16_384  # in memory at a time
_TYPES = {bool: "bool", int: "int64", float: "float64", str: "string"}


def export(
    index: Index, out: Path | str, *, table: Table = "auto", overwrite: bool = False
) -> dict[str, Any]:
    """Write the items of an index into a new folder for other programs; returns what export.json says.

    table: "auto" writes Parquet where pyarrow is installed and every name is text, else CSV. index.faiss
    searches as the index does where it has one segment with a structure and nothing was removed from it, else
    exactly; `Index.compact` makes it so.

    Raises ConfigError when `out` exists (and `overwrite` is false) or Parquet cannot be written,
    ArtifactError when the index is empty, damaged or changes meanwhile.
    """
    if table not in get_args(Table):
        raise ConfigError(f"table={table!r}: items are written as one of {', '.join(get_args(Table))}")
    ids, passport = index.ids(), index.passport
    if not len(ids):
        raise ArtifactError(
            f"the index {index.path} is empty: every item was removed; there is nothing to export"
        )
    with written_aside(Path(out), FILES, overwrite=overwrite) as folder:
        columns, readable = _columns(index, ids)
        if table == "auto":
            table = "parquet" if readable and find_spec("pyarrow") else "csv"
        elif table == "parquet" and not readable:
            raise ConfigError(
                f"names in {index.path} hold bytes that are no UTF-8, which Parquet cannot hold; write CSV"
            )
        (_write_parquet if table == "parquet" else _write_csv)(folder, index, ids, columns)
        _write_vectors(folder / "vectors.npy", index, ids)
        structure = _write_faiss(folder, index, ids, passport["segments"])
        described = {
            "format": FORMAT,
            "count": len(ids),
            "dim": index.dim,
            "metric": "cosine",
            "model_hash": index.model_hash,
            "preprocessing": index.preprocessing,
            "classes": list(index.classes),
            "generation": passport["generation"],
            "items": f"items.{table}",
            "columns": columns,
            "faiss": structure,
            "sslkit": __version__,
        }
        write_description(folder / "export.json", described)
        if index.generation != passport["generation"]:
            raise ArtifactError(f"the index {index.path} changed while it was exported; begin again")
    return described


def _blocks(ids: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(ids), _ROWS):
        yield ids[start : start + _ROWS]


def _columns(index: Index, ids: NDArray[np.int64]) -> tuple[dict[str, str], bool]:
    """The type of every column, and whether all names are text that Parquet can hold.

    Metadata whose values are of several types, or lists and objects, becomes JSON text.
    """
    types: dict[str, set[str]] = {}
    readable = True
    for block in _blocks(ids):
        for item in index.items(block.tolist()):
            readable &= _is_text(item.name + item.source)
            for key, value in item.metadata.items():
                if value is not None:
                    types.setdefault(key, set()).add(_TYPES.get(type(value), "json"))
    own = dict(
        zip(COLUMNS, ("int64", "string", "string", "float64", "float64", "string", "int64"), strict=True)
    )
    return {**own, **{_column(key): _joined(types[key]) for key in sorted(types)}}, readable


def _joined(types: set[str]) -> str:
    if len(types) == 1:
        return types.pop()
    return "float64" if types == {"int64", "float64"} else "json"


def _column(key: str) -> str:
    """The column of a key of the metadata."""
    return f"metadata_{key}" if key in COLUMNS else key


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _rows(index: Index, ids: NDArray[np.int64], columns: dict[str, str]) -> Iterator[list[dict[str, Any]]]:
    for block in _blocks(ids):
        yield [_row(item, index.classes, columns) for item in index.items(block.tolist())]


def _row(item: IndexedItem, classes: Sequence[str], columns: dict[str, str]) -> dict[str, Any]:
    label = None
    if item.label is not None:
        label = classes[item.label] if item.label < len(classes) else str(item.label)
    own = (item.id, item.name, label, item.start, item.stop, item.source, item.sample)
    row: dict[str, Any] = dict.fromkeys(columns) | dict(zip(COLUMNS, own, strict=True))
    for key, value in item.metadata.items():
        if value is not None:
            as_text = columns[_column(key)] == "json"
            row[_column(key)] = json.dumps(value, ensure_ascii=False) if as_text else value
    return row


def _write_parquet(folder: Path, index: Index, ids: NDArray[np.int64], columns: dict[str, str]) -> None:
    writer = parquet()
    import pyarrow

    kinds = {name: "string" if kind == "json" else kind for name, kind in columns.items()}
    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in kinds.items()])
    with writer.ParquetWriter(folder / "items.parquet", schema) as file:
        for rows in _rows(index, ids, columns):
            file.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


def _write_csv(folder: Path, index: Index, ids: NDArray[np.int64], columns: dict[str, str]) -> None:
    with (folder / "items.csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        for rows in _rows(index, ids, columns):
            writer.writerows(rows)


def _write_vectors(path: Path, index: Index, ids: NDArray[np.int64]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(ids), index.dim)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in _blocks(ids):
            file.write(index.vectors(block.tolist()).astype("<f4").tobytes())


def _write_faiss(
    folder: Path, index: Index, ids: NDArray[np.int64], segments: Sequence[dict[str, Any]]
) -> str:
    """Write index.faiss; what FAISS calls it."""
    vectors = folder / "vectors.faiss"
    FlatIndex.write(vectors, (index.vectors(block.tolist()) for block in _blocks(ids)), index.dim, unit=True)
    structure = effort = None
    # Rows of a segment ascend by id as those written here do.
    if len(segments) == 1 and segments[0]["count"] == len(ids) and segments[0]["effort"]:
        structure = index.path / f"search-{segments[0]['number']}.faiss"
        effort = Effort(**segments[0]["effort"])
    called = write_exported(folder / "index.faiss", ids, vectors, structure, effort)
    vectors.unlink()
    return called
