"""Peak memory of the k-NN probe beyond the features it is given.

    python tools/bench_knn_memory.py [--train 50000 --test 10000 --dim 512 --k 200]

A fresh process makes the features and runs a tiny probe (so that libraries and thread pools are already
loaded), notes its resident memory, runs the probe, and reads the peak the operating system kept.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Run the measurement in a subprocess and print it beside the full similarity matrix."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("train", 50_000), ("test", 10_000), ("dim", 512), ("k", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_probe(given.train, given.test, given.dim, given.k)))
        return
    sizes = [f"--{name}={getattr(given, name)}" for name in ("train", "test", "dim", "k")]
    child = subprocess.run(
        [sys.executable, __file__, "--child", *sizes], check=True, capture_output=True, text=True
    )
    found = json.loads(child.stdout)
    features = (given.train + given.test) * given.dim * 4 / 2**20
    print(f"k-NN of {given.test} against {given.train} x {given.dim}, k={given.k}, classes=10")
    print(f"features          {features:8.1f} MiB")
    print(f"whole similarity  {given.train * given.test * 4 / 2**20:8.1f} MiB (never held)")
    print(f"peak beyond       {found['beyond']:8.1f} MiB")
    print(f"time              {found['seconds']:8.1f} s on {found['threads']} threads")


def _probe(train: int, test: int, dim: int, k: int) -> dict[str, float]:
    import torch

    from sslkit.evaluation.knn import knn_classify

    generator = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(train, dim, generator=generator), torch.randn(test, dim, generator=generator)
    labels = torch.arange(train) % 10
    knn_classify(bank[:64], labels[:64], queries[:64], k=5, temperature=0.07, classes=10)
    before = _resident()
    start = time.perf_counter()
    knn_classify(bank, labels, queries, k=k, temperature=0.07, classes=10)
    seconds = time.perf_counter() - start
    return {"beyond": _peak() - before, "seconds": seconds, "threads": torch.get_num_threads()}


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
