"""Changes of colour as one matrix a sample.

Brightness, contrast, saturation, a turn of the colour circle and the loss of colour are linear in a pixel
and in the image's mean, but for the clamping in between: pixel x of an image with mean m becomes
own x + carried m. Both matrices of a chain of operations are known before any pixel is read.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.data.views.colour import CONTRAST, HUE, LUMA, SATURATION, ColorDrop, ColorJitter, IntensityJitter
from sslkit.data.views.operation import Operation, Parameters

AFFINE = (ColorJitter, ColorDrop, IntensityJitter)
"""The operations that are such a matrix."""


class Affine(NamedTuple):
    """A pixel x of an image with mean m becomes own x + carried m; float32 (N, C, C) both."""

    own: Tensor
    carried: Tensor

    @classmethod
    def identity(cls, rows: int, channels: int, device: torch.device) -> Affine:
        """Pixels as they are."""
        own = torch.eye(channels, device=device).repeat(rows, 1, 1)
        return cls(own, torch.zeros_like(own))

    def then(self, operation: Operation, parameters: Parameters) -> Affine:
        """This change, then one of the operations in AFFINE."""
        if isinstance(operation, ColorJitter):
            return _jittered(self, parameters)
        if isinstance(operation, ColorDrop):
            chosen = parameters["chosen"][:, None, None]
            grey = _luma_rows(self.own)
            return Affine(
                torch.where(chosen, _product(grey, self.own), self.own),
                torch.where(chosen, _product(grey, self.carried), self.carried),
            )
        chosen = parameters["chosen"]
        brightness, contrast = parameters["brightness"], parameters["contrast"]
        brightness = torch.where(chosen, brightness, 1.0)[:, None, None]
        contrast = torch.where(chosen, contrast, 1.0)[:, None, None]
        lifted = Affine(self.own * brightness, self.carried * brightness)
        mean = lifted.own + lifted.carried
        return Affine(lifted.own * contrast, lifted.carried * contrast + mean * (1 - contrast))


def _jittered(before: Affine, parameters: Parameters) -> Affine:
    own, carried = before
    chosen = parameters["chosen"][:, None, None]
    amounts = parameters["amounts"]
    grey, turned = _luma_rows(own), hue_rotation(amounts[:, HUE])
    even = torch.eye(3, device=own.device)
    for turn in parameters["order"].unbind(dim=1):
        factor = amounts.gather(1, turn[:, None])[:, :, None]
        at = turn[:, None, None]
        rest = (1 - factor) * grey
        step = factor * even + rest * (at == SATURATION)
        step = torch.where(at == HUE, turned, step)
        # Contrast moves a pixel towards the luma of the mean of what the pixels have become.
        pull = _product(rest * (at == CONTRAST), own + carried)
        own, carried = _product(step, own), _product(step, carried) + pull
    return Affine(torch.where(chosen, own, before.own), torch.where(chosen, carried, before.carried))


def hue_rotation(turns: Tensor) -> Tensor:
    """Turn colours about the grey axis by turns (N,) of the circle: (N, 3, 3).

    At thirds of a turn it permutes the channels, as turning the hue of HSV does. In between it keeps the mean
    of the channels where HSV keeps their maximum.
    """
    angle = turns * (2 * math.pi)
    cosine, sine = (1 - angle.cos()) / 3, angle.sin() / math.sqrt(3)
    same, ahead, behind = 1 - 2 * cosine, cosine - sine, cosine + sine
    rows = [same, ahead, behind, behind, same, ahead, ahead, behind, same]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def _luma_rows(like: Tensor) -> Tensor:
    """The matrix that replaces each channel by the luma, (3, 3)."""
    return torch.tensor(LUMA, device=like.device).expand(3, 3)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Matrix products (N, C, C), term by term: a library's order of summation may follow the batch."""
    total = left[..., :, :1] * right[..., :1, :]
    for k in range(1, right.shape[-2]):
        total = total + left[..., :, k : k + 1] * right[..., k : k + 1, :]
    return total
