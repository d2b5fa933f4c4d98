"""Which two operations make a good view? SimCLR's figure 5 for any operations: a k x k grid of short runs.

    python tools/composition_grid.py photos --ops cutout color_jitter sobel --epochs 10 --out grid
    python tools/composition_grid.py --ops color_jitter "{op: RandomAffine, degrees: 30, p: 0.5}"

As in the paper (Chen et al., 2020, section 3.1), both views are random crops; one of them then goes through
the operation of the row and that of the column, applied for certain unless a mapping says otherwise; on the
diagonal through the one alone. Every cell is a run of the demonstration's small network, measured by the
k-NN of its monitor at the end; the same network before its first step is the random row. OUT/grid.json
holds every value and is written after each run, so a stopped grid goes on; OUT/grid.png is the picture.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

import sslkit
from sslkit.atomic import replace_text
from sslkit.data.views.operations import build_operation
from sslkit.errors import ConfigError
from sslkit.training.monitor import read_diary
from sslkit.yaml_text import parse_value

PAPER = ("cutout", "color_jitter", "sobel", "gaussian_noise", "gaussian_blur", "rotate")
"""The operations of the paper's figure but the crop, with which every view begins here."""

# Three quarters of the pictures turned make the four positions equally likely, as in the paper.
CERTAIN = {"original": {}, "rotate": {"p": 0.75}}
SMALL = (
    "backbone={name: resnet10t, stem: standard}",
    "objective={name: simclr, temperature: 0.2, projector_hidden: 512}",
    "optimizer={name: adamw, lr: 0.002, lr_scaling: none, weight_decay: 0.01}",
    "batch.size=128",
    "schedule.warmup_epochs=0",
    "data.workers=0",
)
FIXED = ("checkpoint.keep=1", "monitor.every_epochs=100000")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cells that are missing, then draw the grid."""
    given = _arguments(arguments)
    operations = dict(_operation(said) for said in given.ops)
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "grid.json"
    grid = _opened(file, {key: getattr(given, key) for key in ("data", "size", "scale", "epochs", "set")})
    for seed, row, column in product(given.seeds, operations, operations):
        runs = grid["cells"].setdefault(_cell(row, column), {})
        if str(seed) not in runs:
            steps = [operations[row]] if row == column else [operations[row], operations[column]]
            runs[str(seed)] = _run(given, steps, seed)
            replace_text(file, json.dumps(grid, indent=1))
            print(f"{_cell(row, column)}, seed {seed}: {runs[str(seed)]}", flush=True)
    means = _means(grid, list(operations), given.seeds, "knn")
    untrained = _means(grid, list(operations), given.seeds, "random")
    draw(means, list(operations), float(untrained.mean())).savefig(
        given.out / "grid.png", dpi=160, bbox_inches="tight"
    )
    print(_table(means, list(operations), float(untrained.mean())))


def draw(means: np.ndarray, names: Sequence[str], untrained: float) -> Figure:
    """The heat map of k-NN accuracies (k, k): first operation down, second across, each row's average."""
    count = len(names)
    shown = np.concatenate([means, means.mean(axis=1, keepdims=True)], axis=1)
    figure = Figure(figsize=(2.2 + 0.8 * count, 1.4 + 0.62 * count))
    axes = figure.add_subplot()
    low, high = float(min(shown.min(), untrained)), float(shown.max())
    image = axes.imshow(shown, cmap="viridis", vmin=low, vmax=high, aspect="auto")
    for row, column in np.ndindex(shown.shape):
        light = (shown[row, column] - low) / max(high - low, 1e-9) > 0.6
        axes.text(
            *(column, row, f"{shown[row, column]:.3f}".lstrip("0")),
            **{"ha": "center", "va": "center", "fontsize": 8, "color": "black" if light else "white"},
        )
    axes.axvline(count - 0.5, color="white", linewidth=3)
    axes.set_xticks(range(count + 1), [*names, "average"], rotation=35, ha="right", fontsize=8)
    axes.set_yticks(range(count), names, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("second operation", fontsize=8)
    axes.set_ylabel("first operation", fontsize=8)
    axes.set_title(f"k-NN accuracy; random initialisation {untrained:.3f}", fontsize=9)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=7, length=2)
    return figure


def _run(given: argparse.Namespace, steps: list[dict[str, Any]], seed: int) -> dict[str, float]:
    """k-NN accuracy of one run at its end, and of its network before the first step; 0 to 1."""
    crop = {"op": "crop_resize_flip", "scale": list(given.scale)}
    views = {"name": "custom", "engine": "exact", "size": given.size, "policy": [[crop, *steps], [crop]]}
    overrides = [
        *SMALL,
        *given.set,
        *FIXED,
        f"seed={seed}",
        f"schedule.epochs={given.epochs}",
        f"views={yaml.safe_dump(views, default_flow_style=True, width=10_000).strip()}",
    ]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        run = sslkit.pretrain(given.data, out=Path(scratch) / "run", overrides=overrides, progress=False)
        looks = [record for record in read_diary(run / "metrics.jsonl") if record["kind"] == "monitor"]
    if "knn" not in looks[-1]:
        raise ConfigError(
            f"{given.data} has no labels, by which a cell is measured; give folders of classes."
        )
    return {
        "knn": looks[-1]["knn"],
        "random": looks[0]["knn"],
        "seconds": round(time.perf_counter() - began, 1),
    }


def _operation(said: str) -> tuple[str, dict[str, Any]]:
    """What to call an operation, and its data; raises ConfigError where it is none."""
    value = parse_value(said, "--ops")
    if isinstance(value, dict):
        build_operation(value)
        options = ", ".join(f"{option} {setting}" for option, setting in value.items() if option != "op")
        return f"{value['op']} ({options})" if options else value["op"], value
    spec = {"op": said, **CERTAIN.get(said, {"p": 1.0})}
    build_operation(spec)
    return said, spec


def _opened(file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The grid so far; raises ConfigError where it was made with other settings."""
    if not file.exists():
        return {"settings": settings, "cells": {}}
    grid: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if grid["settings"] != settings:
        raise ConfigError(
            f"{file} was made with {grid['settings']}, not with {settings}; give another --out, or the same "
            "settings."
        )
    return grid


def _cell(row: str, column: str) -> str:
    return row if row == column else f"{row} + {column}"


def _means(grid: dict[str, Any], names: list[str], seeds: Sequence[int], key: str) -> np.ndarray:
    cells = [[grid["cells"][_cell(row, column)] for column in names] for row in names]
    return np.array(
        [[statistics.mean(cell[str(seed)][key] for seed in seeds) for cell in row] for row in cells]
    )


def _table(means: np.ndarray, names: list[str], untrained: float) -> str:
    lines = [f"| first \\ second | {' | '.join(names)} | average |", "| --- " * (len(names) + 2) + "|"]
    for name, row in zip(names, means, strict=True):
        lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in row)} | {row.mean():.3f} |")
    return "\n".join([*lines, f"random initialisation: {untrained:.3f}"])


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default="shapes:count=2000,size=32", help="labelled pictures")
    parser.add_argument(
        "--ops", nargs="+", default=list(PAPER), help="names, or mappings as a recipe has them"
    )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--size", type=int, default=32, help="side of the views, pixels")
    parser.add_argument("--scale", nargs=2, type=float, default=[0.4, 1.0], help="area of the crops")
    parser.add_argument("--set", nargs="*", default=[], help="further overrides of the recipe")
    parser.add_argument("--out", type=Path, default=Path("runs/composition-grid"))
    return parser.parse_args(given)


if __name__ == "__main__":
    main()
