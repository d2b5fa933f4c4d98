"""What inverted lists learn from: a sample of the vectors, drawn by key, and k-means on it."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from sslkit.keyed_random import Keys
from sslkit.neighbours.flat import FlatIndex

_GATHERED = 65_536  # rows read together


def sampled(count: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """One row of each of `wanted` equal parts of 0..count-1, ascending."""
    edges = np.arange(wanted + 1) * count // wanted
    draws = Keys(seed, 0, torch.arange(wanted)).stream(0, "structure sample").uniform().numpy()
    widths = np.diff(edges)
    rows: NDArray[np.int64] = edges[:-1] + np.minimum((draws * widths).astype(np.int64), widths - 1)
    return rows


def gathered(vectors: FlatIndex, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The vectors of a sample; what a mapped file brings into memory for it is given back on the way."""
    sample = np.empty((len(rows), vectors.dim), np.float32)
    for start in range(0, len(rows), _GATHERED):
        sample[start : start + _GATHERED] = vectors.rows(rows[start : start + _GATHERED])
        vectors.release()
    return sample


def trained(index: Any, sample: NDArray[np.float32]) -> None:
    """Train inverted lists on all of the sample; the k-means runs on a GPU where there is one."""
    index.cp.max_points_per_centroid = -(-len(sample) // index.nlist)
    index.cp.min_points_per_centroid = 1  # FAISS would complain about fewer than 39
    if faiss.get_num_gpus():
        on_gpu = faiss.index_cpu_to_all_gpus(faiss.IndexFlatL2(index.d))
        index.clustering_index = on_gpu
        index.train(sample)
        index.clustering_index = None
    else:
        index.train(sample)
