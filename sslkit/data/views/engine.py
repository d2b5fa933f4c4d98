"""What computes views: a view as its policy reads it, and the protocol of an engine.

The numbers of a view are drawn by its crop and operations, whatever the engine; engines differ in arithmetic
alone. So views by two engines are alike sample by sample, and a plugin of operations needs to know none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from sslkit.data.views.operation import Crop, Operation, Parameters


@dataclass(frozen=True)
class View:
    """One view of a policy: its side in pixels, the crop it starts from, and the operations that follow."""

    size: int
    crop: Crop
    operations: tuple[Operation, ...]


Renderer = Callable[[Tensor, Sequence[Parameters]], Tensor]
"""Canvases, uint8 (N, C, S, S), and the numbers of the crop, then of each operation, to normalised float32
(N, C, size, size). A row of the result is a function of that row alone, but for
rounding where the engine says so."""


class Engine(Protocol):
    """A way of computing views.

    name: what `ViewPolicy(engine=...)` calls it. exact_rows: whether a row is the same to the last bit in any
    batch; else it may be rounded otherwise beside other rows.
    """

    name: str
    exact_rows: bool

    def renderer(self, view: View, mean: Sequence[float], std: Sequence[float]) -> Renderer | None:
        """What computes this view, with pixels normalised by mean and std; None where this engine cannot."""
        ...
