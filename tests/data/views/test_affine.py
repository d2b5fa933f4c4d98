"""Colour as a matrix: a plain loop in float64 without clamping, and what hue is at thirds of a turn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslkit.data.views.affine import Affine, hue_rotation
from sslkit.data.views.colour import LUMA, ColorDrop, ColorJitter, IntensityJitter, shift_hue
from sslkit.data.views.operation import Operation, Parameters
from sslkit.keyed_random import Keys


def slowly(operation: Operation, drawn: Parameters, image: Tensor, row: int) -> Tensor:
    """The operation on one image (C, pixels), as its docstring says but never clamped."""
    if not drawn["chosen"][row]:
        return image
    weights = torch.tensor(LUMA, dtype=torch.float64)
    if isinstance(operation, ColorDrop):
        return (weights @ image).expand(3, -1).clone()
    if isinstance(operation, IntensityJitter):
        image = image * drawn["brightness"][row].double()
        mean = image.mean(dim=1, keepdim=True)
        return mean + (image - mean) * drawn["contrast"][row].double()
    for turn in drawn["order"][row].tolist():
        amount = float(drawn["amounts"][row, turn])
        grey = weights @ image
        if turn == 0:
            image = image * amount
        elif turn == 1:
            image = grey.mean() + (image - grey.mean()) * amount
        elif turn == 2:
            image = grey + (image - grey) * amount
        else:
            # Rodrigues: turn each colour about the axis (1, 1, 1) / sqrt(3).
            axis = torch.full((3,), 1 / math.sqrt(3), dtype=torch.float64)
            angle = 2 * math.pi * amount
            turned = []
            for colour in image.T:
                along = axis * (axis @ colour) * (1 - math.cos(angle))
                across = torch.linalg.cross(axis, colour) * math.sin(angle)
                turned.append(colour * math.cos(angle) + across + along)
            image = torch.stack(turned, dim=1)
    return image


@pytest.mark.parametrize(
    "operations",
    [
        [ColorJitter(p=1.0)],
        [ColorJitter(p=1.0), ColorDrop(p=0.5)],
        [IntensityJitter(p=0.7), ColorJitter(p=0.6, hue=0.5), ColorDrop(p=0.3), IntensityJitter(p=0.7)],
    ],
    ids=["jitter", "and grey", "all"],
)
def test_a_chain_is_one_matrix_and_the_mean(operations: list[Operation]) -> None:
    images = torch.rand(12, 3, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    keys = Keys(0, 0, torch.arange(12))
    expected = list(images)
    change = Affine.identity(12, 3, torch.device("cpu"))
    for position, operation in enumerate(operations):
        drawn = operation.draw(keys.stream(0, f"{position}"))
        expected = [slowly(operation, drawn, image, row) for row, image in enumerate(expected)]
        change = change.then(operation, drawn)
    made = change.own.double() @ images + change.carried.double() @ images.mean(dim=2, keepdim=True)
    torch.testing.assert_close(made, torch.stack(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("thirds", [-2, -1, 0, 1, 2, 3])
def test_thirds_of_a_turn_are_those_of_hsv(thirds: int) -> None:
    images = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    turns = torch.full((2,), thirds / 3)
    made = (hue_rotation(turns) @ images.flatten(2)).view(images.shape)
    torch.testing.assert_close(made, shift_hue(images.clone(), turns), atol=2e-6, rtol=0)


def test_intensity_jitter_leaves_what_was_not_chosen_and_clamps_after_each() -> None:
    images = torch.rand(2, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    drawn = {
        "chosen": torch.tensor([True, False]),
        "brightness": torch.tensor([1.6, 0.1]),
        "contrast": torch.tensor([0.5, 0.1]),
    }
    made = IntensityJitter().apply(images.clone(), drawn)
    bright = (images[0].double() * 1.6).clamp(0, 1)
    mean = bright.mean(dim=(1, 2), keepdim=True)
    expected = (mean + (bright - mean) * 0.5).clamp(0, 1)
    torch.testing.assert_close(made[0], expected.float(), atol=2e-6, rtol=0)
    assert torch.equal(made[1], images[1])


def test_intensity_jitter_draws_factors_in_its_ranges() -> None:
    drawn = IntensityJitter(p=0.3, brightness=0.2, contrast=1.5).draw(
        Keys(0, 0, torch.arange(4000)).stream(0, "1")
    )
    assert float(drawn["chosen"].float().mean()) == pytest.approx(0.3, abs=0.03)
    for name, low, high in (("brightness", 0.8, 1.2), ("contrast", 0.0, 2.5)):
        assert low <= float(drawn[name].min()) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < float(drawn[name].max()) <= high
