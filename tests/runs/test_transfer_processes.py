"""No process of a matrix outlives the first one, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sslkit.contracts import Measurement
from sslkit.evaluation.rows import Row
from sslkit.runs.transfer_bench import Bench, Job, measure_all


class Sleeper(Bench):
    """Tells its process and works for longer than any test."""

    def row(self, job: Job) -> Row:
        (self.out / str(os.getpid())).touch()
        time.sleep(600)
        return Row(job.task, job.subject, job.seed)


def work(folder: Path) -> None:
    """Two processes at work in the folder, until this one is ended."""
    tasks = dict.fromkeys(("a", "b"), Measurement("knn", "nowhere"))
    list(measure_all(Sleeper(folder, tasks, [], 0), [Job(task, "run", 0) for task in tasks], processes=2))


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for nobody does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def until(done: object, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_first(tmp_path: Path, number: signal.Signals) -> None:
    script = f"from pathlib import Path; from {__name__} import work; work(Path({str(tmp_path)!r}))"
    first = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(list(tmp_path.iterdir())) == 2)
        workers = [int(path.name) for path in tmp_path.iterdir()]
        assert all(alive(pid) for pid in workers)
        first.send_signal(number)
        first.wait(60)
        until(lambda: not any(alive(pid) for pid in workers), 30)
    finally:
        first.kill()
