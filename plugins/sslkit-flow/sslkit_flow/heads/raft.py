"""RAFT: an estimate of flow, updated again and again by what the correlation of all pairs of cells says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large, raft_small
from torchvision.models.optical_flow.raft import CorrBlock, make_coords_grid, upsample_flow

from sslkit.contracts import Example, FeatureInfo, FeatureMap, FlowField, HeadFeatures, HeadSpec, Task
from sslkit.errors import ConfigError
from sslkit.models.alignment import cells
from sslkit_flow.examples import learnt_by_heart
from sslkit_flow.flow_head import FlowHead, folded, paired
from sslkit_flow.levels import FlowLevel, on_canvas
from sslkit_flow.losses.endpoint import stacked
from sslkit_flow.losses.sequence import sequence_loss
from sslkit_flow.merging import Merged

STRIDE = 8
# Builder, and channels of features, hidden state and context (paper, appendix A).
SIZES = {"small": (raft_small, 128, 96, 64), "large": (raft_large, 256, 128, 128)}


class RAFT(FlowHead):
    """RAFT (Teed and Deng 2020) with the backbone in place of its encoders.

    All maps of strides from 8 on, merged at stride 8, are the features of both frames and, by weights of
    their own, the context of the first. Correlation, update and convex upsampling are torchvision's.
    size: `small` or `large`, of torchvision's nets. levels: of the correlation pyramid; each but the first
    halves the map of stride 8, whose sides must stay 2 cells. radius: cells looked at in each level.
    updates: of the estimate. The loss is RAFT's over all estimates. Raises ConfigError for other options and
    for a canvas that is too small for the levels.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "raft",
        "pair",
        "pyramid",
        "flow",
        "epe",
        higher_is_better=False,
        finest=STRIDE,
        protocol="raft-finetune",
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        size: str = "small",
        levels: int = 4,
        radius: int = 3,
        updates: int = 12,
    ) -> None:
        super().__init__(info)
        if size not in SIZES:
            raise ConfigError(f"size is '{size}'; it is one of {', '.join(SIZES)}")
        if levels < 1 or radius < 1 or updates < 1:
            raise ConfigError(
                f"levels, radius and updates are {levels}, {radius} and {updates}; each is at least 1"
            )
        _check_canvas(task.size, levels)
        build, channels, self.hidden, context = SIZES[size]
        self.updates = updates
        self.features = Merged(info, channels=channels, stride=STRIDE)
        self.context = Merged(info, channels=self.hidden + context, stride=STRIDE)
        self.levels, self.radius = levels, radius
        whole = build(
            feature_encoder=nn.Identity(), context_encoder=nn.Identity(), corr_block=self._correlation()
        )
        self.update, self.mask = whole.update_block, whole.mask_predictor

    def forward(self, features: HeadFeatures) -> list[FlowLevel]:
        """Flow after each update: of pixels by convex upsampling, of cells where the net has none."""
        maps = folded(features)
        both = paired(self.features(maps, features.canvas))
        context = self.context([_of_first(part) for part in maps], features.canvas)
        return self.estimates(both[:, 0], both[:, 1], context)

    def estimates(self, first: Tensor, second: Tensor, context: Tensor) -> list[FlowLevel]:
        """Features of the frames (N, C, h, w) and context (N, hidden + context, h, w) to flow.

        The paper's section 3. Without a mask flow stays one a cell: torchvision would spread the cells from
        edge to edge of the canvas, so that padding moved them.
        """
        correlation = self._correlation()
        correlation.build_pyramid(first.float(), second.float())
        hidden, seen = context[:, : self.hidden].tanh(), context[:, self.hidden :].relu()
        start = make_coords_grid(first.shape[0], *first.shape[-2:]).to(first.device)
        place, levels = start, []
        for _ in range(self.updates):
            place = place.detach()  # each update learns by itself
            likeness = correlation.index_pyramid(place)
            hidden, change = self.update(hidden, seen, likeness, place - start)
            place = place + change
            if self.mask is None:
                levels.append(FlowLevel(STRIDE * (place - start), STRIDE))
            else:
                levels.append(FlowLevel(upsample_flow(place - start, self.mask(hidden)), 1))
        return levels

    def loss(self, raw: Sequence[FlowLevel], targets: Sequence[FlowField]) -> dict[str, Tensor]:
        """RAFT's loss over all estimates."""
        truth, known = stacked(targets, raw[-1].vectors.device)
        height, width = truth.shape[-2:]
        estimates = [on_canvas(level, (height, width)) for level in raw]
        return {"sequence": sequence_loss(estimates, truth, known)}

    def _correlation(self) -> CorrBlock:
        """One for each forward, since it keeps what it was given."""
        return CorrBlock(num_levels=self.levels, radius=self.radius)

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Pairs of 32 pixels, two levels, few updates."""
        options = {"levels": 2, "radius": 2, "updates": 3}
        return learnt_by_heart(seed, side=32, goal=0.8, options=options, steps=60, lr=1e-3)


def _of_first(part: FeatureMap) -> FeatureMap:
    """The rows of the first frames."""
    return FeatureMap(part.values[::2], part.stride)


def _check_canvas(size: tuple[int, int], levels: int) -> None:
    least = 2**levels
    rows, columns = cells(size, STRIDE)
    if min(rows, columns) < least:
        raise ConfigError(
            f"a canvas of {size[0]}x{size[1]} pixels has {rows}x{columns} cells of {STRIDE} pixels, and "
            f"{levels} levels of correlation need {least} each way: {least * STRIDE} pixels, or fewer levels"
        )
