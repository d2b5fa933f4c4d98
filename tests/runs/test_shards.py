"""Two real processes build one index: the files of one process, and an error reaches both."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sslkit.errors import RunError
from sslkit.neighbours.picker import Wanted
from sslkit.retrieval.artifact import Index
from sslkit.runs.index import build_index
from sslkit.runs.shards import led

BUILDING = """
import sys
from sslkit.errors import SslkitError
from sslkit.neighbours import sharded
from sslkit.neighbours.picker import Wanted
from sslkit.runs import shards
from sslkit.runs.index import build_index
sharded.SPREAD_ROWS = 1000
filled, fails = [], False
fill_shard = shards.fill_shard
def counted(folder, vectors, shard, of):
    if fails and shard == 1:
        raise SslkitError("the disk of shard 1 is full")
    filled.append(shard)
    fill_shard(folder, vectors, shard, of)
shards.fill_shard = counted
build_index(sys.argv[1], None, sys.argv[2], wanted=Wanted("ivf_sq8"), progress=False)
print("filled", filled)
fails = True
try:
    build_index(sys.argv[1], None, sys.argv[2] + "-full", wanted=Wanted("ivf_sq8"), progress=False)
except SslkitError as error:
    print("error:", error)
"""


def two(*arguments: object) -> list[str]:
    """What both processes print."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDING, *map(str, arguments)],
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    return [out.strip() for out, _ in ended]


def test_two_processes_build_what_one_does_and_an_error_of_one_ends_both(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    full = "error: the disk of shard 1 is full"
    assert two(tmp_path / "vectors.npy", tmp_path / "two") == [f"filled [0]\n{full}", f"filled [1]\n{full}"]
    build_index(tmp_path / "vectors.npy", None, tmp_path / "one", wanted=Wanted("ivf_sq8"), progress=False)
    for name in ("vectors-1.faiss", "ids-1.npy", "search-1.faiss"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    with Index.load(tmp_path / "two") as index:
        index.verify()
    assert {path.name for path in tmp_path.iterdir()} == {"vectors.npy", "two", "one"}


def test_one_process_alone_just_works() -> None:
    done = []
    led(lambda filled: done.append(filled))
    assert len(done) == 1

    def failing(_: object) -> None:
        raise RunError("no")

    with pytest.raises(RunError, match=r"^no$"):
        led(failing)
