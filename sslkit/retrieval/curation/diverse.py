"""A few items that stand for all: no item of the set is far from the nearest chosen one.

k-centre by farthest-first traversal: Gonzalez, "Clustering to Minimize the Maximum Intercluster Distance",
Theoretical Computer Science 1985. The covering radius is at most twice the least that so many items can have,
by Euclidean distance of unit vectors (and by the angle); no quick method can promise less (Hsu and Nemhauser
1979). As what to label: Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set
Approach", ICLR 2018. It looks for what is rare, so it also finds what is broken: remove outliers first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ConfigError
from sslkit.retrieval.curation.neighbours import Progress

_BLOCK = 4096  # items whose distances are brought up to date together
_CENTRES = 1024  # chosen items compared with a block at a time
_TAKEN = np.float32(2)  # in place of the cosine of what is chosen: nothing is nearer


@dataclass(frozen=True)
class Cover:
    """M chosen of N items.

    rows: their places, int64 (M,), in the order of choosing; radii: Euclidean distance, 0..2, of the item
    farthest from the first m chosen, float64 (M,).
    """

    rows: NDArray[np.int64]
    radii: NDArray[np.float64]


def k_centre(vectors: NDArray[np.float32], count: int, *, progress: Progress | None = None) -> Cover:
    """Choose `count` of the unit vectors (N, D), each the farthest from those before; equals by place.

    The first is the one nearest to the mean. O(N count D) time at most and O(N) memory beside the vectors,
    which may be mapped from a file: a block's distances are brought up to date only when it might hold the
    farthest. Raises ConfigError for more than there are, or fewer than one.
    """
    if not 1 <= count <= len(vectors):
        raise ConfigError(f"{count} of {len(vectors)} items to choose; there may be 1 to {len(vectors)}")
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(vectors), _BLOCK)]
    near = np.full(
        len(vectors), -np.inf, np.float32
    )  # cosine with the nearest of the chosen, as far as known
    bounds = np.full(len(blocks), -np.inf)  # no item of a block is farther than this cosine
    seen = np.zeros(len(blocks), np.int64)  # chosen items that a block was compared with
    rows, radii = [_most_central(vectors, blocks)], list[float]()
    chosen = np.empty((count, vectors.shape[1]), np.float32)
    while True:
        chosen[len(rows) - 1] = vectors[rows[-1]]
        near[rows[-1]] = _TAKEN
        while seen[at := int(bounds.argmin())] < len(rows):
            part = blocks[at]
            fresh = _nearest(vectors[part], chosen[seen[at] : len(rows)])
            np.maximum(near[part], fresh, out=near[part])
            bounds[at], seen[at] = near[part].min(), len(rows)
        radii.append(distance(float(bounds[at])))
        if progress is not None:
            progress(len(rows), count)
        if len(rows) == count:
            return Cover(np.array(rows, np.int64), np.array(radii))
        rows.append(blocks[at].start + int(near[blocks[at]].argmin()))


def covering(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], at: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How well the first m of `rows` cover all unit vectors (N, D), for each m in `at`, ascending.

    The largest and the mean Euclidean distance of an item to the nearest of them, float64 (len(at),). O(N M
    D).
    """
    largest, total = np.zeros(len(at)), np.zeros(len(at))
    for start in range(0, len(vectors), _BLOCK):
        block = np.ascontiguousarray(vectors[start : start + _BLOCK])
        near, before = np.full(len(block), -np.inf, np.float32), 0
        for place, upto in enumerate(at):
            near = np.maximum(near, _nearest(block, np.ascontiguousarray(vectors[rows[before:upto]])))
            far = np.sqrt(np.maximum(2 - 2 * near.astype(np.float64), 0))
            largest[place] = max(largest[place], far.max())
            total[place] += far.sum()
            before = upto
    return largest, total / len(vectors)


def distance(cosine: float) -> float:
    """Euclidean distance of two unit vectors."""
    return float(np.sqrt(max(2 - 2 * cosine, 0.0)))


def _nearest(block: NDArray[np.float32], chosen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest cosine of each of a block (B, D) with any of (M, D), float32 (B,)."""
    best = np.full(len(block), -np.inf, np.float32)
    for start in range(0, len(chosen), _CENTRES):
        np.maximum(best, (block @ chosen[start : start + _CENTRES].T).max(1), out=best)
    return best


def _most_central(vectors: NDArray[np.float32], blocks: Sequence[slice]) -> int:
    mean = np.sum([vectors[part].sum(0, dtype=np.float64) for part in blocks], axis=0).astype(np.float32)
    return int(np.concatenate([vectors[part] @ mean for part in blocks]).argmax())
