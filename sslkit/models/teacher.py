"""A slowly moving copy of a student, its exponential moving average (Tarvainen and Valpola 2017)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Teacher(nn.Module):
    """Copies of modules, applied one after the other, without gradient.

    Parameters follow the student's by `move`; buffers (BatchNorm statistics) are the teacher's own, from its
    own forward passes, as in BYOL's code.
    """

    def __init__(self, *students: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(copy.deepcopy(student) for student in students)
        self.parts.requires_grad_(False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) to what the last part gives, (N, P)."""
        for part in self.parts:
            pixels = part(pixels)
        return pixels

    @torch.no_grad()
    def move(self, students: Sequence[nn.Module], momentum: float) -> None:
        """teacher = momentum * teacher + (1 - momentum) * student, parameter by parameter."""
        mine: list[Tensor] = [parameter for part in self.parts for parameter in part.parameters()]
        theirs = [parameter.detach() for student in students for parameter in student.parameters()]
        torch._foreach_lerp_(mine, theirs, 1.0 - momentum)


def cosine_momentum(base: float, progress: float) -> float:
    """From `base` at progress 0 to 1 at 1: 1 - (1 - base)(cos(pi p) + 1)/2 (Grill et al. 2020, 3.2)."""
    return 1.0 - (1.0 - base) * (math.cos(math.pi * progress) + 1.0) / 2.0
