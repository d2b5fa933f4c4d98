"""Seconds of a bare training step with glibc's allocator as it is and told to keep freed memory, as a ratio.

Two fresh processes take turns, since the setting cannot be taken back.

    python tools/bench_allocator.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import torch

from sslkit.models.backbone import create_backbone
from sslkit.training.allocator import keep_freed_memory

SETTINGS = (
    ("resnet10t", "standard", 32, 512),
    ("resnet10t", "small", 32, 256),
    ("resnet18", "standard", 224, 64),
)
STEPS = 4


def main() -> None:
    """Print one line a setting: the median ratio and its range over five pairs."""
    for setting in SETTINGS:
        ratios = []
        for _ in range(5):
            plain, kept = (float(_child(str(keep), *map(str, setting))) for keep in (0, 1))
            ratios.append(kept / plain)
        shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{setting[0]} {setting[1]} stem, {setting[3]} images of {setting[2]} px, bf16: {shown}")


def measure(name: str, stem: str, size: int, count: int) -> float:
    """Seconds of the fastest of a few forward and backward passes."""
    backbone = create_backbone(name, size=size, stem=stem).to(memory_format=torch.channels_last)
    pixels = torch.rand(count, 3, size, size).contiguous(memory_format=torch.channels_last)
    best = float("inf")
    for _ in range(STEPS):
        began = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = backbone(pixels)
        output.float().square().mean().backward()
        best = min(best, time.perf_counter() - began)
    return best


def _child(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True
    ).stdout


if __name__ == "__main__":
    if len(sys.argv) > 1:
        keep, name, stem, size, count = sys.argv[1:]
        if keep == "1" and not keep_freed_memory():
            sys.exit("this C library cannot be told to keep freed memory")
        print(measure(name, stem, int(size), int(count)))
    else:
        main()
