"""Threads and processes search while one changes the index: right pairings, each answer of one generation."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sslkit.neighbours.picker import Wanted
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.filters import Where
from tests.retrieval.named_vectors import HASH, embeddings, unit_of, vector_of

STABLE = [f"stable{number}" for number in range(40)]
MOVING = [f"moving{number}" for number in range(8)]
EXACT = Wanted(kind="flat")


def look(index: Index, round: int) -> None:
    """Every answer pairs name, vector and version; the moving ones are all of one version or all gone."""
    names = [STABLE[round % 40], STABLE[(round * 7) % 40]]
    where = [None, Where(path="stable*"), Where("version < 0 OR path LIKE 'stable%'")][round % 3]
    queries = np.stack([vector_of(name) for name in names])
    for name, hits in zip(names, index.search(queries, 60, model_hash=HASH, where=where), strict=True):
        assert hits[0].name == name
        assert hits[0].similarity == pytest.approx(1, abs=1e-5)
        unit = unit_of(name)
        for hit in hits:
            assert hit.similarity == pytest.approx(
                float(unit @ unit_of(hit.name, hit.metadata["version"])), abs=1e-5
            )
        versions = {hit.metadata["version"] for hit in hits if hit.name.startswith("moving")}
        count = sum(hit.name.startswith("moving") for hit in hits)
        assert (len(versions), count) in {(0, 0), (1, len(MOVING))}, "an answer mixes generations"
        assert sum(hit.name.startswith("stable") for hit in hits) == len(STABLE)
    ids, _ = index.nearest(queries, 60, model_hash=HASH)
    assert ((ids >= 0).sum(axis=1) % len(MOVING) == len(STABLE) % len(MOVING)).all()
    if round % 5 == 0:
        index.verify()


def change(index: Index, version: int) -> None:
    """One round of changes: in, updated, out, and now and then compacted."""

    def put(version: int, *, update: bool) -> list[int]:
        metadata = {name: {"version": version} for name in MOVING}
        return index.add(embeddings(MOVING, version), update=update, metadata=metadata).tolist()

    ids = put(version, update=False)
    put(version + 1, update=True)
    if version % 3 == 0:
        index.compact()
    index.remove(ids)


def read_until(path: Path, stop: Callable[[], bool], done: Callable[[int], None]) -> None:
    round = 0
    with Index.load(path) as index:
        while not stop():
            look(index, round)
            round += 1
            done(round)


def in_process(path: Path, stop: object, rounds: object) -> None:
    """Module level: a started process imports it."""
    read_until(path, stop.is_set, lambda round: setattr(rounds, "value", round))  # type: ignore[attr-defined]


def test_readers_see_whole_generations_while_one_writes(tmp_path: Path) -> None:
    path = tmp_path / "index"
    metadata = {name: {"version": 0} for name in STABLE}
    shared = Index.build(embeddings(STABLE), path, wanted=EXACT, metadata=metadata)
    context = multiprocessing.get_context("fork")
    stop, errors = context.Event(), list[BaseException]()
    counts = [context.Value("i", 0) for _ in range(2)]
    processes = [context.Process(target=in_process, args=(path, stop, count)) for count in counts]
    for process in processes:
        process.start()
    rounds = [0] * 4

    def in_thread(number: int) -> None:
        try:
            while not stop.is_set():
                look(shared, rounds[number])
                rounds[number] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=in_thread, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    version, until = 0, time.monotonic() + 30

    def more() -> bool:
        alive = all(process.is_alive() for process in processes)
        few = version < 12 or min(*rounds, *(count.value for count in counts)) < 6
        return few and alive and not errors and time.monotonic() < until

    try:
        while more():
            change(shared, version * 10)
            version += 1
    finally:
        stop.set()
        for one in (*threads, *processes):
            one.join(20)
    assert errors == []
    assert [process.exitcode for process in processes] == [0, 0]
    assert version >= 12
    assert min(*rounds, *(count.value for count in counts)) >= 6
    shared.verify()
    shared.close()


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    index = Index.build(embeddings(STABLE), tmp_path / "index", wanted=EXACT)
    threads = [
        threading.Thread(target=lambda at=at: index.add(embeddings([f"w{at}.{n}" for n in range(3)])))
        for at in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index.verify()
    assert len(index) == len(STABLE) + 18
    assert index.generation == 7
    assert index.ids().tolist() == list(range(58))
    index.close()
