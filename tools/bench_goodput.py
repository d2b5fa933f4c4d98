"""Goodput: images/s of the real pretraining loop divided by images/s of its bare training step; and a peer's.

The bare step is forward, loss, backward and optimiser on views that are already on the device: same model,
batch, number format and memory layout. What is missing to 1.0 is what reading, decoding, views, logging and
checkpoints cost. Bare and loop alternate in one process, and each loop is compared with the bare runs before
and after it, so that a drift of the machine's speed cancels. `--peer` adds rounds of a lightly loop: its
SimCLRTransform and a torch DataLoader before the very same step. The first epoch of a loop, which fills the
cache of decoded images where there is one, is told apart from the others.

    python tools/bench_goodput.py PHOTOS --size 224 --backbone resnet18 --batch 64 --peer 0 --peer 2
    python tools/bench_goodput.py shapes:size=32 --size 32 --backbone resnet10t --batch 256 --peer 0
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sslkit.config import load_recipe
from sslkit.contracts import Samples, Source
from sslkit.keyed_random import Keys
from sslkit.runs.assembly import Parts, assemble
from sslkit.runs.pretrain import pretrain
from sslkit.runs.reading import open_data, resolve
from sslkit.training.monitor import read_diary
from sslkit.training.precision import memory_format


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="photos: a folder, .npz or source address")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--stem", default="standard")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12, help="steps of each bare run")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of each loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--workers", default="auto")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--cache", default="off", help="off, on or auto: decoded images kept after epoch one")
    parser.add_argument("--peer", type=int, action="append", default=[], help="a lightly loop of N workers")
    given = parser.parse_args()
    overrides = [
        f"views.size={given.size}",
        f"views.engine={given.engine}",
        f"backbone.name={given.backbone}",
        f"backbone.stem={given.stem}",
        f"batch.size={given.batch}",
        f"schedule.epochs={given.epochs}",
        "schedule.warmup_epochs=0",
        f"precision={given.precision}",
        f"data.workers={given.workers}",
        f"data.cache={given.cache}",
        "monitor.samples=2",
        "monitor.k=1",
        "log_every=5",
    ]
    parts = _parts(given.data, overrides)
    fixed = [
        *overrides,
        f"precision={parts.layout.precision}",
        f"channels_last={str(parts.layout.channels_last).lower()}",
        f"views.engine={parts.recipe.views.engine}",
    ]
    bare = [_bare(parts, given.steps)]
    loops: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    overheads: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        for name in ("ours", *(f"lightly, {workers} workers" for workers in given.peer)):
            if name == "ours":
                rates = _loop(given.data, fixed)
            else:
                rates = {name: _peer_loop(parts, given.size, int(name.split()[1]), given.steps)}
            bare.append(_bare(parts, given.steps))
            pair = (bare[-2] + bare[-1]) / 2
            for which, rate in rates.items():
                loops.setdefault(which, []).append(round(rate, 1))
                ratios.setdefault(which, []).append(round(rate / pair, 3))
                overheads.setdefault(which, []).append(round(1000 / rate - 1000 / pair, 3))
    result = {
        "goodput": {name: statistics.median(values) for name, values in ratios.items()},
        "goodputs": ratios,
        "overhead_milliseconds_per_image": {n: statistics.median(v) for n, v in overheads.items()},
        "loop_images_per_second": loops,
        "bare_images_per_second": [round(rate, 1) for rate in bare],
        "backbone": given.backbone,
        "size": given.size,
        "batch": given.batch,
        "engine": parts.recipe.views.engine,
        "cache": given.cache,
        "precision": parts.layout.precision,
        "channels_last": parts.layout.channels_last,
        "threads": torch.get_num_threads(),
        "device": str(parts.accelerator.device),
    }
    print(json.dumps(result))


def _parts(data: str, overrides: list[str]) -> Parts:
    recipe = load_recipe(None, overrides)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": data})})
    source = open_data(recipe)
    return assemble(resolve(recipe, source), source, project_dir=".")


def _bare(parts: Parts, steps: int) -> float:
    """Images per second of the step alone, on the views of one batch; the first two steps are not counted."""
    batch = next(iter(parts.loader.epoch(0))).to(parts.accelerator.device)
    parts.loader.close()  # no worker decodes ahead while the step is timed
    views = parts.views(batch.pixels, batch.rectangles, Keys(0, 0, batch.ids))
    views = [view.contiguous(memory_format=memory_format(parts.layout)) for view in views]
    parts.learner.train()
    for step in range(steps + 2):
        if step == 2:
            _wait(parts)
            began = time.perf_counter()
        _step(parts, views, batch.ids)
    _wait(parts)
    return steps * len(batch) / (time.perf_counter() - began)


def _step(parts: Parts, views: list[Tensor], ids: Tensor) -> None:
    outcome = parts.objective.loss(parts.learner(views), Samples.of(ids))
    parts.accelerator.backward(outcome.loss)
    parts.optimizer.step()
    parts.optimizer.zero_grad()


def _loop(data: str, overrides: list[str]) -> dict[str, float]:
    """Images per second of a run's steps as its diary notes them, without the first, which warms up."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SSLKIT_CACHE"] = f"{folder}/cache"
        run = pretrain(data, out=Path(folder) / "run", overrides=overrides, progress=False)
        steps = [record for record in read_diary(run / "metrics.jsonl") if record["kind"] == "step"][1:]
    by_epoch: dict[str, list[dict[str, Any]]] = {}
    for record in steps:
        by_epoch.setdefault("ours" if record["epoch"] == 0 else "ours, later epochs", []).append(record)
    return {
        name: len(records) / sum(1.0 / record["images_per_second"] for record in records)
        for name, records in by_epoch.items()
    }


class _Photos(Dataset[tuple[Tensor, Tensor, int]]):
    """The same samples as PIL images through lightly's transform, as its tutorials do it."""

    def __init__(self, source: Source, size: int) -> None:
        self.source = source
        small = {"gaussian_blur": 0.0, "cj_strength": 0.5} if size <= 64 else {}
        self.transform = SimCLRTransform(input_size=size, **small)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, id: int) -> tuple[Tensor, Tensor, int]:
        content: Any = self.source[id].content
        image = Image.fromarray(content) if not isinstance(content, Path) else Image.open(content)
        first, second = self.transform(image.convert("RGB"))
        return first, second, id


def _peer_loop(parts: Parts, size: int, workers: int, steps: int) -> float:
    """Images per second of lightly's views and loader before our step, without the first two steps."""
    loader = DataLoader(
        _Photos(parts.source, size),
        batch_size=parts.recipe.batch.size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        worker_init_fn=_one_thread,
    )
    parts.learner.train()
    layout, device = memory_format(parts.layout), parts.accelerator.device
    done = 0
    for step, (first, second, ids) in enumerate(loader):
        if step == 2:
            _wait(parts)
            began = time.perf_counter()
        views = [view.to(device).contiguous(memory_format=layout) for view in (first, second)]
        _step(parts, views, ids.to(device))
        done += step >= 2
        if done == steps:
            break
    _wait(parts)
    return done * parts.recipe.batch.size / (time.perf_counter() - began)


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def _wait(parts: Parts) -> None:
    if parts.accelerator.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
