"""What pretraining minimises. Shapes: N samples, K neighbours, D embedding width, P output width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sslkit.contracts.models import BackboneLike


class Embeddings(NamedTuple):
    """What one forward of a backbone under an objective gives; rows are samples in every tensor.

    embedding: (N, D), the pooled backbone output of the first view, detached: for the monitor.
    outputs: one (N, P) per view, what the loss differentiates (projections or predictions); the first is what
    a memory bank keeps.
    targets: (N, P) each, without gradient (a teacher's projections, of as many views as it sees); empty where
    the method has none.
    """

    embedding: Tensor
    outputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...] = ()


class Samples(NamedTuple):
    """Who the gathered rows are; int64 (N,) each.

    ids: positions in the source. groups: samples of one group (frames of one video) are never negatives of
    each other; every sample is a group of its own where the source knows none. labels: class numbers, -1
    where unknown; all -1 unless the objective says that it `needs_labels`.
    """

    ids: Tensor
    groups: Tensor
    labels: Tensor

    @classmethod
    def of(cls, ids: Tensor, labels: Tensor | None = None) -> Samples:
        """Samples without groups, and without labels where none are given."""
        return cls(ids, ids, torch.full_like(ids, -1) if labels is None else labels)


@dataclass(frozen=True)
class Neighbours:
    """Other samples chosen for each anchor from the whole corpus, aligned with the gathered rows.

    embeddings: (N, K, P), unit length, without gradient; ids: int64 (N, K), -1 where there is none;
    weights: (N, K), 0 where there is none.
    """

    embeddings: Tensor
    ids: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Mined:
    """What a miner found for each anchor: negatives to differ from, positives to agree with."""

    negatives: Neighbours | None = None
    positives: Neighbours | None = None


class Outcome(NamedTuple):
    """The value of an objective: `loss`, a scalar with gradient, and detached scalars worth logging."""

    loss: Tensor
    terms: Mapping[str, Tensor]


class Objective(Protocol):
    """What pretraining minimises, as an nn.Module that owns everything the method adds to the backbone.

    It is built as `Objective(backbone, **options)` and must not keep the backbone. The two stages are apart
    because ranks meet between them: `embed` sees local rows, `loss` sees the rows of all ranks and knows no
    ranks. A parameter used in `loss` gets the same gradient on every rank. Random numbers in `loss` come from
    `sslkit.keyed_random` and a counter in the state, never from torch's generator.

    A class may say `needs_labels = True` (else every label is -1) and `takes_mined = True` (else a run with a
    miner is refused).
    """

    def embed(self, backbone: BackboneLike, views: Sequence[Tensor]) -> Embeddings:
        """Local views, each (N, C, H, W), to embeddings of local rows; runs under the distributed wrapper."""
        ...

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """Gathered rows to a scalar, identical on every rank; all ranks call it at once. Changes no state."""
        ...

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """Moves what is no parameter (teachers, queues, centres) after an optimiser step.

        progress: runs from 0 to 1 over the whole run.
        """
        ...
