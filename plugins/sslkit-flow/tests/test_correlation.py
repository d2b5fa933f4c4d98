"""The cost volume against plain loops, against unfold, and its gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import ModelError
from sslkit_flow.correlation import cost_volume


def maps(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, *shape, generator=generator, dtype=dtype)
    return first, second


def by_loops(first: Tensor, second: Tensor, d: int, stride: int) -> Tensor:
    """Equation 1 of FlowNet with k = 0, pixel by pixel."""
    samples, _, height, width = first.shape
    result = torch.zeros(samples, (2 * d + 1) ** 2, height, width, dtype=first.dtype)
    for n in range(samples):
        for i in range(-d, d + 1):
            for j in range(-d, d + 1):
                for y in range(height):
                    for x in range(width):
                        v, u = y + i * stride, x + j * stride
                        if 0 <= v < height and 0 <= u < width:
                            product = float(first[n, :, y, x] @ second[n, :, v, u])
                            result[n, (i + d) * (2 * d + 1) + j + d, y, x] = product
    return result


def by_unfolding(first: Tensor, second: Tensor, d: int, stride: int) -> Tensor:
    side = 2 * d + 1
    around = F.unfold(second, side, dilation=stride, padding=d * stride)
    around = around.view(*second.shape[:2], side**2, *second.shape[-2:])
    return (first[:, :, None] * around).sum(dim=1)


@pytest.mark.parametrize(
    ("shape", "d", "stride"),
    [((2, 3, 4, 5), 2, 1), ((1, 2, 6, 3), 1, 2), ((2, 1, 1, 1), 3, 1), ((1, 4, 5, 4), 0, 1)],
)  # fmt: skip
def test_it_is_the_papers_equation_in_plain_loops(shape: tuple[int, ...], d: int, stride: int) -> None:
    first, second = maps(*shape)
    found = cost_volume(first, second, d, stride)
    assert found.shape == (shape[0], (2 * d + 1) ** 2, *shape[2:])
    torch.testing.assert_close(found, by_loops(first, second, d, stride), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("d", "stride"), [(4, 1), (3, 2), (10, 1)])
def test_it_is_what_unfolding_gives(d: int, stride: int) -> None:
    first, second = maps(2, 16, 12, 17, seed=1)
    found = cost_volume(first, second, d, stride)
    torch.testing.assert_close(found, by_unfolding(first, second, d, stride), rtol=0, atol=1e-6)


def test_its_gradient_is_right_for_both_maps() -> None:
    first, second = (one.requires_grad_() for one in maps(1, 2, 3, 4, seed=2))
    assert torch.autograd.gradcheck(lambda a, b: cost_volume(a, b, 1, 2), (first, second))


def test_a_shifted_map_is_most_alike_where_it_went() -> None:
    first, _ = maps(1, 32, 9, 9, seed=3)
    second = first.roll((1, -2), dims=(2, 3))
    best = cost_volume(first, second, 2)[0, :, 4, 4].argmax()
    assert divmod(int(best), 5) == (2 + 1, 2 - 2)  # down 1, left 2


def test_what_has_no_cost_volume_is_refused() -> None:
    first, second = maps(1, 2, 3, 3)
    with pytest.raises(ModelError, match="two maps"):
        cost_volume(first, second[..., :2], 1)
    with pytest.raises(ModelError, match="max_displacement -1 and stride 1"):
        cost_volume(first, second, -1)
    with pytest.raises(ModelError, match="stride 0"):
        cost_volume(first, second, 1, 0)
