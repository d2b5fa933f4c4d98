"""Items whose label is doubtful, because their neighbours say otherwise.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021, with
the votes of the nearest others in place of a trained classifier's probabilities: how much class j is believed
of an item is compared with how much it is believed, on average, of the items labelled j (section 3.1). So
classes that are frequent, or easy, are not believed more than they deserve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ConfigError, DataError
from sslkit.retrieval.curation.neighbours import Graph
from sslkit.retrieval.filters import Where

NEIGHBOURS = 10

TEMPERATURE = 0.07
"""Of the votes, as in the k-NN probe (Wu et al., CVPR 2018)."""


@dataclass(frozen=True)
class Doubts:
    """Doubtful labels, the most doubtful first: M items.

    ids: int64 (M,); given, suggested: class numbers int64 (M,); own, other: shares of the votes for both,
    float (M,). joint: confident joint int64 (K, K), items by given class and by the class they are believed
    to be. agreement: share of all items whose neighbours vote for the class given.
    """

    ids: NDArray[np.int64]
    given: NDArray[np.int64]
    suggested: NDArray[np.int64]
    own: NDArray[np.float64]
    other: NDArray[np.float64]
    joint: NDArray[np.int64]
    agreement: float

    def __len__(self) -> int:
        return len(self.ids)


def labelled(where: Where | None) -> Where:
    """What `where` means and has a label."""
    where = where or Where()
    both = f"({where.sql}\n) AND class IS NOT NULL" if where.sql.strip() else "class IS NOT NULL"
    return replace(where, sql=both)


def doubtful_labels(
    graph: Graph, labels: NDArray[np.int64], *, classes: int, temperature: float = TEMPERATURE
) -> Doubts:
    """The items of a graph whose label, int64 (N,) of 0..classes-1, is believed less than another.

    A neighbour votes for its label with weight exp(cosine / temperature). An item is doubtful when a class j
    has at least as large a share of its votes as it has on average of the items labelled j, and a larger one
    than the class given; the largest such j is suggested. Doubt is the difference of both shares. O(N k^2)
    time.

    Raises:
        DataError: labels are missing or of one class only.
        ConfigError: temperature is not above zero.
    """
    if not temperature > 0:
        raise ConfigError(f"temperature={temperature}: it must be above zero, such as {TEMPERATURE}")
    if len(np.unique(labels)) < 2 or labels.min(initial=0) < 0:
        raise DataError(
            "the items have labels of fewer than two classes, so none can be doubted; index labelled data, "
            "such as a folder of class folders"
        )
    voted, shares = votes(graph, labels, temperature)
    own = np.where(voted == labels[:, None], shares, 0).max(1)
    sums = np.bincount(labels, own, minlength=classes)
    usual = sums / np.maximum(np.bincount(labels, minlength=classes), 1)  # threshold t_j, equation 2
    confident = (shares > 0) & (shares >= usual[voted])
    best = np.where(confident, shares, -1).argmax(1)
    rows = np.arange(len(labels))
    believed, other = voted[rows, best], shares[rows, best]
    counted = confident.any(1)
    joint = np.zeros((classes, classes), np.int64)
    np.add.at(joint, (labels[counted], believed[counted]), 1)
    doubtful = np.flatnonzero(counted & (believed != labels) & (other > own))
    order = doubtful[np.lexsort((doubtful, own[doubtful] - other[doubtful]))]
    return Doubts(
        graph.ids[order],
        labels[order],
        believed[order],
        own[order],
        other[order],
        joint,
        float((voted[rows, shares.argmax(1)] == labels).mean()),
    )


def votes(
    graph: Graph, labels: NDArray[np.int64], temperature: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Classes among the neighbours of each item and their shares of the votes, int64 and float64 (N, k).

    A class stands in the column of its nearest neighbour; columns of later ones of that class have share 0.
    """
    there = graph.places >= 0
    voted = np.where(there, labels[np.where(there, graph.places, 0)], -1)
    top = graph.similarities.max(1, initial=-1, keepdims=True)
    weights = np.where(there, np.exp((graph.similarities.astype(np.float64) - top) / temperature), 0)
    shares = np.zeros_like(weights)
    for column in range(voted.shape[1]):
        same = voted == voted[:, column : column + 1]
        first = ~same[:, :column].any(1) & there[:, column]
        shares[:, column] = np.where(first, (weights * same).sum(1), 0)
    total = shares.sum(1, keepdims=True)
    return np.where(there, voted, 0), shares / np.where(total > 0, total, 1)
