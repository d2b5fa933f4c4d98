"""Recall and time of our structures beside hnswlib's and usearch's graphs: the same vectors, one thread.

Each library is searched at rising efforts; what counts is the time at which it reaches a recall, read off the
line between its two nearest measurements. Rounds of all libraries alternate, and the least of a library's
times counts: what else the machine does only adds.
"""

from __future__ import annotations

import argparse
import importlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from index_vectors import written
from numpy.typing import NDArray

from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.structure import Structure, planned

K = 10
QUERIES = 1000
ROUNDS = 5
RECALLS = (0.9, 0.95, 0.99)
EFS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
LINKS = 32
"""Of a vector, twice as many on the lowest level: what FAISS, hnswlib and usearch then keep is the same."""

Search = Callable[[NDArray[np.float32]], NDArray[np.int64]]


@dataclass
class Peer:
    """A built index: its efforts by name, each a search that returns rows (Q, k)."""

    name: str
    ours: bool
    efforts: dict[str, Search]
    build_s: float
    bytes_a_vector: float
    recalls: dict[str, float] = field(default_factory=dict)
    batch_ms: dict[str, float] = field(default_factory=dict)
    one_ms: dict[str, float] = field(default_factory=dict)

    def milliseconds(self, recall: float, times: dict[str, float]) -> float | None:
        """Of a query at a recall, None where it is not reached; by the line of those worth their time."""
        best: list[tuple[float, float]] = []
        for effort in sorted(self.efforts, key=lambda one: times[one]):
            if not best or self.recalls[effort] > best[-1][0]:
                best.append((self.recalls[effort], times[effort]))
        found = [share for share, _ in best]
        if found[-1] < recall:
            return None
        return float(np.exp(np.interp(recall, found, np.log([spent for _, spent in best]))))


def peers(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Milliseconds at each recall, and ours over the best of the others."""
    whole = written(given, folder / "all.faiss")
    faiss.omp_set_num_threads(1)
    held = np.linspace(0, len(whole) - 1, QUERIES).astype(np.int64)
    kept = np.setdiff1d(np.arange(len(whole)), held)
    queries, vectors = whole.rows(held), FlatIndex.build(whole.rows(kept))
    truth = vectors.search(queries, K)[0]
    built = [_ours(kind, vectors) for kind in given.kinds] + _others(np.array(vectors.view()))
    for _ in range(ROUNDS):
        for peer in built:
            _measure(peer, queries, truth)
    lines = [_line(peer) for peer in built]
    for line in lines:
        print(
            f"{line['name']:20} {line['bytes_a_vector']:5.0f} bytes each, built in {line['build_s']:.1f} s;",
            "  ".join(
                f"{recall}: {_shown(line[f'one_ms_{recall}'])} ms, batch {_shown(line[f'batch_ms_{recall}'])}"
                for recall in RECALLS
            ),
        )
    found = {
        f"{times}_{recall}": _ratio(lines, f"{times}_{recall}")
        for times in ("one_ms", "batch_ms")
        for recall in RECALLS
    }
    print("ours over the best of the others:", found)
    return {"count": len(vectors), "dim": vectors.dim, "ours_over_best": found, "peers": lines}


def _ours(kind: Any, vectors: FlatIndex) -> Peer:
    began = time.perf_counter()
    structure = Structure.train(planned(kind, len(vectors), vectors.dim), vectors)
    structure.add(vectors, 0, len(vectors))
    seconds = time.perf_counter() - began
    efforts: dict[str, Search] = {
        str(effort): lambda some, effort=effort: structure.search(some, K, effort=effort)[0]
        for effort in structure.efforts()
    }
    each = structure.nbytes / len(vectors) + 4 * vectors.dim
    return Peer(structure.factory, True, efforts, seconds, each)


def _others(vectors: NDArray[np.float32]) -> list[Peer]:
    """The libraries that are installed."""
    found = []
    for make in (_hnswlib, _usearch):
        try:
            found += make(vectors)
        except ImportError as error:
            print(f"{error.name} is not installed (extra `bench`); going on without it")
    return found


def _hnswlib(vectors: NDArray[np.float32]) -> list[Peer]:
    library: Any = importlib.import_module("hnswlib")
    count, dim = vectors.shape
    index = library.Index(space="ip", dim=dim)
    index.init_index(max_elements=count, M=LINKS, ef_construction=200)
    index.set_num_threads(1)
    began = time.perf_counter()
    index.add_items(vectors, np.arange(count))

    def search(some: NDArray[np.float32], ef: int) -> NDArray[np.int64]:
        index.set_ef(ef)
        rows: NDArray[np.int64] = index.knn_query(some, k=K, num_threads=1)[0]
        return rows

    efforts: dict[str, Search] = {f"ef {ef}": lambda some, ef=ef: search(some, ef) for ef in EFS}
    seconds = time.perf_counter() - began
    return [Peer("hnswlib", False, efforts, seconds, index.index_file_size() / count)]


def _usearch(vectors: NDArray[np.float32]) -> list[Peer]:
    library: Any = importlib.import_module("usearch.index")

    def peer(dtype: str) -> Peer:
        index = library.Index(ndim=vectors.shape[1], metric="ip", dtype=dtype, connectivity=LINKS)
        began = time.perf_counter()
        index.add(np.arange(len(vectors)), vectors, threads=1)
        seconds = time.perf_counter() - began

        def search(some: NDArray[np.float32], ef: int) -> NDArray[np.int64]:
            index.expansion_search = ef
            rows = index.search(some, K, threads=1).keys
            return np.asarray(rows, dtype=np.int64).reshape(len(some), -1)

        efforts: dict[str, Search] = {f"ef {ef}": lambda some, ef=ef: search(some, ef) for ef in EFS}
        return Peer(f"usearch {dtype}", False, efforts, seconds, index.serialized_length / len(vectors))

    return [peer("f32"), peer("i8")]


def _measure(peer: Peer, queries: NDArray[np.float32], truth: NDArray[np.int64]) -> None:
    """One round; the least time so far is kept."""
    for name, search in peer.efforts.items():
        began = time.perf_counter()
        found = search(queries)
        batch = 1e3 * (time.perf_counter() - began) / len(queries)
        if name not in peer.recalls:
            hits = [len(np.intersect1d(a, b)) / K for a, b in zip(found, truth, strict=True)]
            peer.recalls[name] = float(np.mean(hits))
        ones = []
        for at in range(0, len(queries), 10):
            began = time.perf_counter()
            search(queries[at : at + 1])
            ones.append(1e3 * (time.perf_counter() - began))
        peer.batch_ms[name] = min(batch, peer.batch_ms.get(name, math.inf))
        peer.one_ms[name] = min(float(np.median(ones)), peer.one_ms.get(name, math.inf))


def _line(peer: Peer) -> dict[str, Any]:
    return {
        "name": peer.name,
        "ours": peer.ours,
        "build_s": peer.build_s,
        "bytes_a_vector": peer.bytes_a_vector,
        **{f"one_ms_{recall}": peer.milliseconds(recall, peer.one_ms) for recall in RECALLS},
        **{f"batch_ms_{recall}": peer.milliseconds(recall, peer.batch_ms) for recall in RECALLS},
    }


def _ratio(lines: list[dict[str, Any]], name: str) -> float | None:
    ours, others = (
        [line[name] for line in lines if line["ours"] is side and line[name] is not None]
        for side in (True, False)
    )
    return min(ours) / min(others) if ours and others else None


def _shown(value: float | None) -> str:
    return "  -  " if value is None else f"{value:.3f}"
