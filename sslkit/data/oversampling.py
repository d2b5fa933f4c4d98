"""Rare classes seen more often."""

from __future__ import annotations

import math

import numpy as np

from sslkit.errors import ConfigError
from sslkit.keyed_random import hashed, permutation, word


def repeat_factors(counts: np.ndarray, threshold: float) -> np.ndarray:
    """How often an epoch is to read each sample, float64 (N,), all >= 1 (Gupta et al. 2019, LVIS, section 5).

    counts: of objects or pixels, (N, K) for K classes. A class in a share f of the samples has the factor
    max(1, sqrt(threshold / f)), a sample the largest of the classes in it.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"oversample={threshold}: use a share of the samples, such as 0.001, or 0 for none")
    present = counts > 0
    share = present.mean(axis=0) if len(counts) else np.zeros(counts.shape[1])
    factors = np.maximum(1.0, np.sqrt(threshold / np.maximum(share, 1e-300)))
    of_samples: np.ndarray = np.where(present, factors, 1.0).max(axis=1, initial=1.0)
    return of_samples


def repeated(factors: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """The ids an epoch reads, int64 (ceil(sum of factors),), each id of 0..N-1 in one run.

    A factor of 2.3 is rounded to 2 or 3 by chance, a function of (seed, epoch). The chances are drawn
    together (systematic sampling), so that all epochs are of one length; to reach it, factors are enlarged
    by the share of less than one sample.
    """
    total = repeated_length(factors)
    order = permutation(len(factors), seed=seed, epoch=epoch).numpy()
    start = (int(hashed(seed, epoch, word("repeat"))) % 2**53) / 2**53
    ends = np.cumsum(factors[order])
    ends *= total / ends[-1]
    # Sample k of the order is read once for each number start, start + 1, ... between its bounds.
    upto = np.clip(np.ceil(ends - start).astype(np.int64), 0, total)
    upto[-1] = total  # whatever rounding has done
    return np.repeat(order, np.diff(upto, prepend=0))


def repeated_length(factors: np.ndarray) -> int:
    """How many samples an epoch of `repeated` reads."""
    return math.ceil(round(float(np.sum(factors)), 6))
