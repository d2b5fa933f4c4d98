"""Flow without any training: each cell goes where the second frame looks like it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import Example, FeatureInfo, FeatureMap, HeadFeatures, HeadSpec, Meta, Task
from sslkit.errors import ConfigError
from sslkit.models.alignment import cells, resampled
from sslkit_flow.correlation import cost_volume
from sslkit_flow.examples import learnt_by_heart
from sslkit_flow.flow_head import FlowHead, folded, paired
from sslkit_flow.levels import FlowLevel

MAPS = ("all", "finest", "last")


class Matching(FlowHead):
    """The expected displacement under a softmax of similarities (GMFlow, Xu et al. 2022, section 3.2).

    The similarity of two cells is the mean over the maps of the cosine of their features, so that a frozen
    backbone is judged by nothing but what it tells alike. Its one parameter is the temperature, given in
    `temperature`. stride: of the cells, to which maps are brought. radius: how many cells away the second
    frame is looked at, 0 is everywhere. maps: `all` from stride 4 on, the `finest` of them or the `last`.
    Cells of padding are never found. Raises ConfigError for other options. The rest as every flow head.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "matching", "pair", "pyramid", "flow", "epe", higher_is_better=False, protocol="matching"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        temperature: float = 0.02,
        stride: int = 8,
        radius: int = 0,
        maps: str = "all",
    ) -> None:
        super().__init__(info)
        if temperature <= 0 or stride < 1 or radius < 0:
            raise ConfigError(
                f"temperature, stride and radius are {temperature}, {stride} and {radius}; a temperature is "
                "above 0, a stride at least 1, a radius at least 0 (everywhere)"
            )
        if maps not in MAPS:
            raise ConfigError(f"maps is '{maps}'; it is one of {', '.join(MAPS)}")
        self.stride, self.radius, self.maps = stride, radius, maps
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def forward(self, features: HeadFeatures) -> list[FlowLevel]:
        """Flow at one stride."""
        first, second = paired(self._directions(folded(features), features.canvas)).unbind(1)
        there = _shown(features.metas, cells(features.canvas, self.stride), self.stride).to(first.device)
        with torch.autocast(first.device.type, enabled=False):
            sharpness = torch.exp(-self.log_temperature)
            find = _everywhere if self.radius == 0 else _around
            flow = find(first.float(), second.float(), there, sharpness, self.radius)
        return [FlowLevel(flow * self.stride, self.stride)]

    def _directions(self, maps: Sequence[FeatureMap], canvas: tuple[int, int]) -> Tensor:
        """One vector of length 1 for each cell, whose products are means of cosines."""
        chosen = {"all": maps, "finest": maps[:1], "last": maps[-1:]}[self.maps]
        aligned = [resampled(part, self.stride, canvas).values.float() for part in chosen]
        directions = torch.cat([F.normalize(values, dim=1) for values in aligned], dim=1)
        return directions / math.sqrt(len(aligned))

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Pairs of 32 pixels at cells of 4."""
        options = {"stride": 4, "temperature": 0.1}
        return learnt_by_heart(seed, side=32, goal=0.8, options=options, steps=80, lr=5e-3)


def _everywhere(first: Tensor, second: Tensor, there: Tensor, sharpness: Tensor, radius: int) -> Tensor:
    """Directions (N, C, h, w) and cells that show the frame, bool (N, h, w), to cells moved (N, 2, h, w)."""
    rows, columns = first.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(rows, device=first.device), torch.arange(columns, device=first.device), indexing="ij"
    )
    places = torch.stack([x.flatten(), y.flatten()], dim=1).to(first)  # h w, (x, y)
    alike = first.flatten(2).transpose(1, 2) @ second.flatten(2)  # N, h w, h w
    alike = (alike * sharpness).masked_fill(~there.flatten(1)[:, None], -math.inf)
    ends = alike.softmax(dim=-1) @ places
    moved: Tensor = (ends - places).transpose(1, 2).reshape(-1, 2, rows, columns)
    return moved


def _around(first: Tensor, second: Tensor, there: Tensor, sharpness: Tensor, radius: int) -> Tensor:
    """The same, at most `radius` cells away in each direction."""
    steps = torch.arange(-radius, radius + 1, device=first.device).to(first)
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    moves = torch.stack([right.flatten(), down.flatten()], dim=1)  # (2 radius + 1)^2, (x, y)
    seen = there[:, None].to(first)
    hidden = cost_volume(torch.ones_like(seen), seen, radius) < 0.5
    hidden &= ~hidden.all(dim=1, keepdim=True)  # deep in the padding nothing is in reach, nor ever asked
    alike = (cost_volume(first, second, radius) * sharpness).masked_fill(hidden, -math.inf)
    return torch.einsum("nkhw,km->nmhw", alike.softmax(dim=1), moves)


def _shown(metas: Sequence[Meta], grid: tuple[int, int], stride: int) -> Tensor:
    """Which cells show more than padding, bool (N, *grid)."""
    shown = torch.zeros(len(metas), *grid, dtype=torch.bool)
    for row, meta in zip(shown, metas, strict=True):
        row[: math.ceil(meta.valid[0] / stride), : math.ceil(meta.valid[1] / stride)] = True
    return shown
