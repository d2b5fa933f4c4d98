"""Anchors of a pyramid: boxes of fixed sizes around the centre of every cell.

torchvision makes the boxes of one cell; here they are laid out at the exact strides of the maps, around
stride * (i + 0.5), where the cells of a pyramid are centred. Shapes: A anchors, K objects, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import box_area

from sslkit.contracts import FeatureMap
from sslkit.errors import ConfigError

CROWD_SHARE = 0.5
"""An anchor of which this share lies in a crowd is neither object nor background."""


class Anchors:
    """Boxes by level: `sizes` (square roots of areas, pixels) times `ratios` (height / width) in every cell.

    Raises ConfigError unless there is one tuple of sizes for each stride.
    """

    def __init__(
        self, strides: Sequence[int], sizes: Sequence[Sequence[float]], ratios: Sequence[float]
    ) -> None:
        if len(sizes) != len(strides):
            raise ConfigError(
                f"{len(sizes)} tuples of anchor sizes for {len(strides)} pyramid levels (strides "
                f"{', '.join(map(str, strides))}); give one tuple a level"
            )
        if not ratios or min(ratios) <= 0 or any(not level or min(level) <= 0 for level in sizes):
            raise ConfigError(f"anchor sizes {sizes} and ratios {ratios} must be above 0, at least one each")
        self.strides = tuple(strides)
        self.sizes = tuple(tuple(level) for level in sizes)
        self.ratios = tuple(ratios)
        self.generator = AnchorGenerator(self.sizes, (self.ratios,) * len(self.sizes))

    @property
    def per_cell(self) -> int:
        """Anchors a cell; raises ConfigError where levels differ, which no shared predictor can serve."""
        counts = set(self.generator.num_anchors_per_location())
        if len(counts) != 1:
            raise ConfigError(f"anchor sizes {self.sizes} must be as many on every level")
        return int(counts.pop())

    def __call__(self, maps: Sequence[FeatureMap]) -> list[Tensor]:
        """Maps fine to coarse to the anchors of each level, float32 (A, 4) xyxy, cells row by row."""
        device = maps[0].values.device
        self.generator.set_cell_anchors(torch.float32, device)
        cells = [list(level.values.shape[-2:]) for level in maps]
        steps = [[torch.tensor(level.stride, device=device)] * 2 for level in maps]
        levels: list[Tensor] = self.generator.grid_anchors(cells, steps)
        for boxes, level in zip(levels, maps, strict=True):
            boxes += level.stride / 2  # torchvision's stand around the corners of cells
        return levels

    def table(self) -> str:
        """One line a level: stride, sizes and the shapes they are given, in pixels."""
        lines = ["level  stride  sizes                 height x width"]
        for level, (stride, sizes) in enumerate(zip(self.strides, self.sizes, strict=True)):
            boxes = self.generator.cell_anchors[level]
            shapes = " ".join(f"{b - t:.0f}x{r - left:.0f}" for left, t, r, b in boxes.tolist())
            listed = ", ".join(f"{size:.1f}" for size in sizes)
            lines.append(f"{level:5d}  {stride:6d}  {listed:20s}  {shapes}")
        return "\n".join(lines)


def octave_sizes(strides: Sequence[int], scale: float, octaves: int) -> list[tuple[float, ...]]:
    """Sizes scale * stride * 2^(o / octaves) of each level (RetinaNet, Lin et al. 2017, section 4)."""
    return [tuple(scale * stride * 2 ** (step / octaves) for step in range(octaves)) for stride in strides]


def inside_crowd(boxes: Tensor, crowd: Tensor) -> Tensor:
    """Which boxes (A, 4) lie with at least half their area in one of the crowd regions (K, 4), bool (A,)."""
    if not len(crowd):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    top_left = torch.maximum(boxes[:, None, :2], crowd[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], crowd[None, :, 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(dim=2)
    share = shared / box_area(boxes).clamp(min=1e-6)[:, None]
    covered: Tensor = (share >= CROWD_SHARE).any(dim=1)
    return covered
