"""Items that are far from all others: damaged, empty, of another kind, or just rare.

mean    mean cosine distance to the k nearest: far from everything (Angiulli and Pizzuti, "Fast Outlier
        Detection in High Dimensional Spaces", PKDD 2002, definition 1, divided by k)
lof     how much sparser it is around an item than around its neighbours, 1 for as sparse: far for its own
        surroundings, however dense (Breunig, Kriegel, Ng and Sander, "LOF: Identifying Density-Based Local
        Outliers", SIGMOD 2000, definitions 5 to 7), by Euclidean distance of unit vectors
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ConfigError
from sslkit.retrieval.curation.neighbours import Graph

Method = Literal["mean", "lof"]

NEIGHBOURS = 10


def outlier_scores(graph: Graph, method: Method = "mean") -> NDArray[np.float64]:
    """How much each item lies apart, float64 (N,); the larger, the more. O(N k) time.

    Raises ConfigError for another method.
    """
    if method not in get_args(Method):
        raise ConfigError(f"outliers by '{method}'; it is one of {', '.join(get_args(Method))}")
    return mean_distance(graph) if method == "mean" else local_outlier_factor(graph)


def mean_distance(graph: Graph) -> NDArray[np.float64]:
    """Mean of 1 - cosine over the neighbours that were found; 2, the largest there is, where none was."""
    there = graph.places >= 0
    distances = np.where(there, 1 - graph.similarities.astype(np.float64), 0).sum(1)
    counts = there.sum(1)
    return np.where(counts > 0, distances / np.maximum(counts, 1), 2.0)


def local_outlier_factor(graph: Graph) -> NDArray[np.float64]:
    """The local outlier factor of each item; copies of one item are no denser than 1e-10 apart.

    An item of which no neighbour was found is an outlier without measure: infinity.
    """
    there = graph.places >= 0
    cosines = np.where(there, graph.similarities, 1).astype(np.float64)
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 0))
    places, counts = np.where(there, graph.places, 0), np.maximum(there.sum(1), 1)
    kth = distances.max(1)  # definition 3, the k-distance
    reach = np.where(there, np.maximum(kth[places], distances), 0)  # definition 5
    density = 1 / (reach.sum(1) / counts + 1e-10)  # definition 6
    factor = np.where(there, density[places], 0).sum(1) / counts / density  # definition 7
    return np.where(there.any(1), factor, np.inf)


def count_of(share: float, count: int) -> int:
    """How many of `count` items a share is, at least one; ConfigError when it is not between 0 and 1."""
    if not 0 < share < 1:
        raise ConfigError(f"share={share} of the items to list; it lies between 0 and 1, such as 0.01")
    return max(1, round(share * count))
