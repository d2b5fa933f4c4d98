"""Ways back to a fine map, and the mirror beyond its edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.errors import ModelError
from sslkit_segmentation.mirroring import mirrored
from sslkit_segmentation.unpooling import UNPOOLING, bed_of_nails, bilinear, nearest


def test_nearest_repeats_each_cell() -> None:
    values = torch.randn(2, 3, 2, 4)
    expected = values.repeat_interleave(3, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(nearest(values, (6, 8)), expected)


def test_nails_stand_top_left_among_zeros() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    expected = torch.tensor([[1.0, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]])
    assert torch.equal(bed_of_nails(values, (4, 4))[0, 0], expected)
    with pytest.raises(ModelError, match=r"from \(2, 2\) to \(5, 4\) cells"):
        bed_of_nails(values, (5, 4))


def test_bilinear_keeps_a_ramp() -> None:
    centres = (torch.arange(6) + 0.5) * 2
    fine = torch.arange(12) + 0.5
    found = bilinear(centres.expand(1, 1, 3, 6), (6, 12))
    torch.testing.assert_close(found[0, 0, 2, 1:-1], fine[1:-1])


@pytest.mark.parametrize("name", UNPOOLING)
def test_a_gradient_goes_back_to_every_cell(name: str) -> None:
    values = torch.randn(1, 2, 3, 3, requires_grad=True)
    (UNPOOLING[name](values, (6, 6)) ** 2).sum().backward()
    assert values.grad is not None
    assert (values.grad != 0).all()


@pytest.mark.parametrize("margin", [0, 1, 3, 5, 12])
def test_the_mirror_is_numpys_symmetric_padding(margin: int) -> None:
    values = torch.randn(2, 1, 3, 5)
    wide = ((0, 0), (0, 0), (margin, margin), (margin, margin))
    assert np.array_equal(mirrored(values, margin).numpy(), np.pad(values.numpy(), wide, mode="symmetric"))
