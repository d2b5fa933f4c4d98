"""One step of SimCLR on a whole batch, and on the same batch in chunks: time, loss, and peak memory.

    python tools/bench_caching.py [--backbone convnext_atto --size 64 --batch 256 --micro 32]

Each is a fresh process that takes one step; memory is the growth of its peak over
what the libraries and the network took (Linux).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from sslkit.contracts import Embeddings, Outcome, Samples
from sslkit.models.creation import create_backbone
from sslkit.objectives.simclr import SimCLR
from sslkit.training.caching import step_in_chunks
from sslkit.training.learner import Learner


def main() -> None:
    """Run both in subprocesses and print them side by side."""
    given = _arguments()
    if given.child:
        print(json.dumps(_step(given, given.micro)))
        return
    print(f"{given.backbone}, {given.batch} samples of two views at {given.size} px, float32")
    for micro in (given.batch, given.micro) if not given.chunks_only else (given.micro,):
        sizes = [f"--{name}={getattr(given, name)}" for name in ("backbone", "size", "batch", "threads")]
        command = [sys.executable, __file__, "--child", *sizes, f"--micro={micro}"]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"micro {micro:5d}: {found['seconds']:7.2f} s, loss {found['loss']:.6f}, "
            f"{found['mib']:7.0f} MiB beyond the network"
        )


def _step(given: argparse.Namespace, micro: int) -> dict[str, float]:
    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    backbone = create_backbone(given.backbone, size=given.size)
    objective = SimCLR(backbone, projector_hidden=512, projector_norm="layer")
    learner = Learner(backbone, objective)
    samples = Samples.of(torch.arange(given.batch))

    def views(rows: range) -> list[Tensor]:
        generator = torch.Generator().manual_seed(rows.start)
        return [torch.randn(len(rows), 3, given.size, given.size, generator=generator) for _ in range(2)]

    def loss(embeddings: Embeddings) -> Outcome:
        return objective.loss(embeddings, samples)

    def step() -> float:
        # The same pictures however they are cut: 8 samples at a time.
        pieces = [range(start, min(start + 8, given.batch)) for start in range(0, given.batch, 8)]
        cut = [pieces[i : i + micro // 8] for i in range(0, len(pieces), micro // 8)]
        chunks = [partial(_joined, views, part) for part in cut]
        outcome = step_in_chunks(
            learner,
            chunks,
            loss,
            second_stage=list(objective.parameters()),
            backward=torch.autograd.backward,
            no_sync=nullcontext,
        )
        return float(outcome.loss)

    before = _peak()
    began = time.perf_counter()
    value = step()
    return {"seconds": time.perf_counter() - began, "loss": value, "mib": _peak() - before}


def _joined(views: Callable[[range], list[Tensor]], pieces: list[range]) -> list[Tensor]:
    made = [views(piece) for piece in pieces]
    return [torch.cat(parts) for parts in zip(*made, strict=True)]


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="convnext_atto")
    for name, default in (("size", 64), ("batch", 256), ("micro", 32), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--chunks-only", action="store_true", help="leave out the whole batch")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.micro % 8 or given.batch % 8:
        parser.error("--batch and --micro are multiples of 8")
    return given


if __name__ == "__main__":
    main()
