"""Triplet losses against pytorch-metric-learning: time and peak memory of value and gradient, in one run.

Rows of 128 numbers on the unit sphere, eight of each label. "ours" is the objective's own `loss`. The peer
is TripletMarginLoss on what BatchHardMiner finds, and on what TripletMarginMiner("semihard") finds: all
semi-hard triplets, where ours takes the hardest of them for each anchor. All triplets are compared with a
cube of N^3 hinges, and grow alone from there. Turns alternate and the best of each counts; memory is the
growth of the peak of a fresh process (Linux).

    python tools/bench_triplets.py
    python tools/bench_triplets.py --rows 512 --threads 2
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import Embeddings, Samples
from sslkit.objectives.triplet import Triplet
from sslkit.pairwise.all_triplets import all_triplets_margin
from sslkit.testing.backbones import TinyBackbone

WIDTH, OF_EACH, MARGIN = 128, 8, 0.2
LARGEST_CUBE = 256  # N^3 hinges and their gradients take seconds
LARGEST_LIST = 512  # all semi-hard triplets by number: 0.4 s and 170 MiB, at 4,096 rows 64 times that
Loss = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Measure and print one line of JSON for each case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[512, 2048, 4096])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for rows in given.rows:
        for case in ("batch-hard", "semi-hard"):
            peer = None if case == "semi-hard" and rows > LARGEST_LIST else f"peer {case}"
            _report(f"{case} {rows}", case, peer, rows, given)
    for rows in sorted({LARGEST_CUBE, *given.rows}):
        for form in ("distance", "squared_hinge"):
            cube = f"cube {form}" if rows <= LARGEST_CUBE else None
            _report(f"all triplets, {form} {rows}", f"all {form}", cube, rows, given)


def losses() -> dict[str, Loss]:
    """Every competitor by name: rows (N, P) and labels (N,) to a scalar."""
    return {
        "batch-hard": partial(_ours, negatives="hard"),
        "semi-hard": partial(_ours, negatives="semi_hard"),
        "peer batch-hard": partial(_peer, miner="hard"),
        "peer semi-hard": partial(_peer, miner="semihard"),
        **{f"all {form}": partial(_all, form=form) for form in ("distance", "squared_hinge")},
        **{f"cube {form}": partial(_cube, form=form) for form in ("distance", "squared_hinge")},
    }


@cache
def _objective(negatives: str) -> Triplet:
    return Triplet(TinyBackbone(), labels=True, negatives=negatives, form="distance", margin=MARGIN)


def _ours(rows: Tensor, labels: Tensor, *, negatives: str) -> Tensor:
    samples = Samples.of(torch.arange(len(rows)), labels)
    return _objective(negatives).loss(Embeddings(rows.detach(), (rows,)), samples).loss


def _peer(rows: Tensor, labels: Tensor, *, miner: str) -> Tensor:
    from pytorch_metric_learning import distances, losses, miners

    distance = distances.LpDistance()
    if miner == "hard":
        found = miners.BatchHardMiner(distance=distance)(rows, labels)
    else:
        found = miners.TripletMarginMiner(MARGIN, "semihard", distance=distance)(rows, labels)
    loss: Tensor = losses.TripletMarginLoss(MARGIN, distance=distance)(rows, labels, found)
    return loss


def _all(rows: Tensor, labels: Tensor, *, form: str) -> Tensor:
    return all_triplets_margin(rows, labels, margin=MARGIN, form=form)


def _cube(rows: Tensor, labels: Tensor, *, form: str) -> Tensor:
    distances = torch.linalg.vector_norm(rows[:, None] - rows, dim=2)
    same = labels[:, None] == labels
    hinges = F.relu(MARGIN + distances[:, :, None] - distances[:, None, :])
    if form == "squared_hinge":
        hinges = hinges.square()
    counted = (same & ~torch.eye(len(rows), dtype=torch.bool))[:, :, None] & ~same[:, None, :]
    return (hinges * counted).sum() / counted.sum()


def _report(title: str, ours: str, peer: str | None, rows: int, given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    names = [ours] if peer is None else [ours, peer]
    best = dict.fromkeys(names, float("inf"))
    for _ in range(given.rounds):
        for name in names:
            best[name] = min(best[name], _seconds(name, rows))
    result: dict[str, object] = {"case": title, "rows": rows, "threads": given.threads}
    for who, name in zip(("ours", "peer"), names, strict=False):
        result[f"{who}_ms"] = round(1e3 * best[name], 1)
        result[f"{who}_mib"] = _peak(name, rows, given.threads)
    if peer is not None:
        result["times_faster"] = round(best[peer] / best[ours], 1)
    print(json.dumps(result), flush=True)


def _example(rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    unit = F.normalize(torch.randn(rows, WIDTH, generator=generator), dim=1)
    return unit.requires_grad_(), torch.arange(rows) // OF_EACH


def _seconds(name: str, rows: int) -> float:
    """One value and gradient, after a small one that wakes everything up."""
    loss = losses()[name]
    loss(*_example(64)).backward()
    given = _example(rows)
    began = time.perf_counter()
    loss(*given).backward()
    return time.perf_counter() - began


def _peak(name: str, rows: int, threads: int) -> int:
    """MiB by which the peak of a fresh process grows."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (name, rows, threads))


def _growth(name: str, rows: int, threads: int) -> int:
    torch.set_num_threads(threads)
    _seconds(name, 64)
    before = _peak_kib()
    _seconds(name, rows)
    return (_peak_kib() - before) // 1024


def _peak_kib() -> int:
    """The largest resident size so far; a child's `ru_maxrss` would begin at that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
