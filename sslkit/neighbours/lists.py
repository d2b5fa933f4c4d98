"""Sizes of inverted lists and of product quantisers."""

from __future__ import annotations

import math

IVF_ROWS = 624
"""Fewest vectors inverted lists can learn from: 39 for each of 16 lists, as FAISS's k-means asks."""

LIST_SAMPLE = 64
"""Vectors for each list that training looks at; FAISS's 256 would take four times as long."""

_POINTS = 39  # for each centroid; below it FAISS's k-means complains
_MOST = 16  # doublings


def list_count(count: int, *, per_root: int = 1) -> int:
    """About `per_root` times the root of `count`: a power of two, 16 to 65,536.

    Never so many that there are too few vectors to learn each list from.
    """
    wanted = round(math.log2(count) / 2 + math.log2(per_root))
    return 1 << max(4, min(wanted, int(math.log2(count / _POINTS)), _MOST))


def subspace_count(dim: int) -> int:
    """Of a product quantiser of 4 bits each: two dimensions in each where possible, at most 128."""
    divisors = [parts for parts in range(1, min(max(dim // 2, 1), 128) + 1) if dim % parts == 0]
    return divisors[-1] if divisors[-1] >= min(dim // 2, 16) else dim  # a prime width
