"""Evaluation: how good is a frozen representation, beside the same network untrained and the raw pixels?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from sslkit.contracts import Source
from sslkit.data.clips import Clips
from sslkit.data.loader import Loader, choose_canvas
from sslkit.data.reader import holds_video
from sslkit.data.subset import Subset
from sslkit.data.views.plain import evaluation_view
from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.features import Features
from sslkit.evaluation.measure import Probe, measure
from sslkit.evaluation.protocols import Protocol, load_protocol
from sslkit.evaluation.report import Result, results_json, text_table, write_results
from sslkit.keyed_random import permutation
from sslkit.models.backbone import create_backbone
from sslkit.registry import open_source, resolve
from sslkit.runs.embedder import Embedder, on_device, open_embedder

PROTOCOLS = {"knn": "knn-20", "linear": "linear-lbfgs"}
"""The protocol a probe is measured by unless another is named."""

HELD_OUT = 0.2
"""Share of a set without splits that is held out for the test."""

_TEST_SPLITS = ("test", "val", "valid", "validation")
_PIXEL_SIDE = 32


@dataclass(frozen=True)
class Evaluation:
    """Results of one protocol on one data set, best known first: the model, then its baselines."""

    results: tuple[Result, ...]
    protocol: Protocol
    data: str

    def to_dict(self) -> dict[str, Any]:
        """What results.json holds, as plain values."""
        described: dict[str, Any] = json.loads(results_json(self.results))
        return {**described, "data": self.data, "protocol_source": self.protocol.source}

    def to_text(self) -> str:
        """A table for people."""
        return f"{self.protocol} on {self.data}\n{text_table(self.results)}"


@dataclass(frozen=True)
class Splits:
    """What a probe is fitted on and judged on, and how they came to be."""

    train: Source
    test: Source
    note: str


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    test: str | Path | None = None,
    head: str = "knn",
    protocol: str | Path | None = None,
    baselines: bool = True,
    out: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Measure a run or timm model with a probe on labelled data.

    data: fitted on; where it has a test or validation split, or `test` names other data, that is judged, else
    a held-out fifth. baselines: also measure the same architecture at random initialisation (`seed`) and, for
    k-NN, raw pixels. out: folder for results.json and results.md.

    Raises ConfigError for unknown names, DataError for data without labels, ModelError for a wrong model.
    """
    described, probe = choose_protocol(head, protocol)
    splits = open_splits(str(data), None if test is None else str(test))
    embedder = open_embedder(model)
    subjects = [(Path(str(model)).name, embedder)]
    if baselines:
        subjects.append(("random initialisation", untrained_like(embedder, seed)))
    results = [
        measure_embedder(subject, name, splits, described, probe, progress=progress)
        for name, subject in subjects
    ]
    if baselines and described.head == "knn":
        channels = embedder.backbone.channels
        # A grey network's floor is the whole picture, colours too; other numbers of channels are the data's.
        results.append(measure_pixels(splits, described, probe, channels=3 if channels == 1 else channels))
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        write_results(results, Path(out))
    return Evaluation(tuple(results), described, splits.note)


def choose_protocol(head: str, protocol: str | Path | None) -> tuple[Protocol, Probe]:
    """The protocol asked for, or the head's own, with the probe its head stands for."""
    probe = cast(Probe, resolve("head", head))
    if protocol is None and head not in PROTOCOLS:
        raise ConfigError(f"head '{head}' has no protocol of its own; name one with --protocol FILE")
    described = load_protocol(protocol if protocol is not None else PROTOCOLS[head])
    if described.head != head:
        raise ConfigError(f"protocol {described} measures with head '{described.head}', not '{head}'")
    return described, probe


