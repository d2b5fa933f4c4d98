"""What of a view can be fused, and the few numbers a sample it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.data.views.affine import AFFINE, Affine
from sslkit.data.views.colour import Solarize
from sslkit.data.views.crops import CropResize, CropResizeFlip
from sslkit.data.views.engine import View
from sslkit.data.views.filters import GaussianBlur
from sslkit.data.views.operation import Operation, Parameters
from sslkit.data.views.placement import Flip, Rotate


class Amounts(NamedTuple):
    """What happens to each of N samples, in this order; C channels.

    boxes: int64 (N, 4), cut from the canvas and resized. mirrored: bool (N,), left to right. quarters:
    int64 (N,), quarter turns counterclockwise. blurred: bool (N,), with sigma (N,), pixels. own, carried:
    (N, C, C), the change of colour (affine.py) in [0, 1]; then values are clamped. solarised: bool (N,).
    """

    boxes: Tensor
    mirrored: Tensor
    quarters: Tensor
    blurred: Tensor
    sigma: Tensor
    own: Tensor
    carried: Tensor
    solarised: Tensor

    def rows(self, rows: slice | Tensor) -> Amounts:
        """Those of some samples."""
        return Amounts(*(values[rows] for values in self))


@dataclass(frozen=True)
class Fusion:
    """The part of a view that is computed at once, and what is left.

    fused: the operations in it. blur, solarize: those among them, if any; turns: whether one of them rotates.
    """

    view: View
    fused: tuple[Operation, ...] = ()
    blur: GaussianBlur | None = None
    solarize: Solarize | None = None
    turns: bool = False

    @classmethod
    def of(cls, view: View) -> Fusion:
        """As many of the view's first operations as can be fused."""
        fusion = cls(view)
        # By their very types: a class derived from one of these may do something else.
        for operation in view.operations:
            if fusion.solarize is not None:
                break  # colours and blur do not commute with it
            if type(operation) is GaussianBlur:
                if fusion.blur is not None or operation.radius(view.size) >= view.size:
                    break
                fusion = replace(fusion, blur=operation)
            elif type(operation) is Solarize:
                fusion = replace(fusion, solarize=operation)
            elif type(operation) is Rotate:
                fusion = replace(fusion, turns=True)
            elif type(operation) not in (Flip, *AFFINE):
                break
            fusion = replace(fusion, fused=(*fusion.fused, operation))
        return fusion

    @property
    def rest(self) -> tuple[Operation, ...]:
        """The operations to apply afterwards, one by one."""
        return self.view.operations[len(self.fused) :]

    @property
    def cuts_boxes(self) -> bool:
        """Whether the view starts from whole boxes of pixels; other crops are applied as they are."""
        return type(self.view.crop) in (CropResize, CropResizeFlip)

    def amounts(self, canvases: Tensor, numbers: Sequence[Parameters]) -> Amounts:
        """The numbers drawn for the crop and for each operation, as what happens to each sample."""
        rows, channels, side, _ = canvases.shape
        no = torch.zeros(rows, dtype=torch.bool, device=canvases.device)
        boxes = no.new_zeros((rows, 4), dtype=torch.int64)
        boxes[:, 2:] = side
        if self.cuts_boxes:
            boxes = numbers[0]["boxes"]
        mirrored = numbers[0].get("mirrored", no)
        quarters, blurred, solarised = no.long(), no, no
        sigma = torch.ones(rows, device=canvases.device)
        colour = Affine.identity(rows, channels, canvases.device)
        for operation, drawn in zip(self.fused, numbers[1:], strict=False):
            if isinstance(operation, Flip):
                # A mirror after a turn is the opposite turn after a mirror.
                mirrored = mirrored ^ drawn["chosen"]
                quarters = torch.where(drawn["chosen"], (4 - quarters) % 4, quarters)
            elif isinstance(operation, Rotate):
                quarters = (quarters + drawn["quarters"]) % 4
            elif isinstance(operation, GaussianBlur):
                blurred, sigma = drawn["chosen"], drawn["sigma"]
            elif isinstance(operation, Solarize):
                solarised = drawn["chosen"]
            else:
                colour = colour.then(operation, drawn)
        return Amounts(boxes, mirrored, quarters, blurred, sigma, *colour, solarised)
