"""Operations on the texture of an image: noise, blur, edges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from kornia.filters import sobel
from torch import Tensor

from sslkit.data.views.operation import (
    Parameters,
    Sometimes,
    between,
    check_number,
    check_range,
    on_chosen,
    per_image,
)
from sslkit.data.views.separable import Taps, filtered
from sslkit.keyed_random import Stream, hashed, word


@dataclass(frozen=True, kw_only=True)
class GaussianNoise:
    """Add normal noise to every value with probability p; std is drawn uniformly, full brightness being 1."""

    name: ClassVar[str] = "gaussian_noise"
    colour: ClassVar[bool] = False
    p: float = 0.5
    std: tuple[float, float] = (0.0, 0.1)

    def __post_init__(self) -> None:
        check_number(self.name, "p", self.p, 0.0, 1.0)
        check_range(self.name, "std", self.std, 0.0, 1.0)

    def draw(self, stream: Stream) -> Parameters:
        """chosen: bool (N,). std: (N,). keys: int64 (N,), from which the noise of each pixel follows."""
        numbers = stream.uniform(2)
        return {
            "chosen": numbers[:, 0] < self.p,
            "std": between(numbers[:, 1], *self.std),
            "keys": hashed(stream.keys, word("pixels")),
        }

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Noisy images, clamped to [0, 1]."""
        return on_chosen(images, parameters, _noisy)


def _noisy(images: Tensor, parameters: Parameters) -> Tensor:
    noise = Stream(parameters["keys"]).normal(*images.shape[1:])
    return images.add_(noise.mul_(per_image(parameters["std"]))).clamp_(0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class GaussianBlur:
    """Gaussian blur with probability p (SimCLR, appendix A).

    sigma: in pixels, drawn uniformly. kernel: the kernel's side as a share of the image's, made odd, so 23
    pixels at 224. Borders are reflected, as in kornia and torchvision.
    """

    name: ClassVar[str] = "gaussian_blur"
    colour: ClassVar[bool] = False
    p: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)
    kernel: float = 0.1

    def __post_init__(self) -> None:
        check_number(self.name, "p", self.p, 0.0, 1.0)
        check_range(self.name, "sigma", self.sigma, 0.01, math.inf)
        check_number(self.name, "kernel", self.kernel, 0.0, 1.0)

    def draw(self, stream: Stream) -> Parameters:
        """chosen: bool (N,). sigma: (N,), pixels."""
        numbers = stream.uniform(2)
        return {"chosen": numbers[:, 0] < self.p, "sigma": between(numbers[:, 1], *self.sigma)}

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Blurred images, one axis after the other."""
        return on_chosen(images, parameters, self._blurred)

    def radius(self, size: int) -> int:
        """Pixels on each side of the kernel's centre."""
        return max(1, int(size * self.kernel) // 2)

    def _blurred(self, images: Tensor, parameters: Parameters) -> Tensor:
        size = images.shape[3]
        radius = self.radius(size)
        weights = gaussian_weights(parameters["sigma"], radius)[:, None, :]
        shifts = torch.arange(-radius, radius + 1, device=images.device)
        places = (torch.arange(size, device=images.device)[:, None] + shifts).abs()
        places = size - 1 - (size - 1 - places).abs()
        taps = Taps(places.expand(images.shape[0], *places.shape), weights)
        return filtered(images, taps, taps)


def gaussian_weights(sigma: Tensor, radius: int) -> Tensor:
    """Gaussian kernels for each sigma (N,), pixels: (N, 2 radius + 1), each adding up to one."""
    distances = torch.arange(-radius, radius + 1, device=sigma.device)
    weights = (distances**2 * (-0.5 / (sigma * sigma))[:, None]).exp_()
    # Added tap by tap: the order of a library's sum may follow the shape.
    total = weights[:, :1].clone()
    for tap in range(1, 2 * radius + 1):
        total.add_(weights[:, tap : tap + 1])
    return weights.div_(total)


@dataclass(frozen=True, kw_only=True)
class Sobel(Sometimes):
    """Replace the image by the strength of its edges with probability p (SimCLR, figure 4); by kornia."""

    name: ClassVar[str] = "sobel"
    colour: ClassVar[bool] = False
    p: float = 0.5

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Length of the gradient of each channel."""
        return on_chosen(images, parameters, _edges)


def _edges(images: Tensor, parameters: Parameters) -> Tensor:
    del parameters
    # On a grid of 2**-16 the filter's weights (eighths) give sums that float32 holds exactly, so the result
    # does not depend on how a convolution orders them.
    edges: Tensor = sobel(images.mul_(2**16).round_().mul_(2**-16))
    return edges
