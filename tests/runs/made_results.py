"""Results of transfer matrices as they may be found: made up, with failures, gaps and long names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sslkit.contracts import Curve
from sslkit.evaluation.rows import Row
from sslkit.evaluation.transfer_results import Overlap, Subject, TransferResults

RUN = "photos-simclr-resnet18"
TASKS = {
    "knn": ("top1", 0.45),
    "few-shot": ("top1_5shot", 0.4),
    "label-efficiency": ("top1_10pct", 0.5),
    "verification": ("auc", 0.7),
    "flow-flying-shapes": ("epe", 3.2),
    "segmentation": ("miou", 0.3),
    "detection": ("ap50", 0.05),
}
GAIN = {
    RUN: 0.15,
    "random": 0.0,
    "resnet18.a1_in1k": 0.25,
    "図-très-long-name-of-a-network-that-never-ends": -0.02,
}


def made(
    tasks: Mapping[str, tuple[str, float]] | None = None,
    subjects: Sequence[str] = (RUN, "random"),
    *,
    seeds: int = 3,
    failing: Sequence[tuple[str, str, int]] = (),
    protocol: str = "0123456789ab",
    **changes: Any,
) -> TransferResults:
    """Rows of every task, backbone and seed; `failing` are those without figures, seed -1 for all seeds."""
    tasks = TASKS if tasks is None else tasks
    rows = [
        _row(task, subject, seed, *tasks[task], protocol, failing)
        for task in tasks
        for subject in subjects
        for seed in range(seeds)
    ]
    told: dict[str, Any] = {
        "suite": "procedural@aabbccddeeff",
        "command": f"sslkit transfer runs/{subjects[0]} --suite procedural --seeds {seeds}",
        "environment": {"sslkit": "0.1.0", "gpus": [], "cores": 2},
        "tasks": {task: _told(task, protocol) for task in tasks},
        "subjects": tuple(_subject(name) for name in subjects),
        "rows": tuple(rows),
        "seconds": {"opening": 3.0, "measuring": 300.0},
    }
    return TransferResults(**(told | changes))


def seen(task: str = "knn", share: float = 0.125, subject: str = RUN) -> Overlap:
    """Test samples that were pretrained on."""
    twins = tuple((f"test/{n}.jpg", f"train/{n}.jpg", 1.0) for n in range(25))
    return Overlap(subject, task, share, twins)


def _subject(name: str) -> Subject:
    told: dict[str, Any] = {}
    if name == RUN:
        told = {
            "data": "photos/",
            "objective": "simclr",
            "mining": False,
            "epochs": 60,
            "images_per_second": 22.6,
            "seconds": 6120,
            "share_forward": 0.34,
            "share_backward": 0.63,
            "share_wait": 0.01,
            "share_mining": 0.0,
        }
    model = "random" if name == "random" else f"runs/{name}"
    weights = "random" if name == "random" else f"{abs(hash_of(name)):016x}"
    return Subject(name, model, weights, "resnet18, stem standard", told)


def hash_of(name: str) -> int:
    """A number of a name, the same in every process."""
    return int.from_bytes(name.encode()[:7], "big")


def _told(task: str, protocol: str) -> dict[str, Any]:
    return {
        "head": task,
        "data": "shapes:count=600",
        "test": None,
        "transfer_to": "real/photos" if task == "detection" else None,
        "settings": ["training.steps=500"],
        "protocol": f"{task}-1",
        "protocol_id": f"{task}-1@{protocol}",
        "protocol_file": {
            "id": f"{task}-1",
            "version": 1,
            "source": "Chen et al. 2020, A <Simple> Framework",
        },
        "domain": "shapes",
        "synthetic": True,
    }


def _row(
    task: str, subject: str, seed: int, metric: str, base: float, protocol: str, failing: Sequence[Any]
) -> Row:
    if (task, subject, seed) in failing or (task, subject, -1) in failing:
        reason = f"the head of {task} needs stride 4, <{subject}> has 32 | 16"
        return Row(task, subject, seed, head=task, failure=reason)
    lower = metric == "epe"
    drawn = np.random.default_rng([hash_of(task), seed])  # the same test samples for every backbone
    value = base * (1 + (-1 if lower else 1) * GAIN.get(subject, 0.1)) + 0.004 * seed
    own = np.random.default_rng([hash_of(task), seed, hash_of(subject)])
    resamples = value + 0.1 * base * drawn.standard_normal(40) + 0.05 * base * own.standard_normal(40)
    curves = {}
    if task in ("few-shot", "label-efficiency"):
        curves["labels"] = Curve((1.0, 5.0, 10.0), (value / 2, value, value * 1.1), "labels a class", metric)
    if task == "verification":  # other places for every seed, as thresholds are
        x = np.linspace(0, 1, 30 + 7 * seed)
        curves["roc"] = Curve(tuple(x), tuple(x ** (1 - value)), "false accepts", "true accepts")
    transfer = None
    if task == "detection":
        there = {"ap50": value * 0.6}
        transfer = {"data": "real/photos", "figures": there, "gap": there["ap50"] - value}
    classes = 15 if task == "knn" else 3
    return Row(
        task,
        subject,
        seed,
        head=task,
        protocol=f"{task}-1@{protocol}",
        metric=metric,
        higher_is_better=not lower,
        figures={metric: float(value)},
        per_class={f"class {n}": float(value) + 0.01 * n for n in range(classes)},
        curves=curves,
        resamples=tuple(resamples.tolist()),
        resampling=f"{task}, 40 times",
        weights=f"{seed:016x}" if subject == "random" else f"{hash_of(subject):016x}",
        data="shapes:count=600, a fifth held out",
        train=480,
        test=120,
        classes=classes,
        source={"domain": "photos", "task": "simclr"} if subject == RUN else {},
        target={"domain": "shapes", "task": task},
        parameters={"backbone loaded": 11_176_512, "backbone frozen": 11_176_512, "head": 5130},
        transfer=transfer,
        seconds={"features": 1.5, "training": 2.25, "judging": 0.125, "statistics": 0.25},
    )
