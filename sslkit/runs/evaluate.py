"""Evaluation: how good is a frozen representation, beside the same network untrained and the raw pixels?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from sslkit.contracts import Features, Probe, Score, Source
from sslkit.data.clips import Clips
from sslkit.data.loader import Loader, choose_canvas
from sslkit.data.reader import holds_video
from sslkit.data.views.plain import evaluation_view
from sslkit.errors import ConfigError
from sslkit.evaluation.protocols import Protocol
from sslkit.evaluation.report import Result, results_json, text_table, write_results
from sslkit.registry import names
from sslkit.runs.assembly import process
from sslkit.runs.embedder import Embedder, open_embedder, untrained_like
from sslkit.runs.head_evaluation import RANDOM, choose_head, evaluate_head
from sslkit.runs.head_results import over_seeds
from sslkit.runs.probing import choose_probe, probed, with_sets
from sslkit.runs.splits import Splits, open_splits

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
    folder for results.json and results.md, and for a head's trainings. seeds: trainings of a head or draws
    of a probe, from `seed` on. resume: go on with the trainings in `out`.

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
    if resume or transfer_to is not None:
        raise ConfigError(f"--resume and --transfer-to are of heads, which are trained; '{head}' is a probe")
    described, probe = choose_probe(head, protocol, settings)
    splits = open_splits(str(data), test, fitted=probe.fitted, target=probe.target)
    trials = range(seed, seed + seeds)
    embedder = open_embedder(model)
    subjects = [(Path(str(model)).name, embedder)]
    if baselines:
        subjects.append((RANDOM, untrained_like(embedder, seed)))
    results = [
        measure_embedder(subject, name, splits, described, probe, trials=trials, progress=progress)
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


def measure_embedder(
    embedder: Embedder,
    subject: str,
    splits: Splits,
    protocol: Protocol,
    probe: Probe,
    *,
    trials: Sequence[int] = (0,),
    progress: bool = True,
) -> Result:
    """Embed both splits and apply the probe."""
    train = None if splits.train is None else embedder.features(splits.train, progress=progress)
    test = embedder.features(splits.test, progress=progress)
    return measure_features(
        subject, train, test, splits, protocol, probe, weights=embedder.model_hash, trials=trials
    )


def measure_features(
    subject: str,
    train: Features | None,
    test: Features,
    splits: Splits,
    protocol: Protocol,
    probe: Probe,
    *,
    weights: str,
    trials: Sequence[int] = (0,),
) -> Result:
    """Apply the probe to features already at hand, once for each trial: means and spreads."""
    if train is not None and splits.train is not None:
        train = with_sets(train, splits.train)
    classes = splits.test.classes
    judged = with_sets(test, splits.test)
    found = [probed(probe, train, judged, classes, trial=trial).figures() for trial in trials]
    rows = [{"figures": one.figures, "per_class": one.per_class} for one in found]
    means, spread = over_seeds(rows, "figures")
    score = Score(subject, means, over_seeds(rows, "per_class")[0])
    return Result(
        score,
        str(protocol),
        weights,
        0 if train is None else len(train),
        len(test),
        len(classes),
        seeds=len(trials),
        spread=spread,
    )


def measure_pixels(splits: Splits, protocol: Protocol, probe: Probe, *, channels: int = 3) -> Result:
    """The floor: centred raw pixels of images of so many channels, reduced to 32 x 32."""
    test = _pixels(splits.test, channels)
    train = test if splits.train is None else _pixels(splits.train, channels)
    mean = train.embeddings.mean(dim=0)
    train, test = (replace(part, embeddings=part.embeddings - mean) for part in (train, test))
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
