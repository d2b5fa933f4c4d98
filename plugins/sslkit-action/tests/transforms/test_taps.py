"""Where maps end, in three layouts, and which networks are refused."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from sslkit.errors import ModelError
from sslkit_action.transforms.taps import Tap, blank_size, find_taps, input_channels


@pytest.mark.parametrize(
    ("name", "options", "layout", "prefix", "strides"),
    [
        ("resnet18", {}, "maps", 0, (2, 4, 8, 16, 32)),
        ("test_convnext", {}, "maps", 0, (4, 8, 16, 32)),
        ("test_vit", {}, "tokens", 1, (16,) * 4),
        ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2}, "cells_last", 0, (4, 8, 16, 32)),
    ],
)
def test_a_tap_adds_to_the_map_that_the_network_gives(
    name: str, options: dict[str, Any], layout: str, prefix: int, strides: tuple[int, ...]
) -> None:
    network = timm.create_model(name, num_classes=0, **options).eval()
    taps = find_taps(network)
    assert {(tap.layout, tap.prefix) for tap in taps} == {(layout, prefix)}
    assert tuple(tap.stride for tap in taps) == strides
    last = taps[-1]
    extra = torch.randn(2, last.channels, *(side // last.stride for side in blank_size(network)))
    images = torch.randn(2, 3, *blank_size(network))
    (before,) = maps(network, images, last)
    handle = network.get_submodule(last.module).register_forward_hook(
        lambda _module, _inputs, output: last.add(output, extra)
    )
    (after,) = maps(network, images, last)
    handle.remove()
    torch.testing.assert_close(after - before, extra, atol=1e-4, rtol=1e-4)


def maps(network: Any, images: Tensor, tap: Tap) -> list[Tensor]:
    with torch.no_grad():
        found: list[Tensor] = network.forward_intermediates(
            images, indices=[tap.stage], output_fmt="NCHW", intermediates_only=True
        )
    return found


def test_looking_leaves_modes_and_hooks_as_they_were() -> None:
    network = timm.create_model("test_resnet", num_classes=0).train()
    network.layer1.eval()
    find_taps(network)
    assert network.training
    assert network.layer2.training
    assert not network.layer1.training
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("layout", ["maps", "cells_last"])
def test_what_lies_beyond_the_output_is_left_out(layout: Any) -> None:
    tap = Tap(0, "stage", 3, 4, layout)
    extra = torch.randn(2, 3, 5, 6)
    output = torch.zeros(2, 3, 4, 6)
    expected = extra[:, :, :4]
    if layout == "cells_last":
        output, expected = output.permute(0, 2, 3, 1), expected.permute(0, 2, 3, 1)
    assert torch.equal(tap.add(output, extra), expected)


def test_tokens_that_do_not_fit_are_told_with_the_stride() -> None:
    with pytest.raises(ModelError, match=r"gives 11 tokens of an image of 3x4 patches.*multiples of 16"):
        Tap(0, "blocks.0", 8, 16, "tokens", 1).add(torch.zeros(1, 12, 8), torch.zeros(1, 8, 3, 4))


def test_colours_are_counted_at_the_first_kernel() -> None:
    assert input_channels(timm.create_model("test_resnet", in_chans=5)) == 5


class Odd(nn.Module):
    """A network whose first stage gives what `first` makes of the map; the map itself is told apart."""

    pretrained_cfg: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, first: Any, strides: tuple[int, int] = (4, 8)) -> None:
        super().__init__()
        self.first, self.second = first, nn.Conv2d(3, 6, 8, 8)
        self.feature_info = [
            {"module": name, "num_chs": 6, "reduction": stride}
            for name, stride in zip(("first", "second"), strides, strict=True)
        ]

    def forward_intermediates(self, pixels: Tensor, **_options: Any) -> list[Tensor]:
        self.first(pixels)
        return [torch.zeros(len(pixels), 6, pixels.shape[2] // 4, pixels.shape[3] // 4), self.second(pixels)]


class Pair(nn.Module):
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return pixels, pixels


def test_networks_that_cannot_be_added_to_are_refused_by_name() -> None:
    with pytest.raises(ModelError, match="Linear offers no feature maps"):
        find_taps(nn.Linear(2, 2))
    with pytest.raises(ModelError, match="module 'first' gives no tensor where its map is"):
        find_taps(Odd(Pair()))
    with pytest.raises(
        ModelError, match=r"module 'first' gives \(1, 3, 64, 72\) where its map is \(1, 6, 16, 18\)"
    ):
        find_taps(Odd(nn.Identity()))
    with pytest.raises(ModelError, match="names a map after a module that it does not have"):
        find_taps(timm.create_model("hrnet_w18_small", num_classes=0))
    with pytest.raises(ModelError, match="maps of stride 8 before 4"):
        find_taps(Odd(nn.Conv2d(3, 6, 4, 4), (8, 4)))


def test_a_module_that_is_not_called_is_told() -> None:
    network = Odd(nn.Identity())
    network.forward_intermediates = lambda pixels, **_: [  # type: ignore[method-assign]
        torch.zeros(1, 6, 16, 18),
        network.second(pixels),
    ]
    with pytest.raises(ModelError, match="module 'first' is not called"):
        find_taps(network)
