"""Features of frozen networks from a store: embeddings for probes, vectors and maps for heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from accelerate import Accelerator

from sslkit.config.head_training import HeadTraining
from sslkit.contracts import Features, HeadFeatures, LabelledSource, Skipped, Source
from sslkit.data.clip_sampling import ClipSampling
from sslkit.data.labelled import LabelledLoader
from sslkit.data.reader import holds_video
from sslkit.evaluation.features import joined
from sslkit.models.modes import evaluating
from sslkit.models.task_model import TaskModel, offered
from sslkit.runs.embedder import Embedder
from sslkit.runs.feature_facts import machine_facts, network_facts, source_facts
from sslkit.training.feature_cache import FeatureCache, write_features
from sslkit.training.feature_entry import EntryWriter
from sslkit.training.feature_store import FeatureStore

ROWS = 128
"""Samples that are embedded at a time."""


def embedded(
    embedder: Embedder, source: Source, store: FeatureStore | None, *, progress: bool = True
) -> Features:
    """All embeddings of a source in one piece, from a store where they are there; no store: computed.

    Raises DataError when nothing decodes.
    """

    def compute() -> Features:
        return joined(embedder.stream(source, batch_size=ROWS, progress=progress))

    if store is None:
        return compute()
    computed: list[bool] = []
    facts = {
        "kind": "embeddings",
        "network": network_facts(embedder.backbone),
        "preprocessing": embedder.preprocessing,
        "clips": asdict(embedder.clips) if holds_video(source) else None,
        "batch": min(ROWS, len(source)),
        "source": source_facts(source),
        "machine": machine_facts(embedder.device),
    }
    found = store.features(facts, lambda: computed.append(True) or compute())  # type: ignore[func-returns-value]
    if found.skipped and not computed and progress:  # what was computed has told it
        first = found.skipped[0]
        store.say(
            f"{len(found.skipped)} of {len(source)} images could not be decoded and are left out; the first: "
            f"{first.name}: {first.reason}"
        )
    return found


@dataclass
class FrozenFeatures:
    """What the frozen backbone of a training makes of its sources, read from a store or written into it.

    One batch is what the backbone sees at a time where it computes them without a store, so that numbers do
    not depend on whether there was one. timed: around the time it takes, which is given the word "features".
    """

    model: TaskModel
    plan: HeadTraining
    accelerator: Accelerator
    store: FeatureStore
    timed: Callable[[str], AbstractContextManager[Any]] = nullcontext
    _known: dict[tuple[int, ClipSampling | None], FeatureCache] = field(default_factory=dict)
    _sources: list[LabelledSource] = field(default_factory=list)  # alive, so that no id is given away

    def of(self, source: LabelledSource, clip: ClipSampling | None) -> FeatureCache:
        """Features of all samples, each on a canvas of its own; clip: how videos are looked at.

        Of several processes one computes them, and the others wait. Raises NotKeptError where they cannot
        be kept.
        """
        place = (id(source), clip)
        if place not in self._known:
            with self.timed("features"):
                facts = self.facts(source, clip)
                entry = self.store.entry(facts, lambda writer: self._fill(writer, source, clip))
                self._known[place] = FeatureCache(entry)
            self._sources.append(source)
        return self._known[place]

    def facts(self, source: LabelledSource, clip: ClipSampling | None) -> dict[str, Any]:
        """Everything that shapes them, in JSON terms."""
        spec = self.model.spec
        maps = spec.features != "vector"
        return {
            "kind": "head features",
            "network": self._network,
            "features": list(offered(self.model.backbone, spec).names) if maps else "vector",  # type: ignore[arg-type]
            "input": spec.input,
            "size": list(self.plan.size),
            "clip": None if clip is None else asdict(clip),
            "batch": min(self.plan.batch, len(source)),
            "precision": str(self.accelerator.mixed_precision),
            "source": source_facts(source),
            "machine": machine_facts(self.accelerator.device),
        }

    @cached_property
    def _network(self) -> dict[str, Any]:
        return network_facts(self.model.backbone)

    def _fill(self, writer: EntryWriter, source: LabelledSource, clip: ClipSampling | None) -> None:
        loader = feature_loader(self.model, self.plan, source, clip)
        write_features(writer, self._batches(loader), of=len(source) * (clip.rows if clip else 1))

    def _batches(self, loader: LabelledLoader) -> Iterator[tuple[HeadFeatures | None, Sequence[Skipped]]]:
        with evaluating(self.model):
            for batch in loader.epoch(0):
                features = None
                if len(batch):
                    there = batch.to(self.accelerator.device)
                    with torch.no_grad(), self.accelerator.autocast():
                        features = self.model.features(there.pixels, there.metas)
                yield features, batch.skipped


def feature_loader(
    model: TaskModel,
    plan: HeadTraining,
    source: LabelledSource,
    clip: ClipSampling | None,
    *,
    rank: int = 0,
    world: int = 1,
) -> LabelledLoader:
    """Every sample once over all ranks, unchanged, in the order of the source."""
    return LabelledLoader(
        source,
        size=plan.size,
        batch_size=min(plan.batch, len(source)),
        channels=getattr(model.backbone, "channels", 3),
        pairs=model.spec.input == "pair",
        clip=clip,
        augment=None,
        rank=rank,
        world=world,
        shuffle=False,
        drop_last=False,
        threads=torch.get_num_threads(),
    )
