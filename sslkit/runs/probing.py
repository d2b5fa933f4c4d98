"""Probes on a backbone: from samples to embeddings to a judgement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from sslkit.contracts import ClassSet, Features, Judged, LabelledSource, Probe, Source
from sslkit.errors import ConfigError
from sslkit.evaluation.protocols import Protocol
from sslkit.registry import build, resolve
from sslkit.registry.protocols import changed, load_protocol


def choose_probe(
    head: str, protocol: str | Path | None, settings: Sequence[str] = ()
) -> tuple[Protocol, Probe]:
    """The protocol asked for, or the probe's own, and the probe with its options.

    Raises ConfigError, also for options the probe does not take, or UnknownNameError.
    """
    kind = cast("type[Probe]", resolve("probe", head))
    if not protocol and not kind.protocol:
        raise ConfigError(f"head '{head}' has no protocol of its own; name one with --protocol FILE")
    described = load_protocol(protocol or kind.protocol)
    if described.head.rpartition(":")[2] != head.rpartition(":")[2]:
        raise ConfigError(f"protocol {described} measures with head '{described.head}', not '{head}'")
    described = changed(described, list(settings))
    if described.mode != "frozen":
        raise ConfigError(
            f"protocol {described} has mode '{described.mode}'; a probe of embeddings needs 'frozen'"
        )
    return described, cast(Probe, build("probe", head, **described.options))


def probed(
    probe: Probe, train: Features | None, test: Features, classes: Sequence[str], *, trial: int
) -> Judged:
    """The probe's judgement of the test samples that have a target, fitted to training samples that do."""
    fitted = None if train is None or not probe.fitted else _known(train)
    return probe(fitted, _known(test), classes, trial=trial)


def with_sets(features: Features, source: Source) -> Features:
    """The same with the classes of each sample, where the source's targets are sets of them."""
    if getattr(source, "target_kind", None) != "labels":
        return features
    labelled = cast(LabelledSource, source)
    sets = [cast(ClassSet, labelled.target(id)).present for id in features.ids.tolist()]
    return Features(
        features.ids, features.embeddings, features.labels, features.skipped, torch.stack(sets).bool()
    )


def _known(features: Features) -> Features:
    return features if features.sets is not None else features[features.labels >= 0]
