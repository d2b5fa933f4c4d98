"""Networks of two convolutions, whose costs are counted by hand; they are no timm models."""

from __future__ import annotations

from torch import Tensor, nn

from sslkit.contracts import ClipRows

BUILT: list[bool] = []
"""Whether pretrained weights were asked for, each time one was built."""


class TwoConvolutions(nn.Module):
    """3 -> width -> 2 width channels, 3x3 kernels, each at half the resolution before; then the mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.second = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.num_features = 2 * width
        self.feature_info = [
            {"module": "first", "num_chs": width, "reduction": 2},
            {"module": "second", "num_chs": 2 * width, "reduction": 4},
        ]
        normal = (0.5, 0.5, 0.5)
        self.pretrained_cfg = {"input_size": (3, 32, 32), "mean": normal, "std": normal, "tag": ""}

    def forward(self, pixels: Tensor) -> Tensor:
        return self.second(self.first(pixels)).mean(dim=(2, 3))

    def forward_intermediates(self, pixels: Tensor, *, indices, output_fmt, intermediates_only):
        first = self.first(pixels)
        maps = [first, self.second(first)]
        return [maps[place] for place in indices]


def narrow(*, pretrained: bool = False) -> nn.Module:
    BUILT.append(pretrained)
    return TwoConvolutions(8)


def wide(*, pretrained: bool = False) -> nn.Module:
    BUILT.append(pretrained)
    return TwoConvolutions(16)


def foreseeing(*, pretrained: bool = False) -> nn.Module:
    """Says of itself that it looks at later frames."""
    network = TwoConvolutions(8)
    network.clip_rows, network.temporal_strides, network.causal = ClipRows(), (1, 1), False
    return network


def picky(*, pretrained: bool = False) -> nn.Module:
    """Takes 32 x 32 pixels alone."""
    network = TwoConvolutions(8)

    def check(module: nn.Module, given: tuple[Tensor]) -> None:
        assert given[0].shape[-1] == 32, "only 32 pixels are good"

    network.register_forward_pre_hook(check)
    return network
