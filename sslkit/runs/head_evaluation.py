"""A head on a backbone and on the same backbone untrained, seed by seed: what did pretraining bring?"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from sslkit.atomic import replace_text
from sslkit.config.head_training import HeadTraining, read_training
from sslkit.contracts import Head, HeadSpec, Score, Task
from sslkit.errors import ConfigError, RunError
from sslkit.evaluation.prediction_sheet import draw_sheet
from sslkit.evaluation.predictions import PredictionWriter
from sslkit.evaluation.protocols import Protocol
from sslkit.evaluation.report import Result, finite
from sslkit.models.canvas import for_canvas
from sslkit.models.task_model import TaskModel, offered
from sslkit.models.weights import weights_hash
from sslkit.registry import build, resolve
from sslkit.registry.protocols import changed, load_protocol
from sslkit.runs.assembly import make_accelerator
from sslkit.runs.embedder import Embedder, untrained_like
from sslkit.runs.head_judging import judge
from sslkit.runs.head_parts import HeadParts
from sslkit.runs.head_training import train_head
from sslkit.runs.prediction_rows import PredictionRows
from sslkit.runs.splits import HeadSplits, open_head_splits
from sslkit.runs.state import on_main
from sslkit.training.precision import Layout, choose_layout, memory_format

RANDOM = "random initialisation"
RESULT = "result.json"


@dataclass(frozen=True)
class HeadRun:
    """What all trainings of an evaluation share; out: the folder they lie in."""

    protocol: Protocol
    plan: HeadTraining
    spec: HeadSpec
    splits: HeadSplits
    layout: Layout
    out: Path
    progress: bool

    @property
    def task(self) -> Task:
        """What the head is to predict."""
        counts = self.splits.train.class_counts().sum(axis=0)
        return Task(
            self.spec.target, tuple(self.splits.train.classes), self.plan.size, tuple(map(int, counts))
        )


def evaluate_head(
    embedder: Embedder,
    data: str,
    *,
    test: str | None,
    spec: HeadSpec,
    protocol: Protocol,
    subject: str,
    baselines: bool,
    out: Path,
    seeds: Sequence[int],
    resume: bool = False,
    progress: bool = True,
) -> tuple[list[Result], str]:
    """Train the protocol's head with every seed: a result for the model, one untrained, the data's note.

    Every training lies in `out`/SUBJECT/seed-N: diary, checkpoints, weights, predictions, a sheet of pictures
    and result.json. resume: take finished results as they are and go on with an unfinished training.
    """
    plan = read_training(protocol.training, str(protocol.id))
    splits = open_head_splits(spec, data, test, plan.held_out)
    layout = on_main(lambda: _prepare(protocol, plan, embedder, splits, out, resume))
    run = HeadRun(protocol, plan, spec, splits, layout, out, progress)
    results = []
    for name in [subject, *([RANDOM] if baselines else [])]:
        rows = []
        for seed in seeds:
            judged = untrained_like(embedder, seed) if name == RANDOM else embedder
            rows.append(_measure(run, judged, name, seed, resume=resume))
        results.append(_summary(run, name, rows))
    return results, splits.note


def choose_head(head: str, protocol: str | Path | None, settings: Sequence[str]) -> tuple[HeadSpec, Protocol]:
    """What a head asks for, and the protocol asked for or its own; raises ConfigError or UnknownNameError."""
    spec: HeadSpec = resolve("head", head).spec
    if protocol is None and not spec.protocol:
        raise ConfigError(f"head '{head}' has no protocol of its own; name one with --protocol NAME|FILE")
    described = load_protocol(protocol if protocol is not None else spec.protocol)
    if described.head.rpartition(":")[2] != head.rpartition(":")[2]:
        raise ConfigError(f"protocol {described} measures with head '{described.head}', not '{head}'")
    return spec, changed(described, list(settings))


def _measure(run: HeadRun, embedder: Embedder, subject: str, seed: int, *, resume: bool) -> dict[str, Any]:
    """Train and judge one seed, or read its finished result; figures in JSON terms."""
    folder = run.out / _folder_name(subject) / f"seed-{seed}"
    done = folder / RESULT
    if resume and done.is_file():
        found: dict[str, Any] = json.loads(done.read_text("utf-8"))
        return found
    parts = head_parts(run, embedder, seed, folder)
    model = train_head(parts, progress=run.progress, label=f"{subject}, seed {seed}")
    main = parts.accelerator.is_main_process
    rank = parts.accelerator.process_index
    rows = PredictionRows(run.splits.test, cast(Head, model.head))
    with PredictionWriter(folder / ("predictions" if main else f"predictions-{rank}")) as writer:

        def keep(meta: Any, prediction: Any, target: Any) -> None:
            writer.write(meta, prediction)
            if main:
                rows.add(meta, prediction, target)

        figures = judge(model, run.splits.test, run.plan, parts.accelerator, on_prediction=keep)
    result = {
        "subject": subject,
        "seed": seed,
        "protocol": str(run.protocol),
        "weights": weights_hash(embedder.backbone.network),
        "figures": finite(figures.figures),
        "per_class": finite(figures.per_class),
        "parameters": _counts(model),
        "best_step": parts.best.step if parts.best else run.plan.steps,
    }
    if main:
        _save(model, folder)
        draw_sheet(rows.rows, folder / "sheet.png")
        replace_text(done, json.dumps(result, indent=2) + "\n")
    parts.accelerator.wait_for_everyone()
    return result


def head_layout(embedder: Embedder, plan: HeadTraining) -> Layout:
    """The number format and memory layout that are fastest here, the same for all trainings."""
    return choose_layout(
        embedder.backbone,
        precision="auto",
        channels_last="auto",
        size=min(plan.size),
        batch=plan.batch,
        device=embedder.device,
    )


def _save(model: TaskModel, folder: Path) -> None:
    """The weights that were judged; the backbone's too where it was trained."""
    kept = model.head if model.mode.frozen else model
    tensors = {name: value.detach().cpu().contiguous() for name, value in kept.state_dict().items()}
    save_file(tensors, folder / "weights.safetensors", metadata={"format": "pt"})


