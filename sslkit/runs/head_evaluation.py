"""A head on a backbone and on the same backbone untrained, seed by seed: what did pretraining bring?"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import nn

from sslkit.atomic import replace_text
from sslkit.config.head_training import HeadTraining, check_input, read_training
from sslkit.contracts import Figures, Head, HeadSpec, LabelledSource
from sslkit.errors import ConfigError, ModelError, RunError
from sslkit.evaluation.prediction_sheet import draw_sheet
from sslkit.evaluation.predictions import PredictionWriter
from sslkit.evaluation.protocols import Protocol
from sslkit.evaluation.report import Result, finite
from sslkit.models.memory_layout import lay_out
from sslkit.models.task_model import TaskModel, offered
from sslkit.models.weights import weights_hash
from sslkit.registry import build, resolve
from sslkit.registry.protocols import changed, load_protocol
from sslkit.runs.assembly import make_accelerator
from sslkit.runs.bookkeeping import counts
from sslkit.runs.embedder import Embedder, untrained_like
from sslkit.runs.head_backbone import changed_backbone, head_layout
from sslkit.runs.head_judging import judge, sampling_of
from sslkit.runs.head_parts import HeadParts, HeadRun
from sslkit.runs.head_results import summary, transferred
from sslkit.runs.head_training import train_head
from sslkit.runs.judged_head import JudgedHead
from sslkit.runs.label_part import drawn_part
from sslkit.runs.prediction_rows import PredictionRows
from sslkit.runs.splits import HeadSplits, open_head_splits
from sslkit.runs.state import on_main
from sslkit.training.feature_store import FeatureStore
from sslkit.training.precision import Layout

RANDOM = "random initialisation"
RESULT, SHEET = "result.json", "sheet.png"


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
    transfer: str | None = None,
    resume: bool = False,
    progress: bool = True,
) -> tuple[list[Result], str]:
    """Train the protocol's head with every seed: a result for the model, one untrained, the data's note.

    Every training lies in `out`/SUBJECT/seed-N: diary, checkpoints, weights, predictions, a sheet of pictures
    and result.json. transfer: data of another domain that each trained head is judged on as well, a result of
    its own with the gap between the two. resume: take finished results as they are and go on with an
    unfinished training.
    """
    plan = read_training(protocol.training, str(protocol.id))
    check_input(spec, plan)
    splits = open_head_splits(spec, data, test, plan, transfer=transfer)
    layout = on_main(lambda: _prepare(protocol, plan, embedder, splits, out, resume))
    run = HeadRun(protocol, plan, spec, splits, layout, out, progress)
    results = []
    for name in [subject, *([RANDOM] if baselines else [])]:
        rows = []
        for seed in seeds:
            judged = untrained_like(embedder, seed) if name == RANDOM else embedder
            rows.append(_measure(run, judged, name, seed, resume=resume))
        results.append(summary(run, name, rows))
        if splits.transfer is not None:
            results.append(transferred(run, f"{name}, {transfer}", rows, splits.transfer))
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
    folder = run.out / folder_name(subject) / f"seed-{seed}"
    done = folder / RESULT
    if resume and done.is_file():
        return cast("dict[str, Any]", json.loads(done.read_text("utf-8")))
    parts = head_parts(run, embedder, seed, folder)
    weights = weights_hash(embedder.backbone.network)
    found, _ = measure_seed(run, parts, embedder, label=f"{subject}, seed {seed}")
    result = {"subject": subject, "weights": weights, **found}
    if parts.accelerator.is_main_process:
        replace_text(done, json.dumps(result, indent=2) + "\n")
    parts.accelerator.wait_for_everyone()
    return result


def measure_seed(
    run: HeadRun, parts: HeadParts, embedder: Embedder, *, label: str
) -> tuple[dict[str, Any], JudgedHead]:
    """Train one head and judge it, with its weights, predictions and a sheet of pictures in its folder.

    Gives the figures in JSON terms, and of this process's share of the test samples all that was said.
    """
    model = train_head(parts, progress=run.progress, label=label)
    main, rank = parts.accelerator.is_main_process, parts.accelerator.process_index
    clip = sampling_of(run.plan)
    rows = PredictionRows(run.splits.test, cast(Head, model.head), clip)
    judged = JudgedHead(cast(Head, model.head))
    written = parts.folder / ("predictions" if main else f"predictions-{rank}")

    def judged_by(source: LabelledSource, **how: Any) -> Figures:
        with parts.timed("judging"):
            return judge(model, source, run.plan, parts.accelerator, stored=parts.stored, **how)

    with PredictionWriter(written, views=clip.rows if clip else 1) as writer:

        def keep(meta: Any, prediction: Any, target: Any) -> None:
            writer.write(meta, prediction)
            judged.add(meta, prediction, target)
            if main:
                rows.add(meta, prediction, target)

        figures = judged_by(run.splits.test, on_prediction=keep)
    result = {
        "seed": parts.seed,
        "protocol": str(run.protocol),
        "figures": finite(figures.figures),
        "per_class": finite(figures.per_class),
        "transfer": None,
        "parameters": counts(model, embedder),
        "best_step": parts.best.step if parts.best else run.plan.steps,
    }
    if run.splits.transfer is not None:
        result["transfer"] = finite(judged_by(run.splits.transfer).figures)
    if main:
        _save(model, parts.folder)
        draw_sheet(rows.rows, parts.folder / SHEET)
    return result, judged


def _save(model: TaskModel, folder: Path) -> None:
    """The weights that were judged; the backbone's too where it was trained."""
    kept = model.head if model.mode.frozen else model
    tensors = {name: value.detach().cpu().contiguous() for name, value in kept.state_dict().items()}
    save_file(tensors, folder / "weights.safetensors", metadata={"format": "pt"})


