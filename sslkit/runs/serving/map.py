"""The items of an index as points of a plane, near where they are similar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sslkit.evaluation.projection import principal_components, tsne
from sslkit.keyed_random import hashed, word
from sslkit.retrieval.artifact import Index

MOST_SHOWN = 100_000
"""Points; of more items a sample is shown."""

LANDMARKS = 1000
"""Points laid out by t-SNE, which takes a core 6 seconds for so many and grows with their square."""

_FEWEST = 16  # points that t-SNE is worth it for
_NEAR = 8  # landmarks that an item is placed by
_SHARPNESS = 30.0  # of their weights: one less similar by .1 counts e^3 times less
_BLOCK = 4096  # rows at a time: 16 MB of similarities
_GRID = 65535


@dataclass(frozen=True)
class EmbeddingMap:
    """Where items lie: ids int64 (N,), points uint16 (N, 2) on a square grid, labels int64 (N,), -1 for none.

    described: how the map was made, for people.
    """

    ids: NDArray[np.int64]
    points: NDArray[np.uint16]
    labels: NDArray[np.int64]
    described: str

    def to_bytes(self) -> bytes:
        """For the page: N little-endian float64 ids, N pairs of uint16, N uint16 labels, 65535 for none.

        Eight-byte ids come first so that everything is aligned; below 2^53 they are exact as float64.
        """
        labels = np.where((self.labels < 0) | (self.labels >= _GRID), _GRID, self.labels)
        return (
            self.ids.astype("<f8").tobytes()
            + self.points.astype("<u2").tobytes()
            + labels.astype("<u2").tobytes()
        )


def embedding_map(index: Index, *, most: int = MOST_SHOWN, seed: int = 0) -> EmbeddingMap:
    """Lay out the items of an index; more than `most` by a keyed sample of them.

    Up to 1,000 items are laid out by exact t-SNE. Of more, 1,000 landmarks are, drawn by key; every other
    item lies at the mean of its 8 most similar landmarks, weighted by exp(30 similarity). The work is thus
    bounded: N x 1,000 similarities beside the t-SNE of 1,000. (Landmarks as in van der Maaten and Hinton,
    JMLR 2008, section 5, who show them alone.) Fewer than 16 items, which have no neighbourhoods to keep, are
    laid out by their principal components.
    """
    ids = index.ids()
    shown = _drawn(ids, most, seed)
    landmarks = _drawn(shown, LANDMARKS, seed + 1)
    vectors = index.vectors(landmarks.tolist())
    placed = _laid_out(vectors)
    points = placed if len(shown) == len(landmarks) else _placed(index, shown, vectors, placed)
    how = f"t-SNE of {len(landmarks):,} items" if len(landmarks) >= _FEWEST else "principal components"
    if len(shown) > len(landmarks):
        others = f"{len(shown) - len(landmarks):,}"
        how += f"; the other {others} lie among the {_NEAR} of them they are most similar to"
    if len(ids) > len(shown):
        how = f"{len(shown):,} of {len(ids):,} items, drawn at random: {how}"
    return EmbeddingMap(shown, _on_grid(points), _labels(index, shown), how)


def _drawn(ids: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """At most so many of ascending ids, which of them being a function of the ids and the seed; ascending."""
    if len(ids) <= most:
        return ids
    order = hashed(seed, 0, torch.from_numpy(ids), 0, word("map")).numpy()
    return np.sort(ids[np.argpartition(order, most)[:most]])


def _laid_out(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points float32 (N, 2) of vectors (N, D)."""
    count, width = vectors.shape
    if count < 2 or width < 2:
        return np.zeros((count, 2), np.float32)
    given = torch.from_numpy(vectors)
    if count < _FEWEST:
        return principal_components(given).numpy()
    return tsne(given, perplexity=min(30.0, (count - 1) / 3)).numpy()


def _placed(
    index: Index, shown: NDArray[np.int64], landmarks: NDArray[np.float32], placed: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Points (N, 2) of the items shown, by their most similar landmarks."""
    points = np.empty((len(shown), 2), np.float32)
    for ids, vectors in index.blocks(_BLOCK):
        rows = np.searchsorted(shown, ids).clip(max=len(shown) - 1)
        here = shown[rows] == ids
        points[rows[here]] = weighted_places(vectors[here], landmarks, placed)
    return points


def weighted_places(
    vectors: NDArray[np.float32], landmarks: NDArray[np.float32], placed: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Points (M, 2) of unit vectors (M, D) from those of landmarks (L, 2); a landmark lies on itself.

    Nearest landmarks within 1e-5 of 1 are the item itself or its double: nothing pulls it away from there.
    """
    similarities = vectors @ landmarks.T
    near = np.argpartition(-similarities, min(_NEAR, len(landmarks)) - 1, axis=1)[:, :_NEAR]
    values = np.take_along_axis(similarities, near, axis=1)
    best = values.max(axis=1, keepdims=True)
    weights = np.exp(_SHARPNESS * (values - best))
    weights[(best[:, 0] > 1 - 1e-5)[:, None] & (values < best)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray((weights[:, :, None] * placed[near]).sum(axis=1), np.float32)


def _on_grid(points: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Points on a square grid, shape kept: one scale for both axes, the narrower one in the middle."""
    low, high = points.min(axis=0, initial=np.inf), points.max(axis=0, initial=-np.inf)
    middle, reach = (low + high) / 2, max(float((high - low).max(initial=0)), 1e-12)
    return np.asarray(np.rint(((points - middle) / reach + 0.5) * _GRID).clip(0, _GRID), np.uint16)


def _labels(index: Index, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    labels = np.full(len(ids), -1, np.int64)
    if index.classes:
        for start in range(0, len(ids), _BLOCK):
            part = index.items(ids[start : start + _BLOCK].tolist())
            labels[start : start + _BLOCK] = [-1 if item.label is None else item.label for item in part]
    return labels
