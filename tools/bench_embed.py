"""What embedding files costs beside the bare network: end to end over bare forward, one after the other.

    python tools/bench_embed.py PHOTOS --model resnet18 --size 224 --count 512 --rounds 5

Each round embeds a folder of photos into an EMB folder, runs the same network on as many tensors in memory,
and decodes the same photos alone. "ratio" is bare forward over end to end; "bound" is what it could be at
most where decoding takes its core seconds from the same cores: forward over forward + decoding on all cores.
Weights are random. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sslkit.data.loader import choose_canvas
from sslkit.data.reader import BatchReader
from sslkit.data.subset import Subset
from sslkit.models.weights import load_backbone, save_backbone
from sslkit.registry import open_source
from sslkit.runs import embed as home
from sslkit.runs.embedder import open_embedder


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    source = open_source(given.data)
    source = Subset(source, np.arange(given.count) % len(source))
    home.open_source = lambda address: source
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        run.mkdir()
        save_backbone(load_backbone(given.model, pretrained=False), run, size=given.size)
        result = _measured(run, source, given)
    print(json.dumps(result))


def _measured(run: Path, source: Subset, given: argparse.Namespace) -> dict[str, object]:
    embedder = open_embedder(run)
    tensors = torch.randn(given.batch, 3, given.size, given.size, device=embedder.device)
    threads = torch.get_num_threads()
    reader = BatchReader(source, choose_canvas(source, given.size), still=True, threads=threads)
    ids = torch.arange(len(source)).split(given.batch)

    def end_to_end() -> None:
        home.embed(
            run, given.data, run.parent / "emb", batch_size=given.batch, overwrite=True, progress=False
        )

    def forward() -> None:
        with torch.no_grad():
            for part in ids:
                embedder.backbone(tensors[: len(part)]).cpu()

    def decode() -> None:
        for part in ids:
            reader.read(part)

    seconds: dict[str, list[float]] = {"end_to_end": [], "forward": [], "decode": []}
    for number in range(given.rounds + 1):
        for name, work in (("end_to_end", end_to_end), ("forward", forward), ("decode", decode)):
            taken = _seconds(work)
            if number:  # the first one warms up
                seconds[name].append(taken)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = [one / other for one, other in zip(seconds["forward"], seconds["end_to_end"], strict=True)]
    return {
        "model": given.model,
        "size": given.size,
        "samples": len(source),
        "batch": given.batch,
        "device": str(embedder.device),
        "cores": os.cpu_count(),
        "threads": threads,
        "images_per_second": {name: round(len(source) / value, 1) for name, value in middle.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_each_round": [round(ratio, 3) for ratio in ratios],
        "bound": round(middle["forward"] / (middle["forward"] + middle["decode"]), 3),
    }


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
