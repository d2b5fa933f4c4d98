"""A task of the transfer matrix that a probe measures: no training of a network, embeddings alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslkit.contracts import Features, Measurement, Probe, Source
from sslkit.errors import DataError
from sslkit.evaluation.embedding_sheet import draw_embeddings
from sslkit.evaluation.protocols import Protocol
from sslkit.evaluation.statistics import resampled
from sslkit.runs.bookkeeping import counts_frozen
from sslkit.runs.embedder import Embedder
from sslkit.runs.found import Found, gap
from sslkit.runs.probing import choose_probe, probed, with_sets
from sslkit.runs.splits import Splits, open_splits
from sslkit.runs.stored_features import embedded
from sslkit.training.feature_store import FeatureStore


@dataclass(frozen=True)
class ProbeTask:
    """What stays the same for all backbones and seeds. elsewhere: data of another domain, or None."""

    measurement: Measurement
    protocol: Protocol
    probe: Probe
    splits: Splits
    elsewhere: Source | None

    @classmethod
    def open(cls, measurement: Measurement) -> ProbeTask:
        """Open data and protocol; raises what `choose_probe` and `open_splits` raise."""
        protocol, probe = choose_probe(measurement.head, measurement.protocol or None, measurement.settings)
        splits = open_splits(measurement.data, measurement.test, fitted=probe.fitted, target=probe.target)
        elsewhere = None
        if measurement.transfer_to is not None:
            elsewhere = open_splits(measurement.transfer_to, None, fitted=False, target=probe.target).test
            if probe.fitted and list(elsewhere.classes) != list(splits.test.classes):
                raise DataError(
                    f"{measurement.transfer_to} has other classes than {measurement.data}; a probe that is "
                    "fitted on one can be judged on the other only where both have the same class names"
                )
        return cls(measurement, protocol, probe, splits, elsewhere)

    @property
    def metric(self) -> tuple[str, bool]:
        """The figure that counts, and whether more of it is better."""
        return self.probe.metric, self.probe.higher_is_better

    @property
    def train(self) -> Source | None:
        """What the probe is fitted on."""
        return self.splits.train

    @property
    def test(self) -> Source:
        """What is judged."""
        return self.splits.test

    @property
    def note(self) -> str:
        """How the data came to be parted."""
        return self.splits.note

    def measure(
        self, embedder: Embedder, seed: int, folder: Path, *, resamples: int, store: FeatureStore | None
    ) -> Found:
        """Fit and judge one trial; a sheet of pictures in `folder`."""
        began = time.perf_counter()

        def features(source: Source) -> Features:
            return with_sets(embedded(embedder, source, store, progress=False), source)

        train = None if self.splits.train is None else features(self.splits.train)
        test = features(self.splits.test)
        there = None if self.elsewhere is None else features(self.elsewhere)
        ready = time.perf_counter()
        classes = self.splits.test.classes
        judged = probed(self.probe, train, test, classes, trial=seed)
        figures = judged.figures()
        transfer: dict[str, Any] | None = None
        if there is not None and self.elsewhere is not None:
            found = probed(self.probe, train, there, self.elsewhere.classes, trial=seed).figures()
            transfer = gap(self.measurement, self.metric[0], figures.figures, found.figures)
        fitted = time.perf_counter()
        drawn = resampled(judged, self.probe.metric, resamples=resamples, key=self.splits.test.fingerprint)
        summed = time.perf_counter()
        draw_embeddings(folder / "sheet.png", test, self.splits.test, judged)
        return Found(
            figures.figures,
            figures.per_class,
            dict(judged.curves),
            drawn,
            train=0 if train is None else len(train),
            test=judged.count,
            parameters=counts_frozen(embedder),
            transfer=transfer,
            seconds={
                "features": ready - began,
                "training": fitted - ready,
                "judging": 0.0,
                "statistics": summed - fitted,
            },
        )
