"""FlowNetC on the maps of a backbone: what each cell of the first frame finds around it in the second."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from sslkit.contracts import Example, FeatureInfo, FeatureMap, HeadFeatures, HeadSpec, Task
from sslkit.errors import ConfigError
from sslkit_flow.contraction import Contraction
from sslkit_flow.correlation import cost_volume
from sslkit_flow.examples import learnt_by_heart
from sslkit_flow.flow_head import FlowHead, folded, paired
from sslkit_flow.levels import FlowLevel
from sslkit_flow.merging import Merged
from sslkit_flow.refinement import SLOPE, Refinement

STRIDE = 8
FINEST = 4
STRIDES = (FINEST, STRIDE, 16, 32, 64)


class FlowNetC(FlowHead):
    """FlowNetC (Dosovitskiy et al. 2015, section 3, figure 2) whose siamese part is the backbone.

    All maps, merged at stride 8, are what is correlated; as in the paper the first frame's features go along
    through a 1x1 convolution, the contracting part goes on to stride 64, and the refinement to stride 4 with
    a skip of the first frame. channels: of the merged maps. max_displacement: cells each way in steps of
    `displacement_stride`; the paper's 20 pixels at stride 8 of steps of two cells are 10 and 2. width: of the
    level of stride 4, doubled at each coarser one, eightfold at most. Raises ConfigError for displacements
    that there are not. The rest as every flow head.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "flownet_c", "pair", "pyramid", "flow", "epe", higher_is_better=False, protocol="flownet-c-finetune"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        channels: int = 64,
        max_displacement: int = 4,
        displacement_stride: int = 1,
        width: int = 32,
    ) -> None:
        super().__init__(info)
        if max_displacement < 1 or displacement_stride < 1:
            raise ConfigError(
                f"max_displacement and displacement_stride are {max_displacement} and {displacement_stride}; "
                "both are at least 1, such as 4 and 1"
            )
        self.reach, self.step = max_displacement, displacement_stride
        widths = [width * factor for factor in (1, 2, 4, 8, 8)]
        self.features = Merged(info, channels=channels, stride=STRIDE)
        self.skip = Merged(info, channels=widths[0], stride=FINEST)
        self.redirect = nn.Conv2d(channels, width, 1)
        self.join = nn.Conv2d((2 * max_displacement + 1) ** 2 + width, widths[1], 3, padding=1)
        self.contract = Contraction(widths[1], widths[2:], (3, 3, 3))
        self.refine = Refinement(widths, STRIDES, width=width)

    def forward(self, features: HeadFeatures) -> list[FlowLevel]:
        """Flow at strides 64 to 4."""
        maps, canvas = folded(features), features.canvas
        first, second = paired(self.features(maps, canvas)).unbind(1)
        likeness = cost_volume(first, second, self.reach, self.step) / first.shape[1]
        known = [F.leaky_relu(values, SLOPE) for values in (likeness, self.redirect(first))]
        joined = F.leaky_relu(self.join(torch.cat(known, dim=1)), SLOPE)
        firsts = [FeatureMap(part.values[::2], part.stride) for part in maps]
        skip = F.leaky_relu(self.skip(firsts, canvas), SLOPE)
        flow: list[FlowLevel] = self.refine([skip, joined, *self.contract(joined)])
        return flow

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Pairs of 32 pixels."""
        options = {"channels": 16, "max_displacement": 2, "width": 8}
        return learnt_by_heart(seed, side=32, goal=0.7, options=options, steps=60, lr=2e-3)
