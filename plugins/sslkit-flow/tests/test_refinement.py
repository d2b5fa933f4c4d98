"""Coarse to fine: each level refines the coarser one's flow."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit_flow.contraction import Contraction
from sslkit_flow.refinement import SCALE, Refinement


def skips(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3 + place, *size, generator=generator) for place, size in enumerate(sizes)]


def test_every_level_has_the_size_of_its_skip_odd_ones_too() -> None:
    given = skips((9, 13), (5, 7), (3, 4))
    levels = Refinement((3, 4, 5), (4, 8, 16), width=4)(given)
    assert [level.stride for level in levels] == [16, 8, 4]
    assert [level.vectors.shape for level in reversed(levels)] == [(2, 2, *one.shape[-2:]) for one in given]


@torch.no_grad()
def test_the_coarser_flow_goes_on_in_the_finer_one() -> None:
    refine = Refinement((3, 4), (4, 8), width=4)
    for parameter in refine.parameters():
        parameter.zero_()
    refine.predict[1].bias[:] = torch.tensor([0.1, -0.2])  # type: ignore[index,union-attr]
    refine.predict[0].weight[0, -2, 1, 1] = 1  # type: ignore[index,union-attr]
    refine.predict[0].weight[1, -1, 1, 1] = 1  # type: ignore[index,union-attr]
    coarse, fine = refine(skips((4, 6), (2, 3)))
    expected = torch.tensor([0.1, -0.2]).view(1, 2, 1, 1) * SCALE
    torch.testing.assert_close(coarse.vectors, expected.expand(2, 2, 2, 3))
    torch.testing.assert_close(fine.vectors, expected.expand(2, 2, 4, 6))


def test_a_contraction_halves_and_looks_again_after_small_kernels_alone() -> None:
    contract = Contraction(6, (4, 8, 8), (7, 5, 3))
    levels = contract(torch.zeros(1, 6, 17, 32))
    assert [tuple(level.shape) for level in levels] == [(1, 4, 9, 16), (1, 8, 5, 8), (1, 8, 3, 4)]
    kernels = [
        convolution.kernel_size for convolution in contract.modules() if hasattr(convolution, "stride")
    ]
    assert sorted(kernels) == [(3, 3), (3, 3), (5, 5), (7, 7)]
