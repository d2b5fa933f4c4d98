"""Spherical k-means by FAISS: centres of unit length, each item with the centre of largest cosine.

Dhillon and Modha, "Concept Decompositions for Large Sparse Text Data Using Clustering", Machine Learning
2001. The first centres are drawn by key as greedy k-means++ draws them (Arthur and Vassilvitskii, SODA
2007, sections 2.2 and 7).
"""

from __future__ import annotations

import math
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from sslkit.errors import ConfigError
from sslkit.keyed_random import Stream, hashed, permutation, word

ITERATIONS = 20

SAMPLE = 256
"""Vectors for each centre that are learnt from; FAISS's own number."""

_FIRST = 16_384  # vectors the first centres are drawn from, and at least four for each centre
_STARTS = 8


def spherical_kmeans(
    vectors: NDArray[np.float32], count: int, *, seed: int = 0, iterations: int = ITERATIONS
) -> NDArray[np.float32]:
    """`count` unit centres float32 (count, D) of unit vectors float32 (N, D); the same for the same
    arguments.

    At most 256 vectors for each centre are looked at, drawn by key. O(iterations * N * count * D) time.
    Raises ConfigError for more centres than vectors, or fewer than one.
    """
    if not 1 <= count <= len(vectors):
        raise ConfigError(f"{count} clusters of {len(vectors)} items; there may be 1 to {len(vectors)}")
    vectors = vectors[drawn(len(vectors), SAMPLE * count, seed)]
    centres = first_centres(vectors, count, seed)
    if count == len(vectors):
        return centres
    kmeans: Any = faiss.Kmeans(
        vectors.shape[1],
        count,
        niter=iterations,
        spherical=True,
        min_points_per_centroid=1,  # few are as they are; FAISS would only warn
        max_points_per_centroid=SAMPLE,
        seed=seed & 0x7FFFFFFF,
    )
    kmeans.train(np.ascontiguousarray(vectors), init_centroids=centres)
    learnt: NDArray[np.float32] = kmeans.centroids
    return learnt


def drawn(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most `most` of 0..count-1, drawn by key, int64 ascending."""
    if count <= most:
        return np.arange(count)
    order: NDArray[np.int64] = permutation(count, seed=seed, epoch=0).numpy()
    return np.sort(order[:most])


def first_centres(vectors: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """`count` rows of unit vectors (N, D), drawn one after the other by squared distance to those before.

    Of 2 + ln(count) rows drawn each time the one is taken that leaves the least of these squares. For few
    centres, where one ill drawn group counts, the best of up to eight such starts is taken.
    """
    vectors = vectors[drawn(len(vectors), max(_FIRST, 4 * count), seed)]
    starts = max(1, min(_STARTS, 256 // count))
    found = [_start(vectors, _draws(count, seed, start)) for start in range(starts)]
    return vectors[min(found, key=lambda one: one[1])[0]]


def _start(vectors: NDArray[np.float32], draws: NDArray[np.float64]) -> tuple[list[int], float]:
    """Rows that `draws` (count, each) in [0, 1) choose, and the sum of squared distances to the nearest."""
    chosen = [int(draws[0, 0] * len(vectors))]
    far = _squares(vectors, chosen)[0]
    for draw in draws[1:]:
        reached = np.cumsum(far)
        if reached[-1] > 0:
            tried = np.unique(np.searchsorted(reached, draw * reached[-1], side="right"))
        else:  # only copies of the centres are left
            tried = np.setdiff1d(np.arange(len(vectors)), chosen)[:1]
        left = np.minimum(far, _squares(vectors, tried))
        best = int(left.sum(1).argmin())
        chosen.append(int(tried[best]))
        far = left[best]
    return chosen, float(far.sum())


def _draws(count: int, seed: int, start: int) -> NDArray[np.float64]:
    """Uniform in [0, 1), (count, 2 + ln(count))."""
    keys = hashed(seed, word("first centres"), start, torch.arange(count))
    drawn_ones: NDArray[np.float64] = Stream(keys).uniform(2 + int(math.log(count))).double().numpy()
    return drawn_ones


def _squares(vectors: NDArray[np.float32], rows: Any) -> NDArray[np.float64]:
    """Squared distances of all vectors to some of them, (R, N); exactly zero to themselves."""
    squares: NDArray[np.float64] = np.maximum(2 - 2 * (vectors[rows] @ vectors.T).astype(np.float64), 0)
    squares[np.arange(len(rows)), rows] = 0
    return squares
