"""Groups of items that are nearly the same, and one of each to keep.

A chain of small steps must not join what is unlike, so groups are no connected components: they are stars.
Everything in a group is near to the one that is kept, and no two that are kept are near to each other (Aslam,
Pelekhov and Rus, "The Star Clustering Algorithm for Static and Dynamic Information Organization", JGAA 2004).
With unit vectors whatever is in a group of threshold s has a cosine of at least 2 s^2 - 1 with all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from sslkit.errors import ConfigError, DataError
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.curation.neighbours import Progress, meant_ids, neighbour_graph, neighbours_of
from sslkit.retrieval.filters import Where

Keep = Literal["centre", "first"]
"""Which of a group is kept: the one with the most near ones, or the one that was indexed first."""

THRESHOLD = 0.98
"""With small self-supervised networks photos saved again, or at half the size, reach .996, and most that are
a fifth brighter .97. Other photos of a set stay below .975, but for plain ones (clear skies reach .99);
crops and mirrored ones may, too."""

MOST = 256
"""Near ones of an item that are looked for; what has more is counted as crowded."""

_FIRST = 16  # neighbours asked for at first, four times as many where all of them are near
_PAIRS = 20_000_000  # near neighbours held at most, 12 bytes each; a pair is found from both sides
_ROUNDING = 1e-6  # of the cosine of copies


@dataclass(frozen=True)
class Pairs:
    """Pairs of N items that are near, each once: first < second, int64 (P,), similarities float32 (P,).

    threshold: of the cosine, as applied; nearest: cosine of each item with its nearest other, float32 (N,);
    crowded: items with at least `MOST` near ones, of whose pairs some may be missing.
    """

    ids: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    similarities: NDArray[np.float32]
    threshold: float
    nearest: NDArray[np.float32]
    crowded: int = 0


@dataclass(frozen=True)
class Star:
    """A group by id: the one to keep, and the others with their cosine to it, most similar first."""

    kept: int
    others: tuple[int, ...]
    similarities: tuple[float, ...]


def near_pairs(
    index: Index,
    *,
    threshold: float | None = None,
    quantile: float | None = None,
    where: Where | None = None,
    exact: bool = False,
    progress: Progress | None = None,
) -> Pairs:
    """All pairs with a cosine of at least `threshold`; 0.98 unless said.

    quantile: instead of a threshold, the share of items that are to have a near one: the threshold is then
    this quantile of the cosines of all items with their nearest other.

    Raises:
        ConfigError: both are given, one is out of range, or more pairs are near than can be held.
        DataError: fewer than two items are meant.
    """
    _check(threshold, quantile)
    ids = meant_ids(index, where)
    if len(ids) < 2:
        raise DataError(f"one item of {index.path} is meant; for duplicates two are needed")
    k = min(_FIRST, len(ids) - 1)
    graph = neighbour_graph(index, k, where=where, exact=exact, progress=progress)
    nearest = graph.similarities[:, 0]
    if quantile is not None:
        threshold = float(np.quantile(nearest, 1 - quantile, method="higher"))
    threshold = THRESHOLD if threshold is None else threshold
    least = threshold - _ROUNDING
    found = _Found(len(ids), threshold)
    full = found.add(np.arange(len(ids)), graph.places, graph.similarities, least)
    while len(full) and k < min(MOST, len(ids) - 1):  # more may be near than were asked for
        k = min(4 * k, MOST, len(ids) - 1)
        wider = neighbours_of(index, graph.ids, full, k, where=where, exact=exact)
        full = np.concatenate([found.add(rows, places, near, least) for rows, places, near in wider])
    crowded = len(full) if k < len(ids) - 1 else 0
    return Pairs(graph.ids, *found.pairs(), threshold, nearest, crowded)


def stars(pairs: Pairs, keep: Keep = "centre") -> list[Star]:
    """Groups of items that are near to one that is kept, largest first; items without a near one are in none.

    Greedy: of the items left, the one with the most near ones (keep="centre"), or the first (keep="first"),
    is kept; all that are near to it leave. Each of these then joins the kept one it is most similar to, the
    earlier of equals. O(P log P) for P pairs.
    """
    if keep not in get_args(Keep):
        raise ConfigError(f"keep='{keep}'; it is one of {', '.join(get_args(Keep))}")
    count = len(pairs.ids)
    graph = _symmetric(pairs)
    starts, others, near = graph.indptr, graph.indices, graph.data
    degrees = np.diff(starts)
    order = np.flatnonzero(degrees)
    if keep == "centre":
        order = order[np.argsort(-degrees[order], kind="stable")]
    kept, covered = np.zeros(count, bool), np.zeros(count, bool)
    for row in order.tolist():
        if not covered[row]:
            kept[row] = covered[row] = True
            covered[others[starts[row] : starts[row + 1]]] = True
    groups: dict[int, list[tuple[float, int]]] = {row: [] for row in np.flatnonzero(kept).tolist()}
    for row in np.flatnonzero(covered & ~kept).tolist():
        part = slice(starts[row], starts[row + 1])
        centres = others[part][kept[others[part]]]
        values = near[part][kept[others[part]]]
        best = np.lexsort((centres, -values))[0]
        groups[int(centres[best])].append((float(values[best]), row))
    made = [_star(pairs.ids, row, members) for row, members in groups.items() if members]
    return sorted(made, key=lambda star: (-len(star.others), -round(star.similarities[0], 5), star.kept))


def kept_ids(pairs: Pairs, groups: list[Star]) -> NDArray[np.int64]:
    """Ids of what is left when one of each group is kept, int64 ascending."""
    left_out = [id for star in groups for id in star.others]
    return np.setdiff1d(pairs.ids, np.array(left_out, np.int64), assume_unique=True)


class _Found:
    """Near pairs of `count` items as they are found, from either side."""

    def __init__(self, count: int, threshold: float) -> None:
        self._count, self._threshold = count, threshold
        self._keys: list[NDArray[np.int64]] = []
        self._near: list[NDArray[np.float32]] = []
        self._held = 0

    def add(
        self, rows: NDArray[np.int64], places: NDArray[np.int64], near: NDArray[np.float32], least: float
    ) -> NDArray[np.int64]:
        """Take in the neighbours (B, k) of `rows` (B,); those of which all k are near, int64."""
        close = (near >= least) & (places >= 0)
        row, rank = np.nonzero(close)
        one, other = rows[row], places[row, rank]
        self._keys.append(np.minimum(one, other) * self._count + np.maximum(one, other))
        self._near.append(near[row, rank])
        self._held += len(row)
        if self._held > _PAIRS:
            raise ConfigError(
                f"with threshold={self._threshold:.4f} more than {_PAIRS // 2:,} pairs are near: this model "
                "sees most items alike; raise the threshold, or say with a quantile how many are to be found"
            )
        full: NDArray[np.int64] = rows[close.all(1)]
        return full

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Each pair once: first, second, similarities."""
        keys, at = np.unique(np.concatenate(self._keys), return_index=True)
        return keys // self._count, keys % self._count, np.concatenate(self._near)[at]


def _symmetric(pairs: Pairs) -> Any:
    """The near ones of each item as a sparse matrix in rows."""
    rows = np.concatenate([pairs.first, pairs.second])
    columns = np.concatenate([pairs.second, pairs.first])
    near = np.concatenate([pairs.similarities, pairs.similarities])
    return coo_array((near, (rows, columns)), shape=(len(pairs.ids),) * 2).tocsr()


def _star(ids: NDArray[np.int64], row: int, members: list[tuple[float, int]]) -> Star:
    members.sort(key=lambda member: (-member[0], member[1]))
    others = ids[[place for _, place in members]].tolist()
    return Star(int(ids[row]), tuple(others), tuple(near for near, _ in members))


def _check(threshold: float | None, quantile: float | None) -> None:
    if threshold is not None and quantile is not None:
        raise ConfigError("both a threshold and a quantile were given; either says what is near")
    if threshold is not None and not -1 <= threshold <= 1:
        raise ConfigError(f"threshold={threshold}: a cosine of -1 to 1 is needed, such as {THRESHOLD}")
    if quantile is not None and not 0 < quantile < 1:
        raise ConfigError(
            f"quantile={quantile}: a share of the items is needed, between 0 and 1, such as 0.001"
        )
