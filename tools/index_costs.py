"""What each vector costs a structure, measured, and what ten and a hundred millions of them will."""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from index_vectors import written
from numpy.typing import NDArray

from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.structure import Structure, planned
from sslkit.neighbours.trials import HeldOut, Trial

K = 10
TIMES = (10_000_000, 100_000_000)
QUERIES = 500


def scale(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Costs at two sizes, the second four times the first, and what they say of 10 and 100 million.

    Training is the product of the lists and the vectors it looks at, 64 for each list, so it grows with the
    square of the lists; adding compares a vector with the lists; a search compares the query with the lists
    and scans those probed, both as many as the root of the rows. A graph is walked in about the logarithm of
    the rows. The smaller size shows how far that holds. Times are of the processor, all threads together,
    which what else the machine does hardly changes.
    """
    vectors = written(given, folder / "all.faiss")
    small = FlatIndex.build(np.array(vectors.view()[: len(vectors) // 4]))
    lines = []
    for kind in given.kinds:
        pair = [_costs(kind, some, given.recall) for some in (small, vectors)]
        lines.append(
            {
                "kind": kind,
                "measured": pair,
                "planned": [_planned(kind, pair[1], n, vectors.dim) for n in TIMES],
            }
        )
        for line in (*pair, *lines[-1]["planned"]):
            print(
                f"{line['count']:>11,} {line['factory']:28} {line['bytes_a_vector']:5.0f} bytes a vector "
                f"{line['gib']:7.2f} GiB, train {line['train_s']:7.0f} s, add {line['add_us']:6.1f} us each "
                f"{line['add_s']:7.0f} s, one query {line['one_ms']:.2f} ms at recall {line['recall']:.3f}"
            )
    exam = HeldOut(vectors, vectors.rows(np.arange(QUERIES)), K)
    exact = 1e6 * _processor_ms(exam, lambda some: vectors.search(some, K)) / len(vectors)
    print(f"exact: {exact:.2f} ms a million vectors and query")
    return {"dim": vectors.dim, "exact_ms_a_million": exact, "kinds": lines}


def _costs(kind: Any, vectors: FlatIndex, recall: float) -> dict[str, Any]:
    count = len(vectors)
    held = np.linspace(0, count - 1, QUERIES).astype(np.int64)
    plan = planned(kind, count, vectors.dim)
    began = time.process_time()
    structure = Structure.train(plan, vectors, excluded=held)
    trained = time.process_time()
    structure.add(vectors, 0, count)
    added = time.process_time()
    exam = HeldOut(vectors, vectors.rows(held), K, held)
    trial = _reaching(exam, structure, recall)
    effort = trial.effort
    assert effort is not None
    return {
        "count": count,
        "factory": plan.factory,
        "lists": plan.lists,
        "bytes_a_vector": structure.nbytes / count,
        "gib": structure.nbytes / 2**30,
        "train_s": trained - began,
        "add_us": 1e6 * (added - trained) / count,
        "add_s": added - trained,
        "one_ms": _processor_ms(exam, lambda some: structure.search(some, K, effort=effort)),
        "recall": trial.recall,
        "effort": str(trial.effort),
    }


def _reaching(exam: HeldOut, structure: Structure, recall: float) -> Trial:
    trials = []
    for effort in structure.efforts():
        trials.append(exam.trial(structure, effort, 0.0))
        if trials[-1].recall >= recall:
            return trials[-1]
    return max(trials, key=lambda trial: trial.recall)


def _processor_ms(exam: HeldOut, search: Callable[[NDArray[np.float32]], Any]) -> float:
    """Of one query by itself, median."""
    times = []
    for at in range(QUERIES // 5):
        began = time.process_time()
        search(exam.queries[at : at + 1])
        times.append(time.process_time() - began)
    return 1e3 * statistics.median(times[5:])


def _planned(kind: Any, large: dict[str, Any], count: int, dim: int) -> dict[str, Any]:
    """From what was measured, by how the work is known to grow."""
    plan = planned(kind, count, dim)
    grown = count / large["count"]
    lists = plan.lists / large["lists"] if large["lists"] else 1.0
    deeper = math.log(count) / math.log(large["count"])
    add = large["add_us"] * (deeper if kind == "hnsw" else lists)
    return {
        "count": count,
        "factory": plan.factory,
        "bytes_a_vector": large["bytes_a_vector"],
        "gib": large["bytes_a_vector"] * count / 2**30,
        "train_s": large["train_s"] * lists**2,
        "add_us": add,
        "add_s": add * count / 1e6,
        "one_ms": large["one_ms"] * (deeper if kind == "hnsw" else math.sqrt(grown)),
        "recall": large["recall"],
    }
