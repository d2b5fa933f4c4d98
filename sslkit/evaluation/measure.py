"""A protocol applied to features by its probe; the probes are registered as the heads `knn` and `linear`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from sslkit.contracts import Score
from sslkit.errors import ConfigError
from sslkit.evaluation.features import Features
from sslkit.evaluation.knn import knn_classify
from sslkit.evaluation.linear import fit_linear
from sslkit.evaluation.metrics import score
from sslkit.evaluation.protocols import Protocol

Probe = Callable[[Features, Features, int, Mapping[str, Any]], Tensor]


def measure(
    protocol: Protocol,
    probe: Probe,
    train: Features,
    test: Features,
    class_names: Sequence[str],
    *,
    subject: str,
) -> Score:
    """Fit a probe on `train` and judge it on `test`; both labelled in 0..len(class_names)-1.

    probe: what the protocol's head stands for: (train, test, number of classes, the protocol's options) to
    the ranked classes of the test rows, int64 (M, min(5, K)).

    Raises:
        ConfigError: the mode is not `frozen`, or the options do not fit the head or the number of samples.
        DataError: labels or embeddings cannot be used.
    """
    if protocol.mode != "frozen":
        raise ConfigError(
            f"protocol {protocol} has mode '{protocol.mode}'; a probe of features needs 'frozen'"
        )
    ranking = probe(train, test, len(class_names), protocol.options)
    return score(subject, ranking, test.labels, class_names)


def knn(train: Features, test: Features, classes: int, options: Mapping[str, Any]) -> Tensor:
    """The weighted k-NN probe; options k and temperature."""
    _match(options, "knn", ("k", "temperature"))
    return knn_classify(train.embeddings, train.labels, test.embeddings, classes=classes, **options).ranking


def linear(train: Features, test: Features, classes: int, options: Mapping[str, Any]) -> Tensor:
    """The linear probe; options l2, held_out_share, max_iterations and seed."""
    _match(options, "linear", ("l2", "held_out_share", "max_iterations", "seed"))
    return fit_linear(train.embeddings, train.labels, classes=classes, **options).rank(test.embeddings)


def _match(options: Mapping[str, Any], head: str, names: Sequence[str]) -> None:
    if set(options) != set(names):
        raise ConfigError(
            f"the {head} probe takes exactly the options {', '.join(names)}; "
            f"the protocol gives {', '.join(sorted(options)) or 'none'}"
        )
