"""What a transfer matrix costs beside the trainings it is made of.

    python tools/bench_transfer.py RUN [--task TASK ...] [--seeds 3]

Runs the procedural suite on RUN and its untrained twin, with an empty store of features, and compares the
whole (opening data, embedding, training, judging, resampling, pictures, report) with the sum of the
trainings of its heads and probes; then once more with the features that were kept, in another folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path


def main() -> None:
    """Print both runs part by part, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--task", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SSLKIT_CACHE"] = f"{folder}/cache"
        from sslkit.runs.transfer import transfer  # after the cache is named

        for name in ("first", "again"):
            began = time.perf_counter()
            found = transfer(
                given.run, tasks=given.task, seeds=given.seeds, out=Path(folder) / name, progress=False
            )
            whole = time.perf_counter() - began
            parts: Counter[str] = Counter()
            for row in found.results.rows:
                parts.update(row.seconds)
            own = parts["training"]
            failed = f", {len(found.failed)} failed" if found.failed else ""
            print(f"{name}: {len(found.results.rows)} rows{failed} in {whole:.1f} s")
            for part, seconds in parts.most_common():
                print(f"  {part:<12}{seconds:8.1f} s")
            print(f"  {'other':<12}{whole - sum(parts.values()):8.1f} s")
            print(f"  whole / trainings {whole / own:.2f}")


if __name__ == "__main__":
    main()
