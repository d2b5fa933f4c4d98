"""FlowNetS as published: its own encoder over the pixels of both frames."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Task
from sslkit.models.alignment import resampled
from sslkit_flow.contraction import Contraction
from sslkit_flow.examples import learnt_by_heart
from sslkit_flow.flow_head import FlowHead, folded, paired, pixels_of
from sslkit_flow.levels import FlowLevel
from sslkit_flow.refinement import Refinement

KERNELS = (7, 5, 5, 3, 3, 3)
GROWTH = (1, 2, 4, 8, 8, 16)
STRIDES = (4, 8, 16, 32, 64)


class StackedFlowNetS(FlowHead):
    """FlowNetS (Dosovitskiy et al. 2015, section 3, figure 2): six levels of convolutions over the pair.

    The paper's conv1 to conv6 with the widths of `width` = 64; conv3_1 is left out. It is what flow costs
    without any backbone, the floor of `flownet_s`, and its protocol keeps the backbone frozen. joined: the
    backbone's last map of each frame joins the coarsest level all the same, through a 1x1 convolution. The
    rest as every flow head; it looks at pixels, so that features cannot be kept.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "flownet_s_stacked",
        "pair",
        "map",
        "flow",
        "epe",
        higher_is_better=False,
        protocol="flownet-s-stacked",
    )

    def __init__(self, info: FeatureInfo, task: Task, *, width: int = 16, joined: bool = False) -> None:
        super().__init__(info)
        widths = [width * factor for factor in GROWTH]
        self.contract = Contraction(2 * len(info.mean), widths, KERNELS)
        self.join = nn.Conv2d(2 * info.channels[-1], widths[-1], 1) if joined else None
        self.refine = Refinement(widths[1:], STRIDES, width=2 * width)

    def forward(self, features: HeadFeatures) -> list[FlowLevel]:
        """Flow at strides 64 to 4."""
        skips = self.contract(pixels_of(features, "flownet_s_stacked").flatten(1, 2))[1:]
        if self.join is not None:
            seen = resampled(folded(features)[-1], STRIDES[-1], features.canvas).values
            skips[-1] = skips[-1] + self.join(paired(seen).flatten(1, 2))
        flow: list[FlowLevel] = self.refine(skips)
        return flow

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Pairs of 32 pixels; joined, so that the backbone has a part in it."""
        options = {"width": 4, "joined": True}
        return learnt_by_heart(seed, side=32, goal=0.7, options=options, steps=60, lr=2e-3)
