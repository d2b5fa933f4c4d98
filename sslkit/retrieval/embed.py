"""Embeddings of a data set on disk: the EMB folder.

embeddings.npy   (N, D) float16 or float32, read through memory mapping
items.csv        id, name, label of every row, and start, stop of moments of videos, in seconds
embed.json       which model and preprocessing made them, from which data
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError
from sslkit.retrieval.folder import read_description, write_description, written_aside
from sslkit.version import __version__

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
FILES = ("embeddings.npy", "items.csv", "embed.json")
COLUMNS = ("id", "name", "label", "start", "stop")  # the last two are missing in what older versions wrote
Dtype = Literal["float16", "float32"]
_KEYS = {
    "model_hash": str,
    "dim": int,
    "dtype": str,
    "count": int,
    "classes": list,
    "preprocessing": dict,
    "source_fingerprint": str,
}


class Chunk(Protocol):
    """Rows of an extraction, on the CPU: ids int64 (N,), embeddings (N, D), labels int64 (N,) or -1."""

    @property
    def ids(self) -> Tensor: ...

    @property
    def embeddings(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor: ...


@dataclass(frozen=True)
class EmbeddingSet:
    """Rows of one model's embeddings with their items.

    vectors: (N, D) float16 or float32, possibly memory-mapped; ids: int64 (N,), each once; names: N names;
    labels: int64 (N,), -1 where unknown; classes: the class names; address: of the data, as `open_source`
    takes it; times: float64 (N, 2), seconds at which moments of videos start and stop, NaN for stills.
    Raises ArtifactError when they do not fit together.
    """

    vectors: NDArray[np.floating[Any]]
    ids: NDArray[np.int64]
    names: Sequence[str]
    labels: NDArray[np.int64]
    model_hash: str
    classes: Sequence[str] = ()
    preprocessing: Mapping[str, Any] | None = None
    source_fingerprint: str = ""
    address: str = ""
    times: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        counts = {"vectors": len(self.vectors), "ids": len(self.ids)}
        counts |= {"names": len(self.names), "labels": len(self.labels)}
        if len(set(counts.values())) != 1:
            raise ArtifactError(f"an embedding set needs as many of each, it has {counts}; embed again")
        refuse_repeated(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, rows: Sequence[int]) -> EmbeddingSet:
        """Some rows, in the order given."""
        return replace(
            self,
            vectors=self.vectors[np.asarray(rows, np.int64)],
            ids=self.ids[np.asarray(rows, np.int64)],
            names=[self.names[row] for row in rows],
            labels=self.labels[np.asarray(rows, np.int64)],
            times=None if self.times is None else self.times[np.asarray(rows, np.int64)],
        )


def write_embeddings(
    out: Path,
    chunks: Iterable[Chunk],
    name_of: Callable[[int], str],
    *,
    dtype: Dtype,
    model_hash: str,
    preprocessing: Mapping[str, Any],
    source_fingerprint: str,
    classes: Sequence[str] = (),
    address: str = "",
    times_of: Callable[[int], tuple[float, float] | None] | None = None,
    overwrite: bool = False,
) -> EmbeddingSet:
    """Write chunks of embeddings as they come into a new EMB folder and open it; memory holds one chunk.

    name_of: the name of an id. times_of: where the moment of an id starts and stops, seconds; None for a
    still. preprocessing: how pixels were prepared, in JSON terms. address: of the data. A failure or an
    interruption leaves nothing behind and an old folder as it was.

    Raises:
        ConfigError: `out` exists and `overwrite` is false, or the place cannot be written to.
        ArtifactError: no embedding came, widths differ, an id came twice, or a value is beyond float16.
    """
    with written_aside(out, FILES, overwrite=overwrite) as folder:
        ids = array("q")
        with (
            (folder / "embeddings.npy").open("wb") as matrix,
            (folder / "items.csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as items,
        ):
            rows = csv.writer(items)
            rows.writerow(COLUMNS)
            dim = 0
            for chunk in chunks:
                if len(chunk.ids) == 0:
                    continue
                if not ids:
                    dim = chunk.embeddings.shape[1]
                    _write_header(matrix, 0, dim, dtype)  # numpy leaves room for any number of rows
                if chunk.embeddings.shape[1] != dim:
                    raise ArtifactError(
                        f"embeddings of {chunk.embeddings.shape[1]} dimensions after some of {dim}"
                    )
                matrix.write(as_stored(chunk, dtype).tobytes())
                chunk_ids = chunk.ids.tolist()
                for id, label in zip(chunk_ids, chunk.labels.tolist(), strict=True):
                    times = None if times_of is None else times_of(id)
                    rows.writerow((id, name_of(id), label if label >= 0 else "", *(times or ("", ""))))
                ids.extend(chunk_ids)
            if not ids:
                raise ArtifactError(f"no embedding to write to {out}: the source gave no sample that decodes")
            refuse_repeated(np.frombuffer(ids, np.int64))
            matrix.seek(0)
            _write_header(matrix, len(ids), dim, dtype)
        described = {
            "format": FORMAT,
            "model_hash": model_hash,
            "dim": dim,
            "dtype": dtype,
            "count": len(ids),
            "classes": list(classes),
            "preprocessing": dict(preprocessing),
            "source_fingerprint": source_fingerprint,
            "address": address,
            "sslkit": __version__,
        }
        write_description(folder / "embed.json", described)
    return read_embeddings(out)


def read_embeddings(path: Path) -> EmbeddingSet:
    """Open an EMB folder, its vectors memory-mapped; ArtifactError when it is missing or damaged."""
    described = read_description(path / "embed.json", "embeddings", FORMAT, _KEYS)
    try:
        vectors = np.load(path / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path / 'embeddings.npy'} is missing or damaged: {error}; embed again"
        ) from error
    shape, dtype = (described["count"], described["dim"]), described["dtype"]
    if vectors.shape != shape or str(vectors.dtype) != dtype:
        raise ArtifactError(
            f"{path / 'embeddings.npy'} holds {vectors.dtype} {vectors.shape}; "
            f"embed.json says {dtype} {shape}; embed again"
        )
    ids, names, labels, times = _read_items(path / "items.csv")
    return EmbeddingSet(
        vectors,
        ids,
        names,
        labels,
        described["model_hash"],
        tuple(described["classes"]),
        described["preprocessing"],
        described["source_fingerprint"],
        str(described.get("address", "")),
        times,
    )


def refuse_repeated(ids: NDArray[np.int64]) -> None:
    """Raise ArtifactError naming the ids that occur more than once."""
    if bool((ids[1:] > ids[:-1]).all()):  # as sources give them; sorting millions takes seconds
        return
    unique, counts = np.unique(ids, return_counts=True)
    repeated = unique[counts > 1]
    if len(repeated):
        shown = ", ".join(map(str, repeated[:8])) + (" ..." if len(repeated) > 8 else "")
        raise ArtifactError(
            f"{len(repeated)} ids occur more than once: {shown}; every sample needs an id of its own"
        )


def _write_header(file: BinaryIO, count: int, dim: int, dtype: str) -> None:
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (count, dim)}
    np.lib.format.write_array_header_1_0(file, described)


def as_stored(chunk: Chunk, dtype: Dtype) -> NDArray[np.floating[Any]]:
    """The vectors of a chunk in the type they are written in; ArtifactError for what is not finite in it."""
    with np.errstate(over="ignore"):  # looked for right below
        vectors = chunk.embeddings.numpy().astype(dtype)
    bad = chunk.ids.numpy()[~np.isfinite(vectors).all(axis=1)]
    if len(bad):
        shown = ", ".join(map(str, bad[:8]))
        mend = "; write float32" if dtype == "float16" else ""
        raise ArtifactError(f"embeddings of {len(bad)} samples are not finite as {dtype}: ids {shown}{mend}")
    return vectors


def _read_items(
    path: Path,
) -> tuple[NDArray[np.int64], list[str], NDArray[np.int64], NDArray[np.float64] | None]:
    """Ids, names, labels and times of the rows; no times where there is none at all."""
    ids, names, labels, times = array("q"), list[str](), array("q"), array("d")
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file)
            timed = next(rows)[3:] == list(COLUMNS[3:])
            for row in rows:
                ids.append(int(row[0]))
                names.append(row[1])
                labels.append(int(row[2]) if row[2] else -1)
                times.extend([float(cell or "nan") for cell in (row[3], row[4])] if timed else ())
    except (OSError, ValueError, IndexError, StopIteration, csv.Error) as error:
        raise ArtifactError(f"{path} is missing or damaged: {error}; embed again") from error
    moments = np.array(times, np.float64).reshape(-1, 2)
    return (
        np.array(ids, np.int64),
        names,
        np.array(labels, np.int64),
        None if np.isnan(moments).all() else moments,
    )
