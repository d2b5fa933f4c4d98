"""MoCo: find the key a slowly moving teacher gives of the other view among many keys (He et al. 2020).

Version 2 (Chen, Fan et al. 2020) compares with a queue of past keys, version 3 (Chen, Xie and He 2021) with
the other keys of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Outcome, Samples
from sslkit.errors import ConfigError
from sslkit.keyed_random import hashed, word
from sslkit.models.projector import Projector
from sslkit.models.teacher import Teacher, cosine_momentum


def moco(
    queries: Tensor,
    keys: Tensor,
    *,
    temperature: float,
    queue: Tensor | None = None,
    excluded: Tensor | None = None,
) -> Tensor:
    """InfoNCE (He et al. 2020, equation 1), mean over the N queries: plain cross entropy, not scaled.

    queries: (N, P), the student's. keys: (N, P), the teacher's of the other view, row i the positive of query
    i; no gradient flows into them. queue: (Q, P), the negatives; without it they are the other keys of the
    batch, and 2 * temperature times the value is the loss of version 3 (Chen, Xie and He 2021, algorithm 1).
    excluded: bool (N, Q), or (N, N) without a queue, true where a candidate is no negative of a query.
    Computed in float32 or better on normalised rows. Returns a scalar, 0 where no negative is left.
    """
    with torch.autocast(queries.device.type, enabled=False):
        exact = torch.promote_types(queries.dtype, torch.float32)
        anchors = F.normalize(queries.to(exact), dim=1)  # N x P
        targets = F.normalize(keys.detach().to(exact), dim=1)  # N x P
        if queue is None:
            candidates = targets
            own = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
            excluded = own if excluded is None else own | excluded
        else:
            candidates = F.normalize(queue.detach().to(exact), dim=1)  # Q x P
        positive = (anchors * targets).sum(dim=1, keepdim=True)  # N x 1
        negative = anchors @ candidates.T  # N x Q
        if excluded is not None:
            negative = negative.masked_fill(excluded, -torch.inf)
        logits = torch.cat([positive, negative], dim=1) / temperature
        return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.int64))


class Queue(nn.Module):
    """The newest keys, first in, first out, with the group of each; all of it is in the state dict.

    keys: (Q, P), unit length. groups: int64 (Q,). written: how many keys were ever put in, int64; the next
    goes to slot `written % Q`, and `min(written, Q)` slots hold keys. The others are never read as such.
    Nothing here waits for a device.
    """

    keys: Tensor
    groups: Tensor
    written: Tensor

    def __init__(self, slots: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(slots, width))
        self.register_buffer("groups", torch.full((slots,), -1, dtype=torch.int64))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return self.keys.shape[0]

    @property
    def filled(self) -> Tensor:
        """Bool (Q,): the slots that hold a key."""
        return torch.arange(len(self), device=self.keys.device) < self.written

    @torch.no_grad()
    def put(self, ids: Tensor, groups: Tensor, keys: Tensor) -> None:
        """Keys (N, P) of samples `ids` in place of the oldest; of more than Q, Q are put in.

        The order is a hash of the ids: ranks do not change it, and no kind of sample is dropped sooner.
        """
        order = torch.argsort(hashed(word("queue"), self.written, ids), stable=True)[: len(self)]
        slots = (self.written + torch.arange(len(order), device=order.device)) % len(self)
        self.keys[slots] = F.normalize(keys[order], dim=1).to(self.keys.dtype)
        self.groups[slots] = groups[order]
        self.written += len(order)


class _Seen(NamedTuple):
    """What one call of `loss` leaves for the queue; rows are keys."""

    ids: Tensor
    groups: Tensor
    keys: Tensor


class _Paper(NamedTuple):
    queue: int
    momentum: float
    hidden: int
    outputs: int


_PAPERS = {2: _Paper(65536, 0.999, 2048, 128), 3: _Paper(0, 0.99, 4096, 256)}


class MoCo(nn.Module):
    """MoCo with projector, teacher and, by version, a queue (2) or a predictor (3); takes two views.

    version 2: the student sees the first view, the teacher the second, and the negatives are the newest
    `queue` keys. The queue starts empty, never with random vectors: until the first step has put keys in, the
    other keys of the batch are the negatives. Momentum is constant; the projector has no BatchNorm.
    version 3: no queue; a predictor on the student; both directions; the loss times 2 * temperature; the
    momentum rises to 1 by a cosine over the run. Layers are those the authors use for ResNets;
    projector_layers=3 is theirs for ViTs.

    A key of the query's own sample or group is never its negative. Nothing is shuffled to hide BatchNorm's
    statistics, as the first version did: the loop synchronises BatchNorm over all ranks.

    symmetric: both views through student and teacher, both directions added, both keys enqueued.
    temperature: divisor of the cosine similarities, > 0. momentum: of the teacher's moving average.
    None stands for the value of that version's paper. Raises ConfigError for options that do not fit.
    """

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        version: int = 2,
        queue: int | None = None,
        symmetric: bool | None = None,
        temperature: float = 0.2,
        momentum: float | None = None,
        projector_hidden: int | None = None,
        projector_outputs: int | None = None,
        projector_layers: int = 2,
        predictor_hidden: int | None = None,
    ) -> None:
        super().__init__()
        if version not in _PAPERS:
            raise ConfigError(f"objective.version is {version}; MoCo has 2 (a queue) and 3 (no queue)")
        paper = _PAPERS[version]
        slots = paper.queue if queue is None else queue
        if (slots > 0) != (version == 2):
            raise ConfigError(
                f"objective.queue is {slots} with version {version}; version 2 needs a queue of at least 1 "
                "key, version 3 keeps none (queue=0)"
            )
        if version == 2 and predictor_hidden is not None:
            raise ConfigError("objective.predictor_hidden is given, but only version 3 has a predictor")
        if temperature <= 0:
            raise ConfigError(f"objective.temperature is {temperature}; it must be > 0")
        self.momentum = paper.momentum if momentum is None else momentum
        if not 0.0 <= self.momentum <= 1.0:
            raise ConfigError(f"objective.momentum is {momentum}; it is a share and must lie in [0, 1]")
        if not isinstance(backbone, nn.Module):
            raise TypeError(f"the teacher copies the backbone, an nn.Module; given {type(backbone).__name__}")
        self.version, self.temperature = version, temperature
        self.symmetric = version == 3 if symmetric is None else symmetric
        hidden, width = projector_hidden or paper.hidden, projector_outputs or paper.outputs
        self.projector = Projector(
            backbone.embedding_dim,
            hidden=hidden,
            outputs=width,
            layers=projector_layers,
            norm="none" if version == 2 else "batch",
            last_norm=version == 3,
        )
        self.predictor: nn.Module = nn.Identity()
        if version == 3:
            self.predictor = Projector(width, hidden=predictor_hidden or paper.hidden, outputs=width)
        self.teacher = Teacher(backbone, self.projector)
        self.queue = Queue(slots, width) if slots else None
        self._seen: list[_Seen] = []

    def embed(self, backbone: BackboneLike, views: Sequence[Tensor]) -> Embeddings:
        """Two views (N, C, H, W) to the student's queries and the teacher's keys, (N, P) each.

        One query and one key a sample, of the first and the second view, or two of each where symmetric.
        """
        if len(views) != 2:
            raise ConfigError(f"MoCo takes 2 views, given {len(views)}; choose a view policy that makes two")
        asked, shown = (views, views) if self.symmetric else (views[:1], views[1:])
        embedding = backbone(torch.cat(list(asked)))
        queries = self.predictor(self.projector(embedding)).chunk(len(asked))
        keys = self.teacher(torch.cat(list(shown))).chunk(len(shown))
        return Embeddings(embedding.detach().chunk(len(asked))[0], queries, keys)

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """The directions added; keys of a loss with gradient are remembered for the queue until the step."""
        loss = embeddings.embedding.new_zeros(())
        for queries, keys in zip(embeddings.outputs, reversed(embeddings.targets), strict=True):
            candidates, excluded = self._candidates(keys, samples.groups)
            loss = loss + moco(
                queries, keys, temperature=self.temperature, queue=candidates, excluded=excluded
            )
        if self.version == 3:
            loss = 2.0 * self.temperature * loss
        if self.queue is not None and loss.requires_grad:
            self._remember(embeddings.targets, samples)
        similarity = F.cosine_similarity(embeddings.outputs[0].detach(), embeddings.targets[-1]).mean()
        return Outcome(loss, {"positive_similarity": similarity})

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """The teacher takes its step towards the student, and the keys of the step enter the queue."""
        assert isinstance(backbone, nn.Module)
        momentum = self.momentum if self.version == 2 else cosine_momentum(self.momentum, progress)
        self.teacher.move([backbone, self.projector], momentum)
        if self.queue is not None and self._seen:
            self.queue.put(*(torch.cat(column) for column in zip(*self._seen, strict=True)))
        self._seen = []

    def _candidates(self, keys: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (M, P) that may be negatives, and bool (N, M) where one is not.

        The batch's keys stand beside the queue and count while it is empty: a choice by mask, so that no step
        waits for the device to say how full the queue is.
        """
        same = groups[:, None] == groups[None, :]  # N x N
        if self.queue is None:
            return keys, same
        unusable = ~self.queue.filled | (groups[:, None] == self.queue.groups[None, :])  # N x Q
        candidates = torch.cat([self.queue.keys, keys.detach()])
        return candidates, torch.cat([unusable, same | (self.queue.written > 0)], dim=1)

    def _remember(self, targets: Sequence[Tensor], samples: Samples) -> None:
        """A step may compute several losses; one computed again for the same samples replaces the first."""
        ids = samples.ids.repeat(len(targets))
        for number, seen in enumerate(self._seen):
            kept = ~torch.isin(seen.ids, ids)
            self._seen[number] = _Seen(*(column[kept] for column in seen))
        keys = torch.cat([target.detach() for target in targets])
        self._seen.append(_Seen(ids, samples.groups.repeat(len(targets)), keys))
