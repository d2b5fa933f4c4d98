"""Parts of a labelled training set: few of each class, a share of each, or a long tail.

Labels are int64 (N,), -1 where unknown: such rows are never drawn. A draw is int64 (M,), rows in order, a
function of the labels and of `trial`. Draws of one trial are nested: every class has one order, and all of
them take from its beginning.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sslkit.data.oversampling import repeated
from sslkit.errors import ConfigError, DataError
from sslkit.keyed_random import hashed, word

_SHOWN = 6
"""Classes that a message lists."""


def drawn_rows(
    labels: np.ndarray,
    *,
    per_class: int | None = None,
    share: float | None = None,
    imbalance: float | None = None,
    trial: int,
    classes: Sequence[str] = (),
) -> np.ndarray:
    """The draw asked for: one of `per_class`, `share` and `imbalance`; classes: names for messages.

    Raises ConfigError for none or several of them or one out of range, DataError as the draw does.
    """
    given = [
        name
        for name, value in (("per_class", per_class), ("share", share), ("imbalance", imbalance))
        if value is not None
    ]
    if per_class is not None and len(given) == 1:
        return draw_per_class(labels, per_class, trial=trial, classes=classes)
    if share is not None and len(given) == 1:
        return draw_share(labels, share, trial=trial)
    if imbalance is not None and len(given) == 1:
        return draw_long_tail(labels, imbalance, trial=trial)
    raise ConfigError(f"give one of per_class, share and imbalance; given: {' and '.join(given) or 'none'}")


def draw_per_class(labels: np.ndarray, count: int, *, trial: int, classes: Sequence[str] = ()) -> np.ndarray:
    """`count` rows of every class.

    classes: names, of which each needs rows; empty is every class that occurs. Raises DataError, with the
    classes that have too few.
    """
    if count < 1:
        raise ConfigError(f"{count} samples of each class asked for; ask for at least 1")
    order, places, counts = _ordered(labels, len(classes), trial)
    present = counts if classes else counts[counts > 0]
    names = classes or [f"class {k}" for k in np.flatnonzero(counts)]
    if short := [(int(had), name) for had, name in zip(present, names, strict=True) if had < count]:
        short.sort(key=lambda one: one[0])
        listed = ", ".join(f"{name} has {had}" for had, name in short[:_SHOWN])
        more = f", ... ({len(short)} classes in all)" if len(short) > _SHOWN else ""
        least = short[0][0]
        mend = f"ask for at most {least}" if least else "give every class samples"
        raise DataError(f"{count} samples of each class are needed, but {listed}{more}; {mend}")
    return np.sort(order[places < count])


def draw_share(labels: np.ndarray, share: float, *, trial: int) -> np.ndarray:
    """Of all classes the same share, at least one row of each, round(share * N) rows in all where possible.

    Seats are given one after another to the class whose next row is due, row j of n at (j + 1/2) / n
    (Webster 1832, Sainte-Laguë 1910): the sizes are as proportional as those of the largest remainders, and
    unlike them no class loses a row when the share grows.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share={share}; use a part of the labels above 0 and up to 1, such as 0.1")
    order, places, counts = _ordered(labels, 0, trial)
    of_row = labels[order]
    due = np.where(places == 0, -1.0, (places + 0.5) / counts[of_row])
    # Classes of one size are due together; which comes first is a matter of chance.
    lots = hashed(word("share"), trial, torch.arange(len(counts))).numpy()[of_row]
    seats = max(round(share * len(order)), int((counts > 0).sum()))
    return np.sort(order[np.lexsort((lots, due))[:seats]])


def draw_long_tail(labels: np.ndarray, imbalance: float, *, trial: int) -> np.ndarray:
    """Numbers that fall geometrically from the first class, kept whole, to the last, `imbalance` times fewer.

    n_k = n_0 * imbalance^(-k / (K - 1)), rounded down, at least one (Cui et al., "Class-Balanced Loss Based
    on Effective Number of Samples", CVPR 2019, section 5); k counts the classes that occur. A class with
    fewer rows keeps what it has.
    """
    if not imbalance >= 1:
        raise ConfigError(f"imbalance={imbalance}; use how many times fewer the last class is to have, >= 1")
    order, places, counts = _ordered(labels, 0, trial)
    occur = np.flatnonzero(counts)
    falling = counts[occur[0]] * float(imbalance) ** -(np.arange(len(occur)) / max(len(occur) - 1, 1))
    wanted = np.zeros_like(counts)
    # A product that is whole but for rounding is whole: 100 * 32^(-2/5) is 25.
    wanted[occur] = np.maximum(np.floor(falling * (1 + 1e-12)), 1)
    return np.sort(order[places < wanted[labels[order]]])


def repeated_to_balance(labels: np.ndarray, *, trial: int) -> np.ndarray:
    """Rows int64 (M,), in which every class comes as often as the largest: oversampling of the rare.

    The rows of a class are repeated equally often, but for one more of some, drawn by chance.
    """
    order, _, counts = _ordered(labels, 0, trial)
    parts = []
    for k, rows in enumerate(np.split(order, np.cumsum(counts)[:-1])):
        if len(rows):
            factors = np.full(len(rows), counts.max() / len(rows))
            parts.append(rows[repeated(factors, seed=trial, epoch=k)])
    return np.sort(np.concatenate(parts))


def _ordered(labels: np.ndarray, classes: int, trial: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Known rows class by class in the class's own order, the place of each in it, and counts (K,)."""
    known = np.flatnonzero(labels >= 0)
    if not len(known):
        raise DataError(f"none of {len(labels)} samples has a class; give labels")
    counts = np.bincount(labels[known], minlength=classes)
    lots = hashed(word("label draw"), trial, torch.from_numpy(known)).numpy()
    order = known[np.lexsort((lots, labels[known]))]
    starts = np.cumsum(counts) - counts
    return order, np.arange(len(order)) - starts[labels[order]], counts
