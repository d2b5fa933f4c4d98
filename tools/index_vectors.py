"""Made-up embeddings for measuring indexes: clusters of clusters with the spectrum of a trained network's.

In 128 dimensions their variance falls as the power -1.3 of its rank and the local intrinsic dimension (Levina
and Bickel 2004, of 100 neighbours) is about 12; of the embeddings of 10,000 CIFAR-10 images by a ResNet-18
that SimCLR pretrained, -1.5 and 14.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslkit.neighbours.flat import FlatIndex

BLOCK = 65_536
_EACH = 200  # vectors of a cluster
_COARSE = 50


def blocks(count: int, dim: int, seed: int = 0) -> Iterator[NDArray[np.float32]]:
    """Float32 (N, dim) of unit length, `count` in all; a block depends on its number and the seed alone."""
    shared = np.random.default_rng([seed, 0])
    spectrum = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
    groups = max(count // _EACH, _COARSE)
    coarse = shared.standard_normal((_COARSE, dim), dtype=np.float32)
    own = 0.7 * shared.standard_normal((groups, dim), dtype=np.float32)
    centres = coarse[shared.integers(0, _COARSE, groups)] + own
    for number, start in enumerate(range(0, count, BLOCK)):
        rows = min(BLOCK, count - start)
        drawn = np.random.default_rng([seed, 1 + number])
        block = centres[drawn.integers(0, groups, rows)]
        block += 0.7 * drawn.standard_normal((rows, dim), dtype=np.float32)
        block *= spectrum
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        yield block


def of_file(path: Path, count: int | None = None) -> Iterator[NDArray[np.float32]]:
    """The rows of a .npy file, float16 or float32, the first `count` of them."""
    stored = np.load(path, mmap_mode="r")
    stop = len(stored) if count is None else min(count, len(stored))
    for start in range(0, stop, BLOCK):
        yield np.asarray(stored[start : min(start + BLOCK, stop)], dtype=np.float32)


def add_options(parser: argparse.ArgumentParser, count: int) -> None:
    """--vectors, or --count and --dim of made-up ones."""
    parser.add_argument("--vectors", type=Path, help="a .npy file of rows; else they are made up")
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--dim", type=int, default=128)


def written(given: argparse.Namespace, path: Path) -> FlatIndex:
    """The vectors that the options ask for, in a file of exact ones, mapped."""
    if given.vectors is None:
        FlatIndex.write(path, blocks(given.count, given.dim), given.dim)
    else:
        width = np.load(given.vectors, mmap_mode="r").shape[1]
        FlatIndex.write(path, of_file(given.vectors, given.count), width)
    return FlatIndex.open(path, mapped=True)
