"""Contrastive losses side by side: time and memory of forward and backward on rows of width 128.

Ours is NT-Xent in tiles. The bound is the same loss from one matrix of logits and cross-entropy, what a
straightforward implementation costs; the peers are lightly and pytorch-metric-learning. Every contender has a
process of its own, so that its peak of memory is its own; repetitions take turns, so that a drift of the
machine's speed meets all, and ratios compare medians of one run. A contender is left out where its last size
tells that it would take more than 20 s or 6 GiB. Memory is read from /proc (Linux).

    python tools/bench_losses.py
    python tools/bench_losses.py --sizes 512 4096 --threads 1
"""

from __future__ import annotations

import argparse
import math
import multiprocessing as mp
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH, TEMPERATURE = 128, 0.1
SIZES = [512, 1024, 4096, 8192, 16384, 65536]
MOST_SECONDS, MOST_MIB = 20.0, 6 * 1024
SPENT_ON_A_SIZE = 6.0  # seconds, about, for each contender
OURS, MATRIX, LIGHTLY, METRIC = "sslkit", "one matrix", "lightly", "pytorch-metric-learning"
ALONE = 65536  # from so many rows ours is measured alone

Loss = Callable[[Tensor, Tensor], Tensor]


class Cost(NamedTuple):
    """Seconds of each repetition, MiB above the inputs and in all at the peak."""

    seconds: list[float]
    extra: float
    whole: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def one_matrix(first: Tensor, second: Tensor) -> Tensor:
    """NT-Xent as the cross-entropy of a matrix of all pairs."""
    anchors = F.normalize(torch.cat([first, second]), dim=1)
    logits = anchors @ anchors.T / TEMPERATURE
    logits.fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(len(anchors)).roll(len(first)))


def ours() -> Loss:
    from sslkit.objectives import nt_xent

    return lambda first, second: nt_xent(first, second, temperature=TEMPERATURE)


def lightly() -> Loss:
    from lightly.loss import NTXentLoss

    loss: Loss = NTXentLoss(temperature=TEMPERATURE)
    return loss


def metric_learning() -> Loss:
    from pytorch_metric_learning.losses import NTXentLoss

    loss = NTXentLoss(temperature=TEMPERATURE)
    return lambda first, second: loss(torch.cat([first, second]), torch.arange(len(first)).repeat(2))


CONTENDERS: dict[str, Callable[[], Loss]] = {
    OURS: ours,
    MATRIX: lambda: one_matrix,
    LIGHTLY: lightly,
    METRIC: metric_learning,
}


def main() -> None:
    """Measure all sizes and print a table, then the ratios that are aimed at."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows: twice the samples")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    print(f"forward + backward, float32, rows x {WIDTH}, {given.threads} threads, torch {torch.__version__}")
    print(
        f"{'rows':>6}  {'contender':24}{'median ms':>11}{'fastest':>9}{'n':>4}{'ours is':>9}{'extra MiB':>11}"
    )
    costs: dict[int, dict[str, Cost]] = {}
    for rows in sorted(given.sizes):
        names = [name for name in CONTENDERS if _worth(name, rows, costs)]
        costs[rows] = _measure(names, rows, given.threads)
        for name, cost in costs[rows].items():
            ratio = f"{costs[rows][OURS].median / cost.median:.3f} x"
            print(
                f"{rows:>6}  {name:24}{cost.median * 1e3:>11.1f}{min(cost.seconds) * 1e3:>9.1f}"
                f"{len(cost.seconds):>4}{ratio:>9}{cost.extra:>11.0f}",
                flush=True,
            )
    _print_aims(costs)


def _worth(name: str, rows: int, costs: dict[int, dict[str, Cost]]) -> bool:
    """Whether a contender may be measured at a size: costs are taken to grow with the square of rows."""
    if name == OURS or not costs:
        return rows < ALONE or name == OURS
    before, measured = max(costs.items())
    if rows >= ALONE or name not in measured:
        return False
    growth = (rows / before) ** 2
    return growth * measured[name].median <= MOST_SECONDS and growth * measured[name].extra <= MOST_MIB


def _measure(names: list[str], rows: int, threads: int) -> dict[str, Cost]:
    context = mp.get_context("spawn")
    workers = {}
    for name in names:
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, name, rows, threads), daemon=True)
        process.start()
        workers[name] = (process, here)
    for _, pipe in workers.values():
        pipe.recv()  # imported, warm and waiting
    first = {name: _once(pipe) for name, (_, pipe) in workers.items()}  # it warms up
    rounds = {name: _rounds(once.median) for name, once in first.items()}
    costs = {name: once._replace(seconds=[]) if rounds[name] else once for name, once in first.items()}
    for turn in range(max(rounds.values())):
        for name, (_, pipe) in workers.items():
            if turn < rounds[name]:
                once = _once(pipe)
                costs[name] = once._replace(seconds=costs[name].seconds + once.seconds)
    for process, pipe in workers.values():
        pipe.send(False)
        process.join()
    return costs


def _once(pipe: Connection) -> Cost:
    pipe.send(True)
    seconds, extra, whole = pipe.recv()
    return Cost([seconds], extra, whole)


def _rounds(seconds: float) -> int:
    """How often to repeat what took so long at first; not at all where the first time has to do."""
    return 0 if seconds > SPENT_ON_A_SIZE else max(3, min(50, math.floor(SPENT_ON_A_SIZE / 2 / seconds)))


def _work(pipe: Connection, name: str, rows: int, threads: int) -> None:
    torch.set_num_threads(threads)
    loss = CONTENDERS[name]()
    _step(loss, *_views(64))
    views = _views(rows)
    before = _resident_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    pipe.send(None)
    while pipe.recv():
        began = time.perf_counter()
        _step(loss, *views)
        seconds = time.perf_counter() - began
        peak = _resident_mib("VmHWM")
        pipe.send((seconds, peak - before, peak))


def _views(rows: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(rows // 2, WIDTH, generator=generator).requires_grad_() for _ in range(2)]


def _step(loss: Loss, first: Tensor, second: Tensor) -> None:
    first.grad = second.grad = None
    torch.autograd.backward(loss(first, second))


def _resident_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status does not tell {field}; this tool needs Linux")


def _print_aims(costs: dict[int, dict[str, Cost]]) -> None:
    def told(rows: int, what: str, aim: str, value: Callable[[dict[str, Cost]], float]) -> None:
        if rows in costs:
            try:
                print(f"{rows:>6}  {what}: {value(costs[rows]):.2f} (aim {aim})")
            except KeyError as absent:
                print(f"{rows:>6}  {what}: {absent} was not measured (aim {aim})")

    print()
    told(
        512,
        "times faster than pytorch-metric-learning",
        ">= 300",
        lambda c: c[METRIC].median / c[OURS].median,
    )
    for rows, aim in ((512, "<= 1.3"), (4096, "<= 0.8"), (8192, "<= 0.6")):
        told(rows, "time of one matrix", aim, lambda c: c[OURS].median / c[MATRIX].median)
    told(8192, "MiB above the inputs", "<= 120", lambda c: c[OURS].extra)
    told(ALONE, "MiB in all", "< 1430", lambda c: c[OURS].whole)


if __name__ == "__main__":
    main()
