"""Operations on the colour of each pixel: jitter, loss of colour, solarisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sslkit.data.views.operation import Parameters, Sometimes, between, check_number, on_chosen, per_image
from sslkit.keyed_random import Stream

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in kornia, torchvision and Pillow


def luma(images: Tensor) -> Tensor:
    """Brightness of each pixel, (N, 3, H, W) to (N, H, W)."""
    grey: Tensor = images[:, 0] * LUMA[0]
    grey.add_(images[:, 1] * LUMA[1])
    return grey.add_(images[:, 2] * LUMA[2])


def mean_exactly(planes: Tensor) -> Tensor:
    """Mean of each plane, (N, H, W) in [0, 1] to (N,), the same in any order of summation.

    Values are rounded to the finest step that lets float32 add up a row of them without rounding.
    """
    height, width = planes.shape[1:]
    steps = 2 ** (24 - (width - 1).bit_length())
    rows = (planes * steps).round_().sum(dim=2)
    mean: Tensor = rows.long().sum(dim=1).float() / (steps * height * width)
    return mean


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Brightness, contrast, saturation, hue: random amounts in random order (SimCLR, appendix A).

    p: probability. brightness, contrast, saturation: factors are drawn from [max(0, 1 - value), 1 + value].
    hue: turns of the colour circle are drawn from [-value, value]. As in torchvision, values are clamped to
    [0, 1] after each of the four; unlike it, each sample has its own order.
    """

    name: ClassVar[str] = "color_jitter"
    colour: ClassVar[bool] = True
    p: float = 0.8
    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2

    def __post_init__(self) -> None:
        check_number(self.name, "p", self.p, 0.0, 1.0)
        for option in ("brightness", "contrast", "saturation"):
            check_number(self.name, option, getattr(self, option), 0.0, math.inf)
        check_number(self.name, "hue", self.hue, 0.0, 0.5)

    def draw(self, stream: Stream) -> Parameters:
        """chosen: bool (N,). amounts: (N, 4), three factors and turns of hue. order: int64 (N, 4)."""
        numbers = stream.uniform(9)
        spread = torch.tensor(
            [
                [max(0.0, 1 - self.brightness), 1 + self.brightness],
                [max(0.0, 1 - self.contrast), 1 + self.contrast],
                [max(0.0, 1 - self.saturation), 1 + self.saturation],
                [-self.hue, self.hue],
            ],
            device=numbers.device,
        )
        return {
            "chosen": numbers[:, 0] < self.p,
            "amounts": numbers[:, 1:5] * (spread[:, 1] - spread[:, 0]) + spread[:, 0],
            "order": numbers[:, 5:].argsort(dim=1, stable=True),
        }

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Four rounds; in each, every sample meets the adjustment its order says."""
        return on_chosen(images, parameters, _jittered)


def _jittered(images: Tensor, parameters: Parameters) -> Tensor:
    amounts = parameters["amounts"]
    ones = torch.ones_like(amounts[:, 0])
    for turn in parameters["order"].unbind(dim=1):
        # Brightness moves a colour away from black, contrast from the image's mean luma, saturation from the
        # pixel's own luma: one formula serves a batch in which each sample is at another of the three.
        factor = torch.where(turn == HUE, ones, amounts.gather(1, turn[:, None]).squeeze(1))
        grey = luma(images)
        constant = (1 - factor) * (turn == CONTRAST) * mean_exactly(grey)
        grey.mul_(((1 - factor) * (turn == SATURATION))[:, None, None]).add_(constant[:, None, None])
        images.mul_(per_image(factor)).add_(grey[:, None]).clamp_(0.0, 1.0)
        images = on_chosen(images, {"chosen": turn == HUE, "turns": amounts[:, HUE]}, _hue_shifted)
    return images


def _hue_shifted(images: Tensor, parameters: Parameters) -> Tensor:
    return shift_hue(images, parameters["turns"])


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of HSV, (N, 3, H, W) in [0, 1], by turns (N,) of the colour circle.

    From HSV back to RGB by the closed form without cases: value - chroma * clamp(min(k, 4 - k), 0, 1), with
    k = hue in sixths + 5, 3 and 1 modulo 6 for red, green and blue. Equal to kornia's, far cheaper.
    """
    red, green, blue = images.unbind(dim=1)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    divisor = chroma.where(chroma > 0, 1.0)
    sixths = (red - green).div_(divisor).add_(4.0)
    sixths = torch.where(value == green, (blue - red).div_(divisor).add_(2.0), sixths)
    sixths = torch.where(value == red, (green - blue).div_(divisor), sixths)
    sixths.add_((turns * 6)[:, None, None])
    for channel, offset in enumerate((5.0, 3.0, 1.0)):
        k = sixths + offset
        k.sub_((k / 6).floor_().mul_(6.0))
        torch.sub(value, torch.minimum(k, 4 - k).clamp_(0.0, 1.0).mul_(chroma), out=images[:, channel])
    return images


