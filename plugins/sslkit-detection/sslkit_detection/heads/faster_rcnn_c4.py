"""Faster R-CNN without a pyramid: regions proposed on the map of stride 16, judged on the one after it.

Shapes: N samples, R regions of all samples, K classes, C channels, P x P cells of a pooled region.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.resnet import Bottleneck

from sslkit.contracts import Example, FeatureInfo, FeatureMap, HeadFeatures, HeadSpec, Task
from sslkit.errors import ConfigError
from sslkit_detection.anchors import Anchors
from sslkit_detection.examples import shapes
from sslkit_detection.heads.faster_rcnn import (
    FasterRCNN,
    FasterRCNNRaw,
    proposal_network,
    region_network,
)
from sslkit_detection.losses import ClassWeights
from sslkit_detection.regions import RegionPool


class FasterRCNNC4(FasterRCNN):
    """The C4 detector (He et al. 2016, "Deep Residual Learning", appendix A), its last stage run once.

    There a region is cut from the fourth stage's map and goes through the fifth stage of the network by
    itself. A head is given maps and no layers, so here the fifth stage has run on the whole image, and the
    region is cut from its map and goes through residual blocks that begin at random: the weights of the
    fifth stage are kept and trained on, but the cells of a region are coarser and see more around it. A norm
    follows (He et al. 2020, "Momentum Contrast", section 4.2), then the mean and two linear layers. On a
    network of one map proposals and regions share it.

    sizes: of anchors, pixels (square roots of areas). blocks, width: of the residual blocks and their
    channels. All others as of `FasterRCNN`. Raises ConfigError for a width that is no multiple of 4.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "faster_rcnn_c4", "image", "pyramid", "boxes", "AP50", finest=16, protocol="voc0712-c4-24k"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0),
        ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
        candidates: int = 6000,
        proposals: int = 1000,
        anchor_batch: int = 256,
        region_batch: int = 512,
        region_size: int = 7,
        blocks: int = 1,
        width: int = 2048,
        beta: float = 0.0,
        class_weights: ClassWeights = "none",
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        detections: int = 100,
    ) -> None:
        nn.Module.__init__(self)  # without a pyramid
        self.classes, self.beta = task.classes, beta
        self.anchors = Anchors(info.strides[:1], [tuple(sizes)], ratios)
        self.proposer = proposal_network(
            self.anchors,
            info.channels[0],
            candidates=candidates,
            proposals=proposals,
            anchor_batch=anchor_batch,
        )
        self.pool = RegionPool(size=region_size, samples=2, canonical=1.0)  # of one level, so of no weight
        self.regions = region_network(
            self.pool,
            nn.Sequential(*_residual(info.channels[-1], width, blocks), nn.BatchNorm2d(width), _Mean()),
            FastRCNNPredictor(width, len(task.classes) + 1),
            region_batch=region_batch,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            detections=detections,
        )
        self.weigh(task, class_weights)

    def forward(self, features: HeadFeatures) -> FasterRCNNRaw:
        """The last map, and the proposals of the first, the best of each image clipped to it."""
        first, last = (
            FeatureMap(level.values.float(), level.stride) for level in (features.maps[0], features.maps[-1])
        )
        return self.proposed((first,), (last,), features)

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Coloured shapes on noise; harder to place than with a pyramid, so more steps and a lower goal."""
        options = {
            "sizes": (24.0,), "candidates": 80, "proposals": 16, "region_batch": 16, "width": 64,
            "beta": 1 / 9,
        }  # fmt: skip
        return shapes(seed, goal=0.6, steps=120, lr=3e-3, options=options)


def _residual(channels: int, width: int, blocks: int) -> list[nn.Module]:
    """Blocks of a residual network, the first from `channels` to `width`."""
    if width % Bottleneck.expansion or width < 1 or blocks < 0 or (not blocks and width != channels):
        raise ConfigError(
            f"width={width} and blocks={blocks} of a region: width is a multiple of 4, such as 2048, and "
            f"blocks 1 or more, or 0 with the {channels} channels of the map"
        )
    planes, made = width // Bottleneck.expansion, []
    for block in range(blocks):
        before = width if block else channels
        short = None
        if before != width:
            short = nn.Sequential(nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width))
        made.append(Bottleneck(before, planes, downsample=short))
    return made


class _Mean(nn.Module):
    """Regions (R, C, P, P) to (R, C); R may be 0."""

    def forward(self, regions: Tensor) -> Tensor:
        return regions.mean(dim=(2, 3))
