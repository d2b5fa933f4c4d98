"""Operations on the colour of each pixel: jitter, loss of colour, solarisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from kornia.enhance import adjust_hue
from torch import Tensor

from sslkit.data.views.operation import Parameters, check_number, on_chosen, per_image
from sslkit.errors import ConfigError
from sslkit.keyed_random import Stream

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in kornia, torchvision and Pillow

# Infinitesimal rotation of the chroma plane of YIQ, in RGB, towards falling hue: inverse(T) J T, with T the
# NTSC matrix and J a quarter turn of (I, Q). Rows and luma-weighted columns add up to zero.
_QUARTER_TURN = (
    (0.16773971, 0.32930952, -0.49704924),
    (-0.32811313, 0.03546699, 0.29264614),
    (1.24954590, -1.04633920, -0.20320670),
)


def luma(images: Tensor) -> Tensor:
    """Brightness of each pixel, (N, 3, H, W) to (N, H, W)."""
    grey: Tensor = images[:, 0] * LUMA[0]
    grey.add_(images[:, 1] * LUMA[1])
    return grey.add_(images[:, 2] * LUMA[2])


def mean_luma(images: Tensor) -> Tensor:
    """Mean brightness of each image, (N, 3, H, W) in [0, 1] to (N,), exact in any order of summation.

    Luma is rounded to the finest step that lets float32 add up a row of pixels without rounding.
    """
    height, width = images.shape[2:]
    steps = 2 ** (24 - (width - 1).bit_length())
    rows = luma(images).mul_(steps).round_().sum(dim=2)
    mean: Tensor = rows.long().sum(dim=1).float() / (steps * height * width)
    return mean


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Brightness, contrast, saturation, hue: random amounts in random order (SimCLR, appendix A).

    p: probability. brightness, contrast, saturation: factors are drawn from [max(0, 1 - value), 1 + value].
    hue: turns of the colour circle are drawn from [-value, value]. As in torchvision, values are clamped to
    [0, 1] after each of the four; unlike it, each sample has its own order.
    hue_method: "rotation" turns the chroma plane of YIQ, which keeps luma and approximates the shift of HSV
    hue at a fraction of its cost; "exact" is kornia's shift of HSV hue.
    """

    name: ClassVar[str] = "color_jitter"
    colour: ClassVar[bool] = True
    p: float = 0.8
    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    hue_method: Literal["rotation", "exact"] = "rotation"

    def __post_init__(self) -> None:
        check_number(self.name, "p", self.p, 0.0, 1.0)
        for option in ("brightness", "contrast", "saturation"):
            check_number(self.name, option, getattr(self, option), 0.0, math.inf)
        check_number(self.name, "hue", self.hue, 0.0, 0.5)
        if self.hue_method not in ("rotation", "exact"):
            raise ConfigError(f"color_jitter.hue_method is {self.hue_method!r}; take 'rotation' or 'exact'.")

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
        return on_chosen(images, parameters, self._jitter)

    def _jitter(self, images: Tensor, parameters: Parameters) -> Tensor:
        amounts, order = parameters["amounts"], parameters["order"]
        matrices = _matrices(amounts, rotate=self.hue_method == "rotation")
        rows = torch.arange(images.shape[0], device=images.device)
        for turn in order.unbind(dim=1):
            # Contrast moves towards the mean luma; the other adjustments have no constant part.
            pull = torch.where(turn == CONTRAST, 1.0 - amounts[:, CONTRAST], 0.0)
            images = _mixed(images, matrices[rows, turn], pull * mean_luma(images)).clamp_(0.0, 1.0)
            if self.hue_method == "exact":
                due = {"chosen": turn == HUE, "turns": amounts[:, HUE]}
                images = on_chosen(images, due, _hue_shifted)
        return images


def _hue_shifted(images: Tensor, parameters: Parameters) -> Tensor:
    shifted: Tensor = adjust_hue(images, parameters["turns"] * (2 * math.pi))
    return shifted.clamp_(0.0, 1.0)


def _matrices(amounts: Tensor, *, rotate: bool) -> Tensor:
    """The colour matrix of each of the four adjustments, (N, 4, 3, 3)."""
    device = amounts.device
    same = torch.eye(3, device=device)
    grey = torch.tensor([LUMA, LUMA, LUMA], device=device)
    brightness, contrast, saturation, turns = (part[:, None, None] for part in amounts.unbind(dim=1))
    if rotate:
        angle = turns * (2 * math.pi)
        turned = grey + angle.cos() * (same - grey) - angle.sin() * torch.tensor(_QUARTER_TURN, device=device)
    else:
        turned = same.expand(amounts.shape[0], 3, 3)
    saturated = saturation * same + (1 - saturation) * grey
    return torch.stack([brightness * same, contrast * same, saturated, turned], dim=1)


def _mixed(images: Tensor, matrices: Tensor, shift: Tensor) -> Tensor:
    """Each pixel's colour times the sample's matrix (N, 3, 3), plus its shift (N,).

    Written out because three terms are too few for a matrix product to pay, and to fix the order of the sum.
    """
    result = torch.empty_like(images)
    for channel in range(3):
        plane, row = result[:, channel], matrices[:, channel, :, None, None]
        torch.mul(images[:, 0], row[:, 0], out=plane)
        plane.add_(images[:, 1] * row[:, 1]).add_(images[:, 2] * row[:, 2])
    return result.add_(per_image(shift))


@dataclass(frozen=True, kw_only=True)
class ColorDrop:
    """Replace the three channels by their luma with probability p (SimCLR, appendix A)."""

    name: ClassVar[str] = "color_drop"
    colour: ClassVar[bool] = True
    p: float = 0.2

    def __post_init__(self) -> None:
        check_number(self.name, "p", self.p, 0.0, 1.0)

    def draw(self, stream: Stream) -> Parameters:
        """chosen: bool (N,)."""
        return {"chosen": stream.uniform() < self.p}

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Grey images, still with three channels."""
        return on_chosen(images, parameters, lambda some, _: some.copy_(luma(some)[:, None]))


@dataclass(frozen=True, kw_only=True)
class Solarize:
    """Invert values of at least `threshold` with probability p (BYOL, appendix B)."""

    name: ClassVar[str] = "solarize"
    colour: ClassVar[bool] = False
    p: float = 0.2
    threshold: float = 0.5

    def __post_init__(self) -> None:
        check_number(self.name, "p", self.p, 0.0, 1.0)
        check_number(self.name, "threshold", self.threshold, 0.0, 1.0)

    def draw(self, stream: Stream) -> Parameters:
        """chosen: bool (N,)."""
        return {"chosen": stream.uniform() < self.p}

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """x to 1 - x where x >= threshold."""
        return on_chosen(images, parameters, self._inverted)

    def _inverted(self, images: Tensor, parameters: Parameters) -> Tensor:
        del parameters
        return torch.where(images >= self.threshold, 1.0 - images, images)
