"""What an inflated network owes: of a still video it gives what the network gave of the image."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from sslkit.contracts import ClipRows
from sslkit_inflation.inflate import inflate
from sslkit_inflation.stages import intermediates, probe, still


def still_video_error(network: nn.Module, *, frames: int = 4, seed: int = 0, **options: Any) -> float:
    """The largest error of the embedding and of every feature map, relative to the largest value of each.

    network: for images; a copy is inflated with the options, and both get the same noise image and layers
    that have a say, as many begin with branches that are off. Rows of all frames are compared. Raises
    ModelError or ConfigError as `inflate` does.
    """
    generator = torch.Generator().manual_seed(seed)
    network = copy.deepcopy(network)
    awaken(network, generator)
    inflated = inflate(copy.deepcopy(network), **options)
    pixels = torch.randn(probe(network).shape, generator=generator)
    rows = cast(ClipRows, inflated.clip_rows)
    rows.clips = len(pixels)
    with still(network), still(inflated):
        images, videos = (
            _outputs(network, pixels),
            _outputs(inflated, pixels.repeat_interleave(frames, dim=0)),
        )
    return max(_error(image, video) for image, video in zip(images, videos, strict=True))


def awaken(network: nn.Module, generator: torch.Generator) -> None:
    """Give vectors of parameters, such as scales that begin at zero, values of ordinary size, in place."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.2, 0.8, generator=generator)


def _outputs(network: nn.Module, pixels: Tensor) -> list[Tensor]:
    return [network(pixels), *intermediates(network, pixels)]


def _error(image: Tensor, video: Tensor) -> float:
    wanted = image.repeat_interleave(len(video) // len(image), dim=0)
    return float((video - wanted).abs().max() / wanted.abs().max())
