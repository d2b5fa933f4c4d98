"""Sizes of inverted lists and product quantisers."""

from __future__ import annotations

import pytest

from sslkit.neighbours.lists import IVF_ROWS, list_count, subspace_count


def test_the_lists_grow_with_the_corpus_and_never_starve() -> None:
    assert [list_count(count) for count in (624, 1300, 10_000, 1_000_000, 100_000_000)] == [
        *(16, 32, 128, 1024, 8192)
    ]
    for count in range(IVF_ROWS, 5000, 7):
        assert list_count(count) * 39 <= count


@pytest.mark.parametrize("dim", [*range(1, 40), 127, 509, 768, 2048])
def test_the_product_quantiser_divides_every_width(dim: int) -> None:
    assert dim % subspace_count(dim) == 0
