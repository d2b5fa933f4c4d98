"""Kill a process that changes an index, hundreds of times, and look at what is left each time.

The writer adds, updates, removes and compacts at random and notes each change after the call has returned. It
is killed by SIGKILL at a random instant; another process then opens the index, verifies every byte and
compares it with the notes: each acknowledged item must be there with the vector that follows from its name,
and of the one change that was not acknowledged either all or nothing.

    python tools/kill_index.py --kills 300
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sslkit.neighbours.picker import Wanted
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import EmbeddingSet

DIM, HASH = 16, "killed"
Held = dict[int, tuple[str, int]]
"""Name and version of each item by id."""


def vector_of(name: str, version: int) -> Any:
    """The vector that belongs to a name and a version."""
    seed = zlib.crc32(f"{name}/{version}".encode())
    return np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)


def made(names: list[str], version: int) -> EmbeddingSet:
    """Their embedding set."""
    vectors = np.stack([vector_of(name, version) for name in names])
    ids = np.arange(len(names))
    return EmbeddingSet(vectors, ids, names, np.full(len(names), -1), HASH, address="set")


def metadata_of(names: list[str], version: int) -> dict[str, dict[str, int]]:
    """Each item says its version."""
    return {name: {"version": version} for name in names}


def write(folder: Path, log: Path, seed: int, held: Held, serial: int) -> None:
    """Change the index until killed; every line of the log is a change: intended, then done."""
    draw = random.Random(seed)
    index = Index.load(folder)
    note = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def said(**values: Any) -> None:
        os.write(note, (json.dumps(values) + "\n").encode())

    while True:
        kind = draw.choices(["add", "update", "remove", "compact"], [5, 2, 3, 1])[0]
        serial += 1
        if kind in ("add", "update"):
            names = [f"n{serial}.{at}" for at in range(draw.randint(1, 12))]
            if kind == "update" and held:
                names += sorted({held[id][0] for id in draw.sample(sorted(held), min(len(held), 4))})
            said(begun=kind, serial=serial, names=names)
            given = metadata_of(names, serial)
            ids = index.add(made(names, serial), update=kind == "update", metadata=given).tolist()
            held.update({id: (name, serial) for id, name in zip(ids, names, strict=True)})
            said(done=kind, ids=ids)
        elif kind == "remove" and held:
            ids = draw.sample(sorted(held), draw.randint(1, min(len(held), 15)))
            said(begun=kind, serial=serial, ids=ids)
            index.remove(ids)
            for id in ids:
                del held[id]
            said(done=kind)
        elif kind == "compact":
            said(begun=kind, serial=serial)
            index.compact()
            said(done=kind)


def replayed(log: Path, held: Held) -> tuple[Held, dict[str, Any] | None, int, int]:
    """What the log acknowledges, the change that it does not, the last serial number and the changes done."""
    begun: dict[str, Any] | None = None
    serial, changes = 0, 0
    for line in log.read_text().splitlines():
        said = json.loads(line)
        if "begun" in said:
            begun, serial = said, said["serial"]
            continue
        assert begun is not None
        if begun["begun"] in ("add", "update"):
            held |= {id: (name, serial) for id, name in zip(said["ids"], begun["names"], strict=True)}
        for id in begun.get("ids", ()):
            del held[id]
        begun, changes = None, changes + 1
    return held, begun, serial, changes


def check(folder: Path, held: Held, begun: dict[str, Any] | None) -> tuple[Held, str]:
    """Open, verify and compare; what is there now, and whether the last change was made."""
    with Index.load(folder) as index:
        index.verify()
        ids = index.ids().tolist()
        found = {item.id: (item.name, int(item.metadata.get("version", 0))) for item in index.items(ids)}
        for id, vector in zip(ids, index.vectors(ids), strict=True):
            wanted = vector_of(*found[id])
            assert np.allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-6), (
                f"item {id} has another's vector"
            )
        for id in ids[:: max(len(ids) // 5, 1)]:
            best = index.search(vector_of(*found[id])[None], 1, model_hash=HASH)[0][0]
            assert (best.id, best.name) == (id, found[id][0]), f"item {id} is not found by its vector"
        generation = index.generation
    if found == held:
        return found, "undone" if begun else "nothing open"
    assert begun is not None, f"the index holds {len(found)} items, {len(held)} were acknowledged"
    after = dict(held)
    if begun["begun"] == "remove":
        for id in begun["ids"]:
            del after[id]
    else:
        known = {name: id for id, (name, _) in held.items()}
        fresh = sorted(set(found) - set(held))
        expected = [name for name in begun["names"] if name not in known]
        assert len(fresh) == len(expected), f"{len(fresh)} of {len(expected)} items of one change are there"
        assert not fresh or fresh[0] > max(held, default=-1), "an id was given again"
        new = {name: id for id, name in zip(fresh, expected, strict=True)}
        after |= {(known | new)[name]: (name, begun["serial"]) for name in begun["names"]}
    assert found == after, f"a change is half made in generation {generation}: {begun}"
    return found, "made"


def look(folder: Path, held: Held, begun: dict[str, Any] | None, result: Path) -> None:
    """Check, and write down what was found."""
    found, state = check(folder, held, begun)
    result.write_text(json.dumps({"held": list(found.items()), "state": state}))


def forked(work: Callable[[], object]) -> int:
    """Run in a process of its own, which inherits what is imported."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def kill_often(folder: Path, kills: int, *, seed: int = 0, longest: float = 0.4) -> Counter[str]:
    """Kill a writer of a new index so many times; what happened, counted. AssertionError for any loss."""
    names = [f"first{number}" for number in range(40)]
    log, result = folder.with_suffix(".log"), folder.with_suffix(".json")
    exact = Wanted(
        kind="flat"
    )  # what a kill can hit are the files and the database, not the choice of search
    Index.build(made(names, 0), folder, wanted=exact, metadata=metadata_of(names, 0)).close()
    held: Held = {id: (name, 0) for id, name in enumerate(names)}
    draw, counted, serial = random.Random(seed), Counter[str](), 0
    while counted["kills"] < kills:
        log.write_text("")
        number = counted["kills"]
        writer = forked(partial(write, folder, log, seed * 1_000_003 + number, dict(held), serial))
        time.sleep(draw.uniform(0.0, longest))
        os.kill(writer, signal.SIGKILL)
        _, status = os.waitpid(writer, 0)
        assert os.WIFSIGNALED(status), "the writer failed before it was killed"
        counted["hot journals"] += (folder / "items.sqlite-journal").exists()
        counted["left over"] += len(list(folder.glob("*"))) > 2 + len(_named(folder))
        held, begun, last, changes = replayed(log, held)
        serial = max(serial, last)
        _, status = os.waitpid(forked(partial(look, folder, held, begun, result)), 0)
        assert status == 0, f"after kill {number + 1} the index is not what was acknowledged; see above"
        read = json.loads(result.read_text())
        held = {id: (name, version) for id, (name, version) in read["held"]}
        counted.update(
            {"kills": 1, "changes": changes, read["state"]: 1, f"during {(begun or {}).get('begun')}": 1}
        )
    counted["items at the end"] = len(held)
    return counted


def _named(folder: Path) -> set[str]:
    try:
        described = json.loads((folder / "index.json").read_text())
    except (OSError, ValueError):
        return set()
    return {name for segment in described["segments"] for name in segment["files"]}


def main() -> None:
    """Kill, look, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=0.4, help="seconds a writer lives at most")
    given = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        counted = kill_often(Path(folder) / "index", given.kills, seed=given.seed, longest=given.longest)
    for name, count in counted.items():
        print(f"{count:7d}  {name}")
    seconds = time.perf_counter() - began
    print(f"{seconds:7.1f}  seconds; nothing was lost, nothing half made, no vector of another")


if __name__ == "__main__":
    main()
