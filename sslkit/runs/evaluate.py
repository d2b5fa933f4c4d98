"""Evaluation: how good is a frozen representation, beside the same network untrained and the raw pixels?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

from sslkit.contracts import Source
from sslkit.data.clips import Clips
from sslkit.data.loader import Loader, choose_canvas
from sslkit.data.reader import holds_video
from sslkit.data.views.plain import evaluation_view
from sslkit.errors import ConfigError
from sslkit.evaluation.features import Features
from sslkit.evaluation.measure import Probe, measure
from sslkit.evaluation.protocols import Protocol
from sslkit.evaluation.report import Result, results_json, text_table, write_results
from sslkit.registry import names, resolve
from sslkit.registry.protocols import changed, load_protocol
from sslkit.runs.assembly import process
from sslkit.runs.embedder import Embedder, open_embedder, untrained_like
from sslkit.runs.head_evaluation import RANDOM, choose_head, evaluate_head
from sslkit.runs.splits import Splits, open_splits

PROTOCOLS = {"knn": "knn-20", "linear": "linear-lbfgs"}
"""The protocol a probe is measured by unless another is named."""

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


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    test: str | Path | None = None,
    transfer_to: str | Path | None = None,
    head: str = "knn",
    protocol: str | Path | None = None,
    settings: Sequence[str] = (),
    baselines: bool = True,
    out: str | Path | None = None,
    seed: int = 0,
    seeds: int = 1,
    resume: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Measure a run or timm model with a probe or a head on data with labels, boxes, masks, ...

    data: fitted on; where it has a test or validation split, or `test` names other data, that is judged, else
    a held-out fifth. transfer_to: data of another domain on which each trained head is judged as well; the
    results then show the gap. settings: changes of the protocol, such as "training.steps=500". baselines:
    also measure the same architecture at random initialisation (`seed`) and, for k-NN, raw pixels. out:
    folder for results.json and results.md, and for a head's trainings. seeds: trainings of a head, from
    `seed` on. resume: go on with the trainings in `out`.

    Raises ConfigError for unknown names, DataError for data without labels or targets, or with wrong ones,
    ModelError for a wrong model.
    """
    test = None if test is None else str(test)
    if head not in names("probe"):
        wanted = range(seed, seed + seeds)
        spec, described = choose_head(head, protocol, settings)
        with TemporaryDirectory(prefix="sslkit-") if out is None else nullcontext(str(out)) as folder:
            results, note = evaluate_head(
                open_embedder(model),
                str(data),
                test=test,
                spec=spec,
                protocol=described,
                subject=Path(str(model)).name,
                baselines=baselines,
                out=Path(folder),
                seeds=wanted,
                transfer=None if transfer_to is None else str(transfer_to),
                resume=resume,
                progress=progress,
            )
        return _written(Evaluation(tuple(results), described, note), out)
    if seeds != 1 or resume or transfer_to is not None:
        raise ConfigError(
            f"--seeds, --resume and --transfer-to are of heads, which are trained; '{head}' is a probe"
        )
    described, probe = choose_protocol(head, protocol, settings)
    splits = open_splits(str(data), test)
    embedder = open_embedder(model)
    subjects = [(Path(str(model)).name, embedder)]
    if baselines:
        subjects.append((RANDOM, untrained_like(embedder, seed)))
    results = [
        measure_embedder(subject, name, splits, described, probe, progress=progress)
        for name, subject in subjects
    ]
    if baselines and described.head == "knn":
        channels = embedder.backbone.channels
        # A grey network's floor is the whole picture, colours too; other numbers of channels are the data's.
        results.append(measure_pixels(splits, described, probe, channels=3 if channels == 1 else channels))
    return _written(Evaluation(tuple(results), described, splits.note), out)


def _written(evaluation: Evaluation, out: str | Path | None) -> Evaluation:
    if out is not None and process().is_main_process:
        Path(out).mkdir(parents=True, exist_ok=True)
        write_results(evaluation.results, Path(out))
    return evaluation


def choose_protocol(
    head: str, protocol: str | Path | None, settings: Sequence[str] = ()
) -> tuple[Protocol, Probe]:
    """The protocol asked for, or the head's own, with the probe its head stands for."""
    probe = cast(Probe, resolve("probe", head))
    if protocol is None and head not in PROTOCOLS:
        raise ConfigError(f"head '{head}' has no protocol of its own; name one with --protocol FILE")
    described = load_protocol(protocol if protocol is not None else PROTOCOLS[head])
    if described.head != head:
        raise ConfigError(f"protocol {described} measures with head '{described.head}', not '{head}'")
    return changed(described, list(settings)), probe


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
