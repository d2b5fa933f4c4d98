"""How well ranked neighbours find the class of their query: the figures of `retrieval_figures`, from lists.

Of Musgrave, Belongie and Lim, "A Metric Learning Reality Check", ECCV 2020, section 3.2. A list that ends
before R, or is not what an exact search gives, is judged as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def ranked_values(
    hits: NDArray[np.bool_], relevant: NDArray[np.int64], ks: Sequence[int]
) -> dict[str, Numbers]:
    """Figures of every query, float64 (Q,), NaN where nothing is relevant.

    hits: (Q, K), whether the neighbour at each rank is relevant, nearest first. relevant: (Q,), R, how many
    there are in all.

    recall@k: 1 where one of the k nearest is relevant, else 0. map_at_r: the sum over relevant ranks i <= R
    of precision at i, divided by R. r_precision: the relevant ones among the R nearest, divided by R. mrr:
    one divided by the rank of the nearest relevant one, 0 where the list has none.
    """
    ranks = np.arange(1, hits.shape[1] + 1)
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1.0, np.inf)
    counted = hits & (ranks <= relevant[:, None])
    precision = hits.cumsum(axis=1) / ranks
    count = np.maximum(relevant, 1)
    values = {f"recall@{k}": (first <= k).astype(np.float64) for k in ks}
    values |= {
        "map_at_r": (precision * counted).sum(axis=1) / count,
        "r_precision": counted.sum(axis=1) / count,
        "mrr": 1 / first,
    }
    return {name: np.where(relevant > 0, value, np.nan) for name, value in values.items()}
