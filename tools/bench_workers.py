"""Memory of the processes that read ahead: peak resident size of each, beyond what the first process shares.

What workers hold is bounded: decoded batches ahead take at most 512 MiB over all workers together (never less
than one batch each), whatever the batch and the canvas; a worker's own is its interpreter and its decoder.

    python tools/bench_workers.py PHOTOS --batch 256 --size 224 --workers 2
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path

from sslkit.data.loader import Loader, choose_canvas
from sslkit.registry import open_source


def main() -> None:
    """Read whole epochs, then print one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    given = parser.parse_args()
    source = open_source(given.data)
    canvas = choose_canvas(source, given.size)
    peaks: dict[int, float] = {}
    first_epoch: dict[int, float] = {}
    with Loader(source, batch_size=given.batch, canvas=canvas, workers=given.workers) as loader:
        for epoch in range(given.epochs):
            for _ in loader.epoch(epoch):
                time.sleep(0.05)  # a step slower than reading, so that all that is allowed is read ahead
                for worker in multiprocessing.active_children():
                    if worker.pid is not None:
                        peaks[worker.pid] = _own_peak(worker.pid)
            first_epoch = first_epoch or dict(peaks)
    result = {
        "workers": given.workers,
        "batch_mebibytes": round(given.batch * 3 * canvas**2 / 2**20, 1),
        "canvas": canvas,
        "peak_mebibytes_of_each_worker_after_one_epoch": sorted(first_epoch.values()),
        "peak_mebibytes_of_each_worker_after_all": sorted(peaks.values()),
        "epochs": given.epochs,
    }
    print(json.dumps(result))


def _own_peak(process: int) -> float:
    """Peak resident memory in MiB."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return round(int(peak.split()[1]) / 1024, 1)


if __name__ == "__main__":
    main()
