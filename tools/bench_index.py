"""What an index costs over FAISS, how it opens, finds and is built, and its peers; ratios of one run.

    python tools/bench_index.py search     # FlatIndex, Structure and Index over the FAISS calls below them
    python tools/bench_index.py open       # a saved index in a fresh process: time and memory, a search
    python tools/bench_index.py exact      # recall@10 and speed beside exact search, as the picker chooses
    python tools/bench_index.py peers      # recall and time beside hnswlib and usearch at equal memory
    python tools/bench_index.py build      # a structure in a fresh process: time, peak memory
    python tools/bench_index.py scale      # what a vector costs, and 10 and 100 million of them

Vectors come from --vectors FILE.npy or are made up (index_vectors.py). Each command prints lines for reading
and one line of JSON. OMP_NUM_THREADS sets the threads; `peers` always measures with one. Interleaved repeats
and medians keep what else the machine does out of ratios, but not out of seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import faiss
import numpy as np
from index_costs import scale
from index_peers import peers
from index_vectors import add_options, written
from numpy.typing import NDArray

from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.picker import KINDS, Wanted, pick
from sslkit.neighbours.searching import search_numpy
from sslkit.neighbours.structure import Structure, planned
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.retrieval.tradeoff import picture, table

K = 10
REPEATS = 15  # of a batch; single queries are repeated ten times as often
MODEL = "made-up"


def main() -> None:
    """Run one command and print what it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, count) in COMMANDS.items():
        one = commands.add_parser(name)
        add_options(one, count)
        one.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
        one.add_argument("--recall", type=float, default=0.99, help="that the picker is asked for")
        one.add_argument("--picture", type=Path, help="where `exact` draws the trade-off")
        one.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = COMMANDS[given.command][0](given, Path(folder))
    result = {"command": given.command, "threads": faiss.omp_get_max_threads(), **found}
    print(json.dumps(result, allow_nan=False))


