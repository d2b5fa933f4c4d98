"""Tar shards against loose files: images read a second, in the orders of an epoch of each; and the index.

python tools/bench_shards.py --files 20000 --kibibytes 20
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sslkit.data.sources.shards import ShardsSource
from sslkit.keyed_random import permutation


def main() -> None:
    """Write both, read both in turn from the page cache, print one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--kibibytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SSLKIT_CACHE"] = f"{folder}/cache"
        loose, shards = Path(folder) / "loose", Path(folder) / "shards"
        files = _write(loose, shards, given.files, given.kibibytes * 1024)
        indexing = [_seconds(lambda: ShardsSource(shards)) for _ in range(2)]
        source = ShardsSource(shards)
        rates: dict[str, list[float]] = {"shards": [], "loose": []}
        for epoch in range(given.rounds):
            for name in rates:
                order = source.order(0, epoch)
                if name == "loose":
                    order = permutation(given.files, seed=0, epoch=epoch).numpy()
                batches = np.array_split(order, max(1, given.files // 256))
                began = time.perf_counter()
                for batch in batches:
                    if name == "shards":
                        source.items(batch)
                    else:
                        [files[id].read_bytes() for id in batch.tolist()]
                rates[name].append(given.files / (time.perf_counter() - began))
    ratio = statistics.median(a / b for a, b in zip(rates["shards"], rates["loose"], strict=True))
    medians = {f"{name}_images_per_second": round(statistics.median(r)) for name, r in rates.items()}
    print(json.dumps({**medians, "ratio": round(ratio, 2), "index_seconds_first_then": indexing}))


def _write(loose: Path, shards: Path, count: int, size: int) -> list[Path]:
    """The same bytes as files and as members of shards of 5,000."""
    shards.mkdir()
    files = []
    content = np.random.default_rng(0).bytes(size)
    for number in range(count):
        file = loose / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        files.append(file)
    for start in range(0, count, 5000):
        with tarfile.open(shards / f"{start // 5000:03d}.tar", "w") as tar:
            for file in files[start : start + 5000]:
                tar.add(file, file.name)
    return files


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return round(time.perf_counter() - began, 2)


if __name__ == "__main__":
    main()
