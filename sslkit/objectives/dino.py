"""DINO: every view predicts what a slowly moving teacher makes of the global views (Caron et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Outcome, Samples
from sslkit.errors import ConfigError
from sslkit.models.projector import Norm, Projector, embed_views
from sslkit.models.teacher import Teacher, cosine_momentum


def dino(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    center: Tensor,
    *,
    student_temperature: float = 0.1,
    teacher_temperature: float | Tensor = 0.04,
) -> Tensor:
    """Cross entropy of teacher and student over all pairs of unlike views (Caron et al. 2021, equation 3).

    students: V of (N, K), the scores of all views. teachers: (N, K) for each of the first views, in their
    order; no gradient flows into them. center: (K,), subtracted from the teacher's scores (algorithm 1).
    Temperatures: divisors of the scores before the softmax over K, > 0. Computed in float32 or better.
    Returns a scalar, the mean over pairs and rows.
    """
    with torch.autocast(center.device.type, enabled=False):
        exact = torch.promote_types(students[0].dtype, torch.float32)
        predictions = [F.log_softmax(rows.to(exact) / student_temperature, dim=1) for rows in students]
        targets = [
            F.softmax((rows.detach().to(exact) - center.to(exact)) / teacher_temperature, dim=1)
            for rows in teachers
        ]
        pairs = [
            -(target * prediction).sum(dim=1).mean()
            for i, target in enumerate(targets)
            for j, prediction in enumerate(predictions)
            if i != j  # a view does not predict itself
        ]
        return torch.stack(pairs).mean()


class Prototypes(nn.Module):
    """Cosine similarities of rows (N, B) with K learned directions: (N, K), in float32 or better.

    It is the paper's weight-normalised last layer with its lengths held at 1, after the l2 norm of the
    bottleneck (Caron et al. 2021, section 3.1). In float32 because a small temperature magnifies rounding.
    """

    def __init__(self, inputs: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, inputs))

    def forward(self, rows: Tensor, moving: Tensor | float = 1.0) -> Tensor:
        """moving: 1, or 0 to let no gradient change the directions; the rows get theirs all the same."""
        with torch.autocast(rows.device.type, enabled=False):
            exact = torch.promote_types(rows.dtype, torch.float32)
            still = self.weight.detach()
            # A gradient of zeros, not none: the distributed wrapper waits for one of every parameter.
            weight = still + moving * (self.weight - still)
            return F.linear(F.normalize(rows.to(exact), dim=1), F.normalize(weight.to(exact), dim=1))


class DINO(nn.Module):
    """DINO with projector, prototypes and teacher; the first two views are the global ones it sees.

    prototypes: K, the dimensions of the softmax (65,536 in the paper). student_temperature: > 0.
    teacher_temperature: > 0, reached linearly from teacher_temperature_start after the share
    teacher_temperature_warmup of the run. momentum: of the teacher's moving average at the start; it rises to
    1 by a cosine. center_momentum: of the centre's. frozen_prototypes: the first share of the run, in which
    the prototypes stand still. projector_*: the MLP between embedding and prototypes, with ReLU where the
    paper's code has GELU; projector_norm "none" is the paper's for transformers.
    """

    center: Tensor
    progress: Tensor

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        prototypes: int = 4096,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        teacher_temperature_start: float = 0.04,
        teacher_temperature_warmup: float = 0.3,
        momentum: float = 0.996,
        center_momentum: float = 0.9,
        frozen_prototypes: float = 0.01,
        projector_hidden: int = 2048,
        projector_outputs: int = 256,
        projector_layers: int = 3,
        projector_norm: Norm = "batch",
    ) -> None:
        super().__init__()
        positive = {
            "student_temperature": student_temperature,
            "teacher_temperature": teacher_temperature,
            "teacher_temperature_start": teacher_temperature_start,
        }
        shares = {
            "teacher_temperature_warmup": teacher_temperature_warmup,
            "momentum": momentum,
            "center_momentum": center_momentum,
            "frozen_prototypes": frozen_prototypes,
        }
        _check(prototypes, positive, shares)
        if not isinstance(backbone, nn.Module):
            raise TypeError(f"the teacher copies the backbone, an nn.Module; given {type(backbone).__name__}")
        self.student_temperature = student_temperature
        self.teacher_temperatures = (teacher_temperature_start, teacher_temperature)
        self.warmup, self.frozen_prototypes = teacher_temperature_warmup, frozen_prototypes
        self.momentum, self.center_momentum = momentum, center_momentum
        self.projector = Projector(
            backbone.embedding_dim,
            hidden=projector_hidden,
            outputs=projector_outputs,
            layers=projector_layers,
            norm=projector_norm,
        )
        self.prototypes = Prototypes(projector_outputs, prototypes)
        self.teacher = Teacher(backbone, self.projector, self.prototypes)
        self.register_buffer("center", torch.zeros(prototypes))
        self.register_buffer("progress", torch.zeros(()))
        self._seen: list[Tensor] = []  # what the centre takes its step towards

    def embed(self, backbone: BackboneLike, views: Sequence[Tensor]) -> Embeddings:
        """Two global views, then any others: the student's scores of all, the teacher's of the two, (N, K).

        Raises ConfigError when the first two are not the largest.
        """
        sides = [view.shape[-1] for view in views]
        if len(sides) < 2 or sides[0] != sides[1] or max(sides) > sides[0]:
            raise ConfigError(
                f"dino was given views of {sides} pixels; it takes two global views of one size first, "
                "then any number of smaller ones: views.name=multi_crop, or any policy of two views"
            )
        projected = embed_views(backbone, self.projector, views)
        moving = (self.progress >= self.frozen_prototypes).to(self.center.dtype)
        scores = tuple(self.prototypes(rows, moving) for rows in projected.outputs)
        return Embeddings(projected.embedding, scores, self.teacher(torch.cat(list(views[:2]))).chunk(2))

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """The loss, and its two parts: the teacher's entropy and the divergence of the student from it.

        Collapse shows in either (Caron et al. 2021, section 5.3): an entropy that falls to 0 or rises to
        log K, a divergence that falls to 0.
        """
        temperature = self._teacher_temperature()
        loss = dino(
            embeddings.outputs,
            embeddings.targets,
            self.center,
            student_temperature=self.student_temperature,
            teacher_temperature=temperature,
        )
        with torch.no_grad():
            targets = torch.stack(embeddings.targets)
            self._seen.append(targets.mean(dim=(0, 1)))
            logarithms = F.log_softmax((targets - self.center) / temperature, dim=2)
            entropy = -(logarithms.exp() * logarithms).sum(dim=2).mean()
        return Outcome(loss, {"teacher_entropy": entropy, "teacher_divergence": loss.detach() - entropy})

    @torch.no_grad()
    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """Teacher and centre take their steps (Caron et al. 2021, equation 4)."""
        assert isinstance(backbone, nn.Module)
        students = [backbone, self.projector, self.prototypes]
        self.teacher.move(students, cosine_momentum(self.momentum, progress))
        if self._seen:
            seen = torch.stack(self._seen).mean(dim=0)
            self.center.lerp_(seen.to(self.center.dtype), 1.0 - self.center_momentum)
            self._seen.clear()
        self.progress.fill_(progress)

    def _teacher_temperature(self) -> Tensor:
        """A function of the progress buffer, without waiting for the device."""
        start, end = self.teacher_temperatures
        share = (
            (self.progress / self.warmup).clamp(max=1.0) if self.warmup else torch.ones_like(self.progress)
        )
        return start + (end - start) * share


def _check(prototypes: int, positive: dict[str, float], shares: dict[str, float]) -> None:
    if prototypes < 2:
        raise ConfigError(f"objective.prototypes is {prototypes}; a softmax needs at least 2")
    for name, value in positive.items():
        if value <= 0:
            raise ConfigError(f"objective.{name} is {value}; it must be > 0")
    for name, value in shares.items():
        if not 0.0 <= value <= 1.0:
            raise ConfigError(f"objective.{name} is {value}; it is a share and must lie in [0, 1]")