def head_parts(
    run: HeadRun, embedder: Embedder, seed: int, folder: Path, *, store: FeatureStore | None = None
) -> HeadParts:
    """Everything for one training; what is random in it starts from the seed alone."""
    backbone = changed_backbone(embedder, run.plan, run.protocol, seed=seed)
    if run.spec.input == "pair" and max(backbone.info.temporal_strides, default=1) > 1:
        raise ModelError(
            f"backbone '{backbone.architecture.described}' makes one map of several frames, and head "
            f"'{run.spec.name}' compares two; use stride 1 along time"
        )
    train = drawn_part(run.splits.train, run.plan, seed)
    task = replace(run.task, counts=tuple(map(int, train.class_counts().sum(axis=0))))
    torch.manual_seed(seed)
    head: nn.Module = build(
        "head", run.protocol.head, offered(backbone, run.spec), task, **run.protocol.options
    )
    model = TaskModel(backbone, head, mode=run.protocol.mode)
    lay_out(model, channels_last=run.layout.channels_last)
    accelerator = make_accelerator(run.layout.precision, str(folder))
    return HeadParts(
        run.protocol, run.plan, accelerator, model, train, run.splits.held_out, seed, folder, store=store
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
        **({"transfer": splits.transfer.fingerprint} if splits.transfer is not None else {}),
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
    layout = head_layout(embedder, plan, protocol)
    described = {
        **identity,
        "head": protocol.head,
        "mode": protocol.mode,
        "options": protocol.options,
        "backbone": dict(protocol.backbone or {}),
        "training": plan.model_dump(mode="json"),
        "source": protocol.source,
        "precision": layout.precision,
        "channels_last": layout.channels_last,
    }
    replace_text(note, json.dumps(described, indent=2, default=_plain) + "\n")
    return layout


def folder_name(subject: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", subject).strip("-") or "model"


def _plain(value: Any) -> Any:
    return dict(value) if hasattr(value, "items") else str(value)
