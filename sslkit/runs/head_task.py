"""A task of the transfer matrix that a trained head measures."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from sslkit.config.head_training import HeadTraining, check_input, read_training
from sslkit.contracts import HeadSpec, LabelledSource, Measurement, Source
from sslkit.evaluation.protocols import Protocol
from sslkit.evaluation.statistics import resampled
from sslkit.runs.embedder import Embedder
from sslkit.runs.found import Found, gap
from sslkit.runs.head_backbone import head_layout
from sslkit.runs.head_evaluation import choose_head, head_parts, measure_seed
from sslkit.runs.head_parts import HeadRun
from sslkit.runs.splits import HeadSplits, open_head_splits
from sslkit.training.feature_store import FeatureStore
from sslkit.training.precision import Layout

LAYOUT = "layout.json"


@dataclass(frozen=True)
class HeadTask:
    """What stays the same for all backbones and seeds; folder: where the number format of all is kept."""

    measurement: Measurement
    protocol: Protocol
    plan: HeadTraining
    spec: HeadSpec
    splits: HeadSplits
    folder: Path
    _layouts: list[Layout] = field(default_factory=list)

    @classmethod
    def open(cls, measurement: Measurement, folder: Path) -> HeadTask:
        """Open data and protocol; raises what `choose_head` and `open_head_splits` raise."""
        spec, protocol = choose_head(measurement.head, measurement.protocol or None, measurement.settings)
        plan = read_training(protocol.training, str(protocol.id))
        check_input(spec, plan)
        splits = open_head_splits(
            spec, measurement.data, measurement.test, plan, transfer=measurement.transfer_to
        )
        return cls(measurement, protocol, plan, spec, splits, folder)

    @property
    def metric(self) -> tuple[str, bool]:
        """The figure that counts, and whether more of it is better."""
        return self.spec.metric, self.spec.higher_is_better

    @property
    def train(self) -> LabelledSource:
        """What the head is trained on."""
        return self.splits.train

    @property
    def test(self) -> LabelledSource:
        """What is judged."""
        return self.splits.test

    @property
    def elsewhere(self) -> Source | None:
        """Data of another domain."""
        return self.splits.transfer

    @property
    def note(self) -> str:
        """How the data came to be parted."""
        return self.splits.note

    def measure(
        self, embedder: Embedder, seed: int, folder: Path, *, resamples: int, store: FeatureStore | None
    ) -> Found:
        """Train and judge one seed, from its checkpoint where there is one; all it leaves is in `folder`."""
        run = HeadRun(self.protocol, self.plan, self.spec, self.splits, self._layout(embedder), folder, False)
        parts = head_parts(run, embedder, seed, folder, store=store)
        result, judged = measure_seed(run, parts, embedder, label=f"seed {seed}")
        began = time.perf_counter()
        drawn: tuple[float, ...] = ()
        if judged.whole:
            key = self.splits.test.fingerprint
            drawn = resampled(judged, self.spec.metric, resamples=resamples, key=key)
        summed = time.perf_counter()
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the weights that were judged are kept
        transfer = None
        if result["transfer"] is not None:
            transfer = gap(self.measurement, self.spec.metric, result["figures"], result["transfer"])
        return Found(
            result["figures"],
            result["per_class"],
            {},
            drawn,
            train=len(parts.train),
            test=len(self.splits.test),
            parameters=result["parameters"],
            transfer=transfer,
            seconds={**parts.seconds, "statistics": summed - began},
        )

    def _layout(self, embedder: Embedder) -> Layout:
        """The number format and memory layout all trainings of the task share: timed once, then kept."""
        if not self._layouts:
            kept = self.folder / LAYOUT
            if not kept.is_file():
                chosen = head_layout(embedder, self.plan, self.protocol)
                self.folder.mkdir(parents=True, exist_ok=True)
                aside = self.folder / f".{uuid.uuid4().hex}.tmp"
                aside.write_text(json.dumps([chosen.precision, chosen.channels_last]) + "\n")
                try:
                    os.link(aside, kept)  # of several processes the first one's choice is everyone's
                except FileExistsError:
                    pass
                finally:
                    aside.unlink()
            self._layouts.append(Layout(*json.loads(kept.read_text("utf-8"))))
        return self._layouts[0]
