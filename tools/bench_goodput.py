"""Goodput: images/s of the real pretraining loop divided by images/s of its bare training step.

The bare step is forward, loss, backward and optimiser on views that are already on the device: same model,
batch, number format and memory layout. What is missing to 1.0 is what reading, decoding, views, logging and
checkpoints cost. Bare and loop alternate in one process, and each loop is compared with the bare runs before
and after it, so that a drift of the machine's speed cancels.

    python tools/bench_goodput.py PHOTOS --size 224 --backbone resnet18 --batch 64
    python tools/bench_goodput.py shapes:count=6000,size=32 --size 32 --backbone resnet10t --batch 256
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from sslkit.config import load_recipe
from sslkit.contracts import Samples
from sslkit.keyed_random import Keys
from sslkit.runs.assembly import Parts, assemble, open_data, resolve
from sslkit.runs.pretrain import pretrain
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
    given = parser.parse_args()
    overrides = [
        f"views.size={given.size}",
        f"backbone.name={given.backbone}",
        f"backbone.stem={given.stem}",
        f"batch.size={given.batch}",
        f"schedule.epochs={given.epochs}",
        "schedule.warmup_epochs=0",
        f"precision={given.precision}",
        f"data.workers={given.workers}",
        "monitor.samples=2",
        "monitor.k=1",
        "log_every=1",
    ]
    parts = _parts(given.data, overrides)
    fixed = [
        *overrides,
        f"precision={parts.layout.precision}",
        f"channels_last={str(parts.layout.channels_last).lower()}",
    ]
    bare = [_bare(parts, given.steps)]
    loops = []
    for _ in range(given.rounds):
        loops.append(_loop(given.data, fixed))
        bare.append(_bare(parts, given.steps))
    ratios = [loop / ((bare[i] + bare[i + 1]) / 2) for i, loop in enumerate(loops)]
    result = {
        "goodput": round(statistics.median(ratios), 3),
        "goodputs": [round(ratio, 3) for ratio in ratios],
        "loop_images_per_second": [round(rate, 1) for rate in loops],
        "bare_images_per_second": [round(rate, 1) for rate in bare],
        "backbone": given.backbone,
        "size": given.size,
        "batch": given.batch,
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
    views = [
        view.contiguous(memory_format=memory_format(parts.layout))
        for view in parts.views(batch.pixels, batch.rectangles, Keys(0, 0, batch.ids))
    ]
    parts.learner.train()
    for step in range(steps + 2):
        if step == 2:
            _wait(parts)
            began = time.perf_counter()
        outcome = parts.objective.loss(parts.learner(views), Samples.of(batch.ids))
        parts.accelerator.backward(outcome.loss)
        parts.optimizer.step()
        parts.optimizer.zero_grad()
    _wait(parts)
    return steps * len(batch) / (time.perf_counter() - began)


def _loop(data: str, overrides: list[str]) -> float:
    """Images per second of a whole run's steps as its diary notes them; the first two are not counted."""
    with tempfile.TemporaryDirectory() as folder:
        run = pretrain(data, out=Path(folder) / "run", overrides=overrides, progress=False)
        steps = [record for record in read_diary(run / "metrics.jsonl") if record["kind"] == "step"][2:]
    return len(steps) / sum(1.0 / record["images_per_second"] for record in steps)


def _wait(parts: Parts) -> None:
    if parts.accelerator.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
