"""Random changes of images with targets, each a function of (seed, epoch, id, view)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.data.warp import Placed, fit
from sslkit.errors import ConfigError
from sslkit.keyed_random import Keys

_GREY = (0.299, 0.587, 0.114)  # luminance of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True)
class Elastic:
    """Elastic deformation (Simard, Steinkraus and Platt 2003, section 2): smoothed random displacements.

    alpha: their standard deviation in pixels of the canvas, of each of x and y. sigma: of the Gaussian that
    smooths the uniform noise, pixels. p: probability. U-Net (Ronneberger et al. 2015, section 3.1) has alpha
    10 from a grid of 3x3 vectors, so a sigma of about a fifth of the canvas. Raises ConfigError for numbers
    that cannot work; below sigma = 2 * alpha the image would fold over itself.
    """

    alpha: float
    sigma: float
    p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha * 2 <= self.sigma < math.inf:
            raise ConfigError(
                f"elastic: alpha={self.alpha}, sigma={self.sigma}: use pixels above 0 with sigma >= 2 * alpha"
            )
        if not 0 <= self.p <= 1:
            raise ConfigError(f"elastic: p={self.p}: use a probability, 0 to 1")

    def field(self, size: tuple[int, int], keys: Keys, view: int = 0) -> Tensor:
        """The displacements (x, y) of one sample, float (2, H, W)."""
        # What is so smooth needs no noise at every pixel: a grid of two points a sigma is interpolated.
        pitch = max(1, int(self.sigma / 2))
        spread = self.sigma / pitch
        reach = math.ceil(3 * spread)
        points = [math.ceil(side / pitch) + 2 for side in size]  # one beyond each border
        noise = keys.stream(view, "elastic").uniform(2, *(count + 2 * reach for count in points))[0] * 2 - 1
        weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / spread) ** 2)
        weights /= weights.square().sum().sqrt()  # keeps the variance of noise, which is 1/3
        smooth = F.conv2d(noise[:, None], weights.view(1, 1, -1, 1))
        smooth = F.conv2d(smooth, weights.view(1, 1, 1, -1)) * (self.alpha * math.sqrt(3))
        whole = [count * pitch for count in points]
        fine = F.interpolate(smooth, size=whole, mode="bicubic", align_corners=False)[:, 0]
        return fine[:, pitch : pitch + size[0], pitch : pitch + size[1]].contiguous()


@dataclass(frozen=True)
class Augment:
    """What is done to an image with its target.

    flip: probability of mirroring left to right. scale: least and largest, uniform in its logarithm; 1 fits
    the canvas. Of an image larger than the canvas a random window is shown. elastic: None is never. colour:
    strength of the jitter; brightness, contrast and saturation are multiplied by factors from
    max(0, 1 - colour) to 1 + colour.

    crop: in place of scale, a window that holds this share of the image, least and largest, and is stretched
    to fill the canvas; its ratio of sides is the canvas's times 3/4 to 4/3, as far as it fits (Szegedy et al.
    2015, "Going Deeper with Convolutions", section 6). Raises ConfigError for numbers that cannot work.
    """

    flip: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    elastic: Elastic | None = None
    colour: float = 0.0
    crop: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        low, high = self.scale
        least, most = self.crop or (1.0, 1.0)
        rules = {
            "flip": (0 <= self.flip <= 1, "a probability, 0 to 1"),
            "scale": (0 < low <= high < math.inf, "two numbers above 0, the smaller first, as (0.5, 2.0)"),
            "colour": (0 <= self.colour < math.inf, "a number >= 0, such as 0.3"),
            "crop": (0 < least <= most <= 1, "two shares of the area, the smaller first, as (0.08, 1.0)"),
        }
        for name, (holds, mend) in rules.items():
            if not holds:
                raise ConfigError(f"augment: {name}={getattr(self, name)}: use {mend}")
        if self.crop is not None and self.scale != (1.0, 1.0):
            raise ConfigError(f"augment: crop={self.crop} takes the place of scale={self.scale}: use (1, 1)")

    def draw(self, source: tuple[int, int], size: tuple[int, int], keys: Keys, view: int = 0) -> Placed:
        """Where an image of `source` pixels comes to lie on a canvas, (height, width) both; one key."""
        at, down, across, mirror, bend = keys.stream(view, "place").uniform(5)[0].tolist()
        if self.crop is None:
            low, high = self.scale
            factor = low * (high / low) ** at
            height, width = (max(1, round(side * factor)) for side in fit(source, size).scaled)
        else:
            height, width = self._enlarged(source, size, at, keys, view)
        spare = (max(0, height - size[0]), max(0, width - size[1]))
        displaced = None
        if self.elastic is not None and bend < self.elastic.p:
            displaced = self.elastic.field(size, keys, view)
        return Placed(
            source,
            size,
            (height, width),
            offset=(int(down * (spare[0] + 1)), int(across * (spare[1] + 1))),
            flipped=mirror < self.flip,
            displaced=displaced,
        )

    def _enlarged(
        self, source: tuple[int, int], size: tuple[int, int], at: float, keys: Keys, view: int
    ) -> tuple[int, int]:
        """(height, width) of the image on a canvas that a window of it fills."""
        assert self.crop is not None
        least, most = self.crop
        slant = 2 * float(keys.stream(view, "crop").uniform(1)) - 1
        ratio = size[1] / size[0] * (4 / 3) ** slant
        area = (least + at * (most - least)) * source[0] * source[1]
        window = min(source[0], math.sqrt(area / ratio)), min(source[1], math.sqrt(area * ratio))
        return round(size[0] * source[0] / window[0]), round(size[1] * source[1] / window[1])

    def coloured(self, pixels: Tensor, keys: Keys, view: int = 0, *, apart: float = 0.0) -> Tensor:
        """uint8 (C, h, w), or frames (T, C, h, w), without padding to the same; all frames change alike.

        Saturation is changed where C is 3. apart: probability that each frame changes for itself.
        """
        if not self.colour:
            return pixels
        if apart and float(keys.stream(view, "apart").uniform(1)) < apart:
            names = [f"colour {place}" for place in range(len(pixels))]
            frames = [self._jittered(one, keys, view, name) for one, name in zip(pixels, names, strict=True)]
            return torch.stack(frames)
        return self._jittered(pixels, keys, view, "colour")

    def _jittered(self, pixels: Tensor, keys: Keys, view: int, operation: str) -> Tensor:
        lowest = max(0.0, 1 - self.colour)
        drawn = lowest + keys.stream(view, operation).uniform(3)[0] * (1 + self.colour - lowest)
        brightness, contrast, saturation = drawn.tolist()
        planes = pixels.movedim(-3, 0)
        count = planes.shape[0]
        grey = torch.tensor(_GREY) if count == 3 else torch.full((count,), 1 / count)
        matrix = torch.eye(count)
        if count == 3:
            matrix = saturation * matrix + (1 - saturation) * grey.expand(3, 3)
        values = planes.flatten(1).float()
        mean = brightness * (grey @ values.mean(dim=1))
        changed = torch.addmm(
            ((1 - contrast) * mean).expand(count, 1), contrast * brightness * matrix, values
        )
        return changed.round_().clamp_(0, 255).to(torch.uint8).view(planes.shape).movedim(0, -3)
