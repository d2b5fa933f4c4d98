"""FlowNetS on the maps of a backbone: both frames side by side at every level."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import nn

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Task
from sslkit.models.pyramid import Pyramid
from sslkit_flow.examples import learnt_by_heart
from sslkit_flow.flow_head import FlowHead, folded, paired
from sslkit_flow.levels import FlowLevel
from sslkit_flow.refinement import SLOPE, Refinement

STRIDES = (4, 8, 16, 32)


class FlowNetS(FlowHead):
    """FlowNetS (Dosovitskiy et al. 2015, section 3) whose contracting part is the backbone.

    The backbone sees each frame alone. A pyramid makes maps of its own at strides 4 to 32; at each level
    those of the two frames are joined, a convolution compares them, and the paper's refinement predicts flow
    from coarse to fine. channels: of the pyramid. width: of the joined maps and of the upconvolution at the
    finest level, doubled at each coarser one. The rest as every flow head.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "flownet_s", "pair", "pyramid", "flow", "epe", higher_is_better=False, protocol="flownet-s-finetune"
    )

    def __init__(self, info: FeatureInfo, task: Task, *, channels: int = 64, width: int = 32) -> None:
        super().__init__(info)
        self.pyramid = Pyramid(info, channels=channels, strides=STRIDES)
        widths = [width * 2**place for place in range(len(STRIDES))]
        self.compare = nn.ModuleList(nn.Conv2d(2 * channels, wide, 3, padding=1) for wide in widths)
        self.refine = Refinement(widths, STRIDES, width=width)

    def forward(self, features: HeadFeatures) -> list[FlowLevel]:
        """Flow at strides 32 to 4."""
        levels = self.pyramid(folded(features), features.canvas)
        joined = [paired(level.values).flatten(1, 2) for level in levels]
        compared = [
            F.leaky_relu(convolution(both), SLOPE)
            for convolution, both in zip(self.compare, joined, strict=True)
        ]
        flow: list[FlowLevel] = self.refine(compared)
        return flow

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Pairs of 32 pixels."""
        options = {"channels": 16, "width": 8}
        return learnt_by_heart(seed, side=32, goal=0.7, options=options, steps=60, lr=2e-3)
