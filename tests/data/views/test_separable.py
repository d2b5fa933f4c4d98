"""Filtering one axis after the other against plain loops in float64, and the two ways of choosing rows."""

from __future__ import annotations

import pytest
import torch

from sslkit.data.views import colour, filters, operation, placement
from sslkit.data.views.operation import Parameters
from sslkit.data.views.policy import build_views
from sslkit.data.views.separable import Taps, filtered
from sslkit.keyed_random import Keys


def test_filtered_equals_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1, 5, 6, generator=generator)

    def taps(length: int, side: int) -> Taps:
        places = torch.randint(0, side, (2, length, 3), generator=generator)
        return Taps(places, torch.rand(2, length, 3, generator=generator))

    vertical, horizontal = taps(4, 5), taps(7, 6)
    expected = torch.zeros(2, 1, 4, 7, dtype=torch.float64)
    for n in range(2):
        for y in range(4):
            for x in range(7):
                for down in range(3):
                    for across in range(3):
                        pixel = images[n, 0, vertical.places[n, y, down], horizontal.places[n, x, across]]
                        weight = vertical.weights[n, y, down].double() * horizontal.weights[n, x, across]
                        expected[n, 0, y, x] += pixel * weight
    torch.testing.assert_close(filtered(images, vertical, horizontal), expected.float())


def test_computing_all_rows_as_accelerators_do_equals_computing_the_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ["crop_resize_flip", "color_jitter", "rotate", "gaussian_blur", "color_drop", "solarize"]
    names += ["gaussian_noise", "sobel", "flip", "cutout"]
    views = build_views([[{"op": name} for name in names]], size=32, mean=(0.5,) * 3, std=(0.2,) * 3)
    pixels = torch.randint(0, 256, (17, 3, 48, 48), dtype=torch.uint8)
    rectangles, keys = torch.tensor([[0, 0, 48, 48]]).repeat(17, 1), Keys(0, 0, torch.arange(17))
    (chosen,) = views(pixels, rectangles, keys)

    def all_rows(images: torch.Tensor, parameters: Parameters, change: operation.Change) -> torch.Tensor:
        changed = change(images.clone(), parameters)
        return changed.where(parameters["chosen"][:, None, None, None], images)

    for room in (colour, filters, placement):
        monkeypatch.setattr(room, "on_chosen", all_rows)
    assert torch.equal(views(pixels, rectangles, keys)[0], chosen)
