"""How alike two pictures are once one is laid over the other, and both have the same brightness.

Shapes: P pairs of pictures float32 (P, 3, S, S), 0..255.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, grid_sample

_STAGES = ((16, 6), (32, 4))  # (side, iterations): coarse first, so that a shift of 10 % is found
_FURTHEST = 0.25  # shift and stretch at most, in halves of the side
_JUDGED = 16  # side at which edges are compared: finer ones do not survive JPEG and halving
_COLOUR = 50.0  # grey levels by which the mean colours may differ, brightness apart
_LUMINANCE = (0.299, 0.587, 0.114)


def agreement(one: Tensor, other: Tensor) -> Tensor:
    """The correlation of the edges of each pair, (P,) in -1..1, the better of two ways to lay them.

    Either may be the crop, so each is laid over the other. Where the mean colours cannot be made equal by a
    common factor, it is 0: edges alone would take a red disc for a blue one.
    """
    return torch.maximum(_judged(one, other, aligned(one, other)), _judged(other, one, aligned(other, one)))


def aligned(one: Tensor, other: Tensor) -> Tensor:
    """Shift and stretch (P, 4) along x, x, y, y at which `other` is sampled to lie on `one`.

    Gauss-Newton on the correlation of luminances, whose slopes are taken from `one` alone. Coordinates run
    from -1 to 1; x is sampled at shift + (1 + stretch) * x.
    """
    weights = one.new_tensor(_LUMINANCE)[:, None, None]
    first, second = ((picture * weights).sum(1, keepdim=True) for picture in (one, other))
    place = one.new_zeros(len(one), 4)
    for side, iterations in _STAGES:
        wanted = _unit(adaptive_avg_pool2d(first, side))
        moved = adaptive_avg_pool2d(second, side)
        down, right = (slope[:, 0] * side / 2 for slope in torch.gradient(wanted, dim=(2, 3)))
        axis = _axis(side, one)
        slopes = torch.stack([right, right * axis, down, down * axis[:, None]], dim=-1).flatten(1, 2)
        bend = slopes.mT @ slopes
        # What is flat along an axis cannot be moved along it; the damping leaves it where it is.
        damped = bend + 1e-3 * torch.diag_embed(bend.diagonal(dim1=1, dim2=2)) + 1e-6 * torch.eye(4)
        for _ in range(iterations):
            left = (wanted - _unit(_sampled(moved, place, side)[0])).flatten(1)
            step = torch.linalg.solve(damped, slopes.mT @ left[:, :, None])[:, :, 0]
            place = (place + step).clamp(-_FURTHEST, _FURTHEST)
    return place


def _judged(one: Tensor, other: Tensor, place: Tensor) -> Tensor:
    laid, inside = _sampled(other, place, one.shape[-1])
    covered = adaptive_avg_pool2d(inside, _JUDGED)
    seen = (covered > 0.999).float()  # cells that both pictures fill
    small, same = (adaptive_avg_pool2d(picture * inside, _JUDGED) for picture in (one, laid))
    edges, others = _edges(small, seen), _edges(same, seen)
    product, power = (edges * others).sum(1), edges.square().sum(1)
    similarity = product / (power * others.square().sum(1)).sqrt().clamp(min=1e-3)
    gain = product / power.clamp(min=1e-3)
    count = seen.sum((2, 3)).clamp(min=1)
    means, wanted = ((picture * seen).sum((2, 3)) / count for picture in (small, same))
    apart = (gain[:, None] * means - wanted).abs().amax(1)
    return torch.where(apart <= _COLOUR, similarity, torch.zeros_like(similarity))


def _sampled(picture: Tensor, place: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The picture (P, C, side, side) moved, and 1 where it reaches, (P, 1, side, side)."""
    axis = _axis(side, picture)
    x, y = (place[:, k : k + 1] + (1 + place[:, k + 1 : k + 2]) * axis for k in (0, 2))
    grid = torch.stack([x[:, None].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], dim=-1)
    moved = grid_sample(picture, grid, padding_mode="border", align_corners=False)
    return moved, (grid.abs() <= 1).all(-1)[:, None].float()


def _edges(small: Tensor, seen: Tensor) -> Tensor:
    """Differences of neighbours to the right and below, (P, E), 0 where one of them is not seen."""
    known = seen[:, :, :-1, :-1] * seen[:, :, :-1, 1:] * seen[:, :, 1:, :-1]
    here = small[:, :, :-1, :-1]
    right, below = small[:, :, :-1, 1:] - here, small[:, :, 1:, :-1] - here
    return torch.cat([(right * known).flatten(1), (below * known).flatten(1)], dim=1)


def _unit(plane: Tensor) -> Tensor:
    """Of mean 0 and length 1, (P, 1, S, S)."""
    centred = plane - plane.mean(dim=(2, 3), keepdim=True)
    unit: Tensor = centred / centred.flatten(1).norm(dim=1).clamp(min=1e-6)[:, None, None, None]
    return unit


def _axis(side: int, like: Tensor) -> Tensor:
    """Middles of the pixels from -1 to 1."""
    return (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) * (2 / side) - 1