def head_parts(run: HeadRun, embedder: Embedder, seed: int, folder: Path) -> HeadParts:
    """Everything for one training; what is random in it starts from the seed alone."""
    backbone = for_canvas(copy.deepcopy(embedder.backbone), run.plan.size)
    torch.manual_seed(seed)
    head: nn.Module = build(
        "head", run.protocol.head, offered(backbone, run.spec), run.task, **run.protocol.options
    )
    model = TaskModel(backbone, head, mode=run.protocol.mode)
    model.to(memory_format=memory_format(run.layout))
    accelerator = make_accelerator(run.layout.precision, str(folder))
    return HeadParts(
        run.protocol, run.plan, accelerator, model, run.splits.train, run.splits.held_out, seed, folder
    )


def _prepare(
    protocol: Protocol, plan: HeadTraining, embedder: Embedder, splits: HeadSplits, out: Path, resume: bool
) -> Layout:
    """Refuse to write over another evaluation; note what this one is of, and its number format."""
    note = out / "protocol.json"
    # What a finished or unfinished training in the folder must have been of to be taken for this one.
    identity = {
        "id": str(protocol),
        "weights": weights_hash(embedder.backbone.network),
        "train": splits.train.fingerprint,
        "test": splits.test.fingerprint,
    }
    if note.is_file():
        known = json.loads(note.read_text("utf-8"))
        if not resume:
            raise RunError(
                f"{out} holds an evaluation already; go on with it by --resume, or choose another --out"
            )
        other = [
            f"{name} {known.get(name)} there, {now} here"
            for name, now in identity.items()
            if known.get(name) != now
        ]
        if other:
            raise RunError(
                f"{out} holds another evaluation ({'; '.join(other)}); give the same model, data and "
                "settings to go on with it, or choose another --out"
            )
        return Layout(known["precision"], known["channels_last"])
    layout = head_layout(embedder, plan)
    described = {
        **identity,
        "head": protocol.head,
        "mode": protocol.mode,
        "options": protocol.options,
        "training": plan.model_dump(mode="json"),
        "source": protocol.source,
        "precision": layout.precision,
        "channels_last": layout.channels_last,
    }
    replace_text(note, json.dumps(described, indent=2, default=_plain) + "\n")
    return layout


def _summary(run: HeadRun, subject: str, rows: Sequence[Mapping[str, Any]]) -> Result:
    columns, classes = (_columns(rows, part) for part in ("figures", "per_class"))
    spread = (
        {name: float(np.std(values, ddof=1)) for name, values in columns.items()} if len(rows) > 1 else {}
    )
    means = [{name: float(np.mean(values)) for name, values in part.items()} for part in (columns, classes)]
    score = Score(subject, *means)
    weights = {row["weights"] for row in rows}
    details = {
        "mode": run.protocol.mode,
        "canvas": list(run.plan.size),
        "precision": run.layout.precision,
        "parameters": rows[0]["parameters"],
        "seeds": [{"seed": row["seed"], "figures": row["figures"]} for row in rows],
    }
    return Result(
        score,
        str(run.protocol),
        next(iter(weights)) if len(weights) == 1 else "random",
        len(run.splits.train),
        len(run.splits.test),
        len(run.splits.train.classes),
        seeds=len(rows),
        spread=spread,
        details=details,
    )


def _columns(rows: Sequence[Mapping[str, Any]], part: str) -> dict[str, list[float]]:
    """The figures of all seeds by name; NaN where one has none."""
    names = rows[0][part]
    return {name: [nan if row[part][name] is None else row[part][name] for row in rows] for name in names}


def _counts(model: TaskModel) -> dict[str, int]:
    """Parameters by what happens to them."""
    backbone = list(model.backbone.parameters())
    return {
        "backbone trained": sum(p.numel() for p in backbone if p.requires_grad),
        "backbone frozen": sum(p.numel() for p in backbone if not p.requires_grad),
        "head": sum(p.numel() for p in model.head.parameters()),
    }


def _folder_name(subject: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", subject).strip("-") or "model"


def _plain(value: Any) -> Any:
    return dict(value) if hasattr(value, "items") else str(value)