@dataclass(frozen=True, kw_only=True)
class IntensityJitter:
    """Brightness, then contrast, by random factors that all channels share; for any number of channels.

    p: probability. brightness, contrast: factors are drawn from [max(0, 1 - value), 1 + value]. Contrast
    moves each channel away from its own mean, so channels of unlike ranges keep their levels. Values are
    clamped to [0, 1] after each.
    """

    name: ClassVar[str] = "intensity_jitter"
    colour: ClassVar[bool] = False
    p: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4

    def __post_init__(self) -> None:
        check_number(self.name, "p", self.p, 0.0, 1.0)
        for option in ("brightness", "contrast"):
            check_number(self.name, option, getattr(self, option), 0.0, math.inf)

    def draw(self, stream: Stream) -> Parameters:
        """chosen: bool (N,). brightness, contrast: factors (N,)."""
        numbers = stream.uniform(3)
        spreads = [(max(0.0, 1 - value), 1 + value) for value in (self.brightness, self.contrast)]
        brightness, contrast = (between(numbers[:, k], *spread) for k, spread in enumerate(spreads, start=1))
        return {"chosen": numbers[:, 0] < self.p, "brightness": brightness, "contrast": contrast}

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Images (N, C, H, W), C as it may be."""
        return on_chosen(images, parameters, _intensity_jittered)


def _intensity_jittered(images: Tensor, parameters: Parameters) -> Tensor:
    contrast = parameters["contrast"]
    images.mul_(per_image(parameters["brightness"])).clamp_(0.0, 1.0)
    mean = torch.stack([mean_exactly(plane) for plane in images.unbind(dim=1)], dim=1)
    constant = (1 - contrast)[:, None] * mean
    return images.mul_(per_image(contrast)).add_(constant[:, :, None, None]).clamp_(0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class ColorDrop(Sometimes):
    """Replace the three channels by their luma with probability p (SimCLR, appendix A)."""

    name: ClassVar[str] = "color_drop"
    colour: ClassVar[bool] = True
    p: float = 0.2

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Grey images, still with three channels."""
        return on_chosen(images, parameters, lambda some, _: some.copy_(luma(some)[:, None]))


@dataclass(frozen=True, kw_only=True)
class Solarize(Sometimes):
    """Invert values of at least `threshold` with probability p (BYOL, appendix B)."""

    name: ClassVar[str] = "solarize"
    colour: ClassVar[bool] = False
    p: float = 0.2
    threshold: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.name, "threshold", self.threshold, 0.0, 1.0)

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """x to 1 - x where x >= threshold."""
        return on_chosen(images, parameters, self._inverted)

    def _inverted(self, images: Tensor, parameters: Parameters) -> Tensor:
        del parameters
        return torch.where(images >= self.threshold, 1.0 - images, images)