def search(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time of a search over that of the FAISS calls within it, for batches and for one query."""
    vectors = written(given, folder / "vectors.faiss")
    queries = vectors.rows(np.arange(0, len(vectors), max(len(vectors) // 1000, 1))[:1000])
    found = {"flat": _overhead(lambda some: vectors.search(some, K), queries)}
    for kind in given.kinds:
        structure, _ = _built(kind, vectors)
        effort = structure.efforts()[len(structure.efforts()) // 2]
        found[kind] = _overhead(lambda some: structure.search(some, K, effort=effort), queries)  # noqa: B023
    with Index.build(_embeddings(vectors), folder / "index", wanted=Wanted(recall=given.recall)) as index:
        name = f"index of {index.passport['search']['factory']}"
        found[f"{name}, nearest"] = _overhead(lambda some: index.nearest(some, K, model_hash=MODEL), queries)
        found[f"{name}, search"] = _overhead(lambda some: index.search(some, K, model_hash=MODEL), queries)
    for name, figures in found.items():
        print(
            f"{name:40} batch of 1000: {figures['batch_ms']:8.2f} ms, {figures['batch_over_faiss']:.3f} of "
            f"FAISS's; one query: {figures['one_ms']:.3f} ms, {figures['one_beyond_faiss_ms']:.3f} beyond it"
        )
    return {"count": len(vectors), "dim": vectors.dim, "searches": found}


def _overhead(run: Callable[[NDArray[np.float32]], Any], queries: NDArray[np.float32]) -> dict[str, float]:
    """Medians over repeats, each timed as a whole and within FAISS."""
    for _ in range(2):
        run(queries)
    batch = [_timed(run, queries) for _ in range(REPEATS)]
    ones = [_timed(run, queries[at : at + 1]) for at in range(10 * REPEATS)]
    return {
        "batch_ms": 1e3 * statistics.median(total for total, _ in batch),
        "batch_over_faiss": statistics.median(total / within for total, within in batch),
        "one_ms": 1e3 * statistics.median(total for total, _ in ones),
        "one_beyond_faiss_ms": 1e3 * statistics.median(total - within for total, within in ones),
    }


def _timed(run: Callable[[NDArray[np.float32]], Any], queries: NDArray[np.float32]) -> tuple[float, float]:
    with _faiss_watched() as within:
        began = time.perf_counter()
        run(queries)
        total = time.perf_counter() - began
    return total, sum(within)


@contextmanager
def _faiss_watched() -> Iterator[list[float]]:
    """The seconds of every FAISS call of a search."""
    spent: list[float] = []

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = call(*given, **options)
            spent.append(time.perf_counter() - began)
            return result

        return timed

    def found(index: Any) -> Callable[..., Any]:
        return watched(search_numpy(index))

    rooms = [room for name, room in sys.modules.items() if name.startswith("sslkit.neighbours.")]
    with ExitStack() as stack:
        for room in rooms:
            if hasattr(room, "search_numpy"):
                stack.enter_context(mock.patch.object(room, "search_numpy", found))
        for name in ("knn", "knn_inner_products_by_idx"):
            stack.enter_context(mock.patch.object(faiss, name, watched(getattr(faiss, name))))
        yield spent


def open_(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time and resident memory of opening a saved index, and its first search, in fresh processes."""
    if given.child:
        return _opened(Path(given.child))
    vectors = written(given, folder / "vectors.faiss")
    found = {}
    for kind in ("flat", *given.kinds):
        out = folder / kind
        with Index.build(_embeddings(vectors), out, wanted=Wanted(kind=kind, recall=given.recall)) as index:
            factory = index.passport["search"]["factory"]
        fresh = [_in_fresh_process("open", "--child", str(out)) for _ in range(5)]
        found[kind] = {name: statistics.median(one[name] for one in fresh) for name in fresh[0]}
        print(f"{factory:24}", ", ".join(f"{name} {value:.2f}" for name, value in found[kind].items()))
        _remove(out)
    return {"count": len(vectors), "dim": vectors.dim, "opened": found}


def _opened(path: Path) -> dict[str, Any]:
    import sqlite3  # read before the clock starts, as numpy and FAISS are

    sqlite3.connect(":memory:").close()
    before, began = _resident(), time.perf_counter()
    index = Index.load(path)
    opened, memory = time.perf_counter() - began, _resident() - before
    query = np.ones((1, index.dim), dtype=np.float32)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        index.search(query, K, model_hash=index.model_hash)
        times.append(1e3 * (time.perf_counter() - began))
    return {
        "open_ms": 1e3 * opened,
        "open_mib": memory,
        "first_search_ms": times[0],
        "later_search_ms": statistics.median(times[1:]),
        "searched_mib": _resident() - before,
    }


def exact(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What the picker chooses, beside exact search over the same vectors."""
    vectors = written(given, folder / "vectors.faiss")
    picked = pick(vectors, Wanted(recall=given.recall, k=K), progress=print)
    print(table(picked.trials, K))
    if given.picture is not None:
        given.picture.write_bytes(picture(picked.trials, K, given.recall))
    flat, chosen = picked.trials[0], picked.chosen
    return {
        "count": len(vectors),
        "dim": vectors.dim,
        "recall": [chosen.low, chosen.recall, chosen.high],
        "factory": chosen.factory,
        "times_as_quick": flat.milliseconds / chosen.milliseconds,
        "times_as_quick_in_batches": flat.batch_milliseconds / chosen.batch_milliseconds,
        "note": picked.note,
    }


def build(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of building and saving a structure over a mapped file, in fresh processes."""
    if given.child:
        return _built_alone(given.kinds[0], Path(given.child))
    vectors = written(given, folder / "vectors.faiss")
    found = {}
    for kind in given.kinds:
        found[kind] = _in_fresh_process("build", "--child", str(folder / "vectors.faiss"), "--kinds", kind)
        print(f"{kind:14}", ", ".join(f"{name} {value:.2f}" for name, value in found[kind].items()))
    return {"count": len(vectors), "dim": vectors.dim, "built": found}


def _built_alone(kind: Any, path: Path) -> dict[str, Any]:
    loaded = _resident()
    vectors = FlatIndex.open(path, mapped=True)
    structure, seconds = _built(kind, vectors)
    began = time.perf_counter()
    structure.save(path.with_name(kind))
    return {
        **seconds,
        "save_s": time.perf_counter() - began,
        "peak_mib": _peak(),
        "libraries_mib": loaded,
        "saved_mib": path.with_name(kind).stat().st_size / 2**20,
        "bytes_a_vector": structure.nbytes / len(vectors),
    }


def _peak() -> float:
    """Most resident MiB of this process; ru_maxrss would begin with that of the process that started it."""
    told = Path("/proc/self/status").read_text("ascii")
    return next(int(line.split()[1]) for line in told.splitlines() if line.startswith("VmHWM:")) / 2**10


def _built(kind: Any, vectors: FlatIndex) -> tuple[Structure, dict[str, float]]:
    began = time.perf_counter()
    structure = Structure.train(planned(kind, len(vectors), vectors.dim), vectors)
    trained = time.perf_counter()
    structure.add(vectors, 0, len(vectors))
    return structure, {"train_s": trained - began, "add_s": time.perf_counter() - trained}


def _embeddings(vectors: FlatIndex) -> EmbeddingSet:
    count = len(vectors)
    names = [f"folder/{row:07}.jpg" for row in range(count)]
    labels = np.arange(count, dtype=np.int64) % 10
    return EmbeddingSet(
        vectors.view(), np.arange(count), names, labels, MODEL, [f"class {number}" for number in range(10)]
    )


def _in_fresh_process(*options: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, *options], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {name: value for name, value in found.items() if name not in ("command", "threads")}


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace, Path], dict[str, Any]], int]] = {
    "search": (search, 200_000),
    "open": (open_, 1_000_000),
    "exact": (exact, 200_000),
    "peers": (peers, 100_000),
    "build": (build, 1_000_000),
    "scale": (scale, 400_000),
}

if __name__ == "__main__":
    main()