def open_splits(data: str, test: str | None) -> Splits:
    """Find what to fit on and what to judge on; raises DataError without labels or common classes."""
    train = open_source(data)
    if test is not None:
        judged, note = open_source(test), f"{data}, judged on {test}"
    elif found := [split for split in _TEST_SPLITS if split in train.splits]:
        judged, note = open_source(data, split=found[0]), f"{data}, judged on its split '{found[0]}'"
    else:
        order = permutation(len(train), seed=0, epoch=0).numpy()
        held = round(HELD_OUT * len(order))
        if held == 0:
            raise DataError(f"{data} holds {len(order)} samples, too few to hold some out; give --test")
        note = f"{data}, judged on a held-out fifth"
        train, judged = Subset(train, np.sort(order[held:])), Subset(train, np.sort(order[:held]))
    for source, name in ((train, data), (judged, test or data)):
        if source.labels is None or len(source.classes) < 2:
            raise DataError(
                f"{name} has no labels of at least two classes; put images into one folder per class, "
                "or give a list file with a label on each line"
            )
    if list(train.classes) != list(judged.classes):
        raise DataError(
            f"{data} has the classes {_some(train.classes)}, {test} has {_some(judged.classes)}; "
            "both must have the same class names"
        )
    return Splits(train, judged, note)


def untrained_like(embedder: Embedder, seed: int) -> Embedder:
    """The same architecture at random initialisation, looking at the same size and clips."""
    torch.manual_seed(seed)
    architecture = embedder.backbone.architecture
    backbone = create_backbone(architecture.name, stem=architecture.stem, options=architecture.options)
    return replace(embedder, backbone=on_device(backbone), model=f"random:{architecture.name}")


def measure_embedder(
    embedder: Embedder,
    subject: str,
    splits: Splits,
    protocol: Protocol,
    probe: Probe,
    *,
    progress: bool = True,
) -> Result:
    """Embed both splits and apply the probe."""
    train = embedder.features(splits.train, progress=progress)
    test = embedder.features(splits.test, progress=progress)
    return measure_features(subject, train, test, splits, protocol, probe, weights=embedder.model_hash)


def measure_features(
    subject: str,
    train: Features,
    test: Features,
    splits: Splits,
    protocol: Protocol,
    probe: Probe,
    *,
    weights: str,
) -> Result:
    """Apply the probe to features already at hand."""
    classes = splits.train.classes
    score = measure(protocol, probe, _labelled(train), _labelled(test), classes, subject=subject)
    return Result(score, str(protocol), weights, len(train), len(test), len(classes))


def measure_pixels(splits: Splits, protocol: Protocol, probe: Probe, *, channels: int = 3) -> Result:
    """The floor: centred raw pixels of images of so many channels, reduced to 32 x 32."""
    train, test = _pixels(splits.train, channels), _pixels(splits.test, channels)
    mean = train.embeddings.mean(dim=0)
    train, test = (
        Features(part.ids, part.embeddings - mean, part.labels, part.skipped) for part in (train, test)
    )
    return measure_features("raw pixels", train, test, splits, protocol, probe, weights="-")


def _pixels(source: Source, channels: int) -> Features:
    ids, rows, labels = [], [], []
    loader = Loader(
        source,
        batch_size=min(256, len(source)),
        canvas=choose_canvas(source, _PIXEL_SIDE),
        channels=channels,
        workers=0,
        clips=Clips() if holds_video(source) else None,
        still=True,
        shuffle=False,
        drop_last=False,
    )
    for batch in loader.epoch(0):
        zeros, ones = [0.0] * channels, [1.0] * channels
        images = evaluation_view(
            batch.pixels, batch.rectangles, size=_PIXEL_SIDE, mean=zeros, std=ones, crop=1.0
        )
        ids.append(batch.ids)
        rows.append(images.flatten(1))
        labels.append(batch.labels)
    return Features(torch.cat(ids), torch.cat(rows), torch.cat(labels))


def _labelled(features: Features) -> Features:
    known = features.labels >= 0
    return Features(features.ids[known], features.embeddings[known], features.labels[known])


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f", ... ({len(names)} in all)" if len(names) > 4 else "")
