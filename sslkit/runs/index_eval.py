"""How good an index is: of the true neighbours, and of the classes of its items."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.evaluation.ranked_figures import ranked_values
from sslkit.keyed_random import hashed, word
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.filters import Where
from sslkit.retrieval.gallery import class_name, told_where
from sslkit.runs.index_figures import IndexEvaluation, Labelled, Share, Times

Ids = NDArray[np.int64]
Numbers = NDArray[np.float64]

USUAL_KS = (1, 10, 100)
_TIE = 2e-6  # similarities closer than this may have been told apart by rounding alone
_BLOCK = 2**21  # neighbours looked at together: some 60 MiB with all that is made of them
_ITEMS = 16_384  # whose labels are read together
_SINGLES = 100  # queries timed one by one
_WARM = 5  # searched before, so that what is first read from the disk is not timed
_TIMED_K = 10


def evaluate_index(
    index: str | Path | Index,
    *,
    ks: Sequence[int] = USUAL_KS,
    queries: int = 1000,
    where: Where | None = None,
    queries_where: str = "",
    seed: int = 0,
) -> IndexEvaluation:
    """Measure an index against exact search, in recall and time, and with labels by the classes it finds.

    queries: at most so many, drawn by key; 0 for all. where: only those items take part. queries_where: SQL
    of the items that are queries; the rest is the gallery. Without it each query is left out of its own
    results. Neighbours as near as the k-th, within rounding, count as found whichever they are.

    With labels: Recall@k (1 where one of the k nearest is of the class), mAP@R and R-precision (both divided
    by R, the number of items of the class to be found), and MRR among the first max(R, k) neighbours.

    Raises ConfigError when no k is usable or a condition leaves no query or nothing to find, ArtifactError
    when the index is damaged or changes meanwhile.
    """
    ks = tuple(sorted(set(ks)))
    if not ks or ks[0] < 1:
        raise ConfigError(f"k={list(ks)}: numbers of neighbours from 1 on are needed, such as 1, 10, 100")
    if queries < 0:
        raise ConfigError(f"queries={queries}: at least one is needed; 0 asks all of them")
    if isinstance(index, Index):
        return _evaluated(index, ks, queries, where or Where(), queries_where.strip(), seed)
    with Index.load(index) as opened:
        return _evaluated(opened, ks, queries, where or Where(), queries_where.strip(), seed)


@dataclass(frozen=True)
class _Trial:
    """Queries and where they look. own: whether they are in the gallery themselves."""

    index: Index
    queries: Ids
    vectors: NDArray[np.float32]
    where: Where
    gallery: Ids
    own: bool

    def nearest(self, part: slice, k: int, *, exact: bool) -> tuple[Ids, NDArray[np.float32]]:
        """The k nearest others of some queries, as `Index.nearest`."""
        ids, similarities = self.index.nearest(
            self.vectors[part],
            k + self.own,
            model_hash=self.index.model_hash,
            where=self.where or None,
            exact=exact,
        )
        if not self.own:
            return ids, similarities
        # Itself is dropped, or the last one where it was not found among its equals.
        itself = ids == self.queries[part, None]
        itself[~itself.any(axis=1), -1] = True
        shape = (len(ids), k)
        return ids[~itself].reshape(shape), similarities[~itself].reshape(shape)

    def times(self, k: int, *, exact: bool) -> Times:
        """Of searching as it is done, filter included."""

        def seconds(part: slice) -> float:
            began = time.perf_counter()
            self.nearest(part, k, exact=exact)
            return time.perf_counter() - began

        singles = [slice(at, at + 1) for at in range(min(_SINGLES, len(self.queries)))]
        for part in singles[:_WARM]:
            seconds(part)
        one = statistics.median(seconds(part) for part in singles)
        batch = sum(seconds(part) for part in self.parts(k)) / len(self.queries)
        return Times(k, 1e3 * one, 1e3 * batch)

    def parts(self, depth: int) -> Iterator[slice]:
        """The queries in blocks whose neighbours fit into memory."""
        rows = max(1, _BLOCK // (depth + 1))
        for start in range(0, len(self.queries), rows):
            yield slice(start, min(start + rows, len(self.queries)))


def _evaluated(
    index: Index, ks: tuple[int, ...], count: int, where: Where, split: str, seed: int
) -> IndexEvaluation:
    generation = index.generation
    asked, among, gallery = _sides(index, where, split)
    chosen = _sampled(asked, count, seed)
    trial = _Trial(index, chosen, index.vectors(chosen), among, gallery, own=not split)
    passport = index.passport
    recall, labelled = _figures(trial, ks)
    timed = min(ks, key=lambda k: abs(k - _TIMED_K))
    searched, exact = (trial.times(timed, exact=exact) for exact in (False, True))
    if index.generation != generation:
        raise ArtifactError(f"the index {index.path} changed while it was evaluated; begin again")
    return IndexEvaluation(
        index=str(index.path),
        generation=generation,
        model_hash=index.model_hash,
        structures=[segment["factory"] for segment in passport["segments"]],
        where=told_where(where),
        split=split,
        queries=len(chosen),
        asked=len(asked),
        gallery=len(gallery),
        recall=recall,
        searched=searched,
        exact=exact,
        labelled=labelled,
    )


def _sides(index: Index, where: Where, split: str) -> tuple[Ids, Where, Ids]:
    """Ids of the queries, and the gallery as a condition and as ids."""
    if not split:
        queries, among = index.select(where), where
    else:
        # The line break ends a comment; what is neither true nor false of an item makes it no query.
        queries = index.select(replace(where, sql=_both(where.sql, f"({split}\n)")))
        among = replace(where, sql=_both(where.sql, f"({split}\n) IS NOT TRUE"))
    gallery = index.select(among)
    if split and len(np.intersect1d(queries, gallery)):  # such as 1) OR (1
        raise ConfigError(f"the condition {split!r} cannot be turned round; write it as one whole condition")
    if len(queries) == 0 or len(gallery) < 1 + (not split):
        raise ConfigError(
            f"{len(queries)} queries among {len(gallery)} items of {index.path}: at least one query and "
            "another item are needed; widen the condition"
        )
    return queries, among, gallery


def _both(first: str, second: str) -> str:
    return f"({first}\n) AND {second}" if first.strip() else second


def _sampled(ids: Ids, count: int, seed: int) -> Ids:
    """At most `count` of the ids, ascending; as an index grows the sample changes little."""
    if count == 0 or count >= len(ids):
        return ids
    keys = hashed(seed, word("index queries"), torch.from_numpy(ids)).numpy()
    return np.sort(ids[np.argsort(keys, kind="stable")[:count]])


def _figures(trial: _Trial, ks: tuple[int, ...]) -> tuple[dict[int, Share], Labelled | None]:
    labels = labels_of(trial.index, trial.gallery)
    own = labels_of(trial.index, trial.queries)
    kept = labels >= 0
    of_class = np.bincount(labels[kept], minlength=int(own.max(initial=-1)) + 1)
    relevant = (
        np.where(own >= 0, of_class[own] - trial.own, 0) if len(of_class) else np.zeros(len(own), np.int64)
    )
    judged = bool((relevant > 0).any())
    reach = len(trial.gallery) - trial.own
    depth = min(max(ks[-1], int(relevant.max()) if judged else 0), reach)
    shares: dict[int, list[Numbers]] = {k: [] for k in ks}
    exact_values, found_values = list[dict[str, Numbers]](), list[dict[str, Numbers]]()
    for part in trial.parts(depth):
        true_ids, near = trial.nearest(part, depth, exact=True)
        hits: dict[int, NDArray[np.bool_]] = {}
        for k in {*(min(k, depth) for k in ks), depth}:
            ids, similarities = trial.nearest(part, k, exact=False)
            hits[k] = _hits(trial, labels, ids, own[part])
            for asked in ks:
                if min(asked, depth) == k:
                    shares[asked].append(_found(similarities, near[:, :k], ids >= 0))
        exact_values.append(ranked_values(_hits(trial, labels, true_ids, own[part]), relevant[part], ks))
        deep = ranked_values(hits[depth], relevant[part], ks)
        # Recall@k as it is when k are asked for; to ask for more looks harder.
        own_k = {
            f"recall@{k}": ranked_values(hits[min(k, depth)], relevant[part], [k])[f"recall@{k}"] for k in ks
        }
        found_values.append({**deep, **own_k})
    recall = {k: Share.of(np.concatenate(parts), min(k, depth)) for k, parts in shares.items()}
    if not judged:
        return recall, None
    classes = trial.index.classes
    names = [class_name(label, classes) for label in own.tolist()]
    return recall, _labelled(
        _joined(exact_values), _joined(found_values), relevant > 0, own >= 0, names, depth
    )


def _hits(trial: _Trial, labels: Ids, ids: Ids, own: Ids) -> NDArray[np.bool_]:
    """Whether each id (Q, K), -1 where there is none, has the label of its query; labels: of the gallery."""
    places = np.minimum(np.searchsorted(trial.gallery, ids), len(trial.gallery) - 1)
    same: NDArray[np.bool_] = (labels[places] == own[:, None]) & (ids >= 0) & (own[:, None] >= 0)
    return same


def _found(similarities: NDArray[np.float32], near: NDArray[np.float32], there: NDArray[np.bool_]) -> Numbers:
    """Of each query the share of its true neighbours, whose similarities are `near` (Q, k), that it found."""
    true = np.isfinite(near)
    count = true.sum(axis=1)
    edge = np.where(true, near, np.inf).min(axis=1, keepdims=True)
    enough = ((similarities >= edge - _TIE) & there).sum(axis=1)
    share: Numbers = np.minimum(enough, count) / np.maximum(count, 1)
    return share


def _labelled(
    exact: Mapping[str, Numbers],
    found: Mapping[str, Numbers],
    judged: NDArray[np.bool_],
    known: NDArray[np.bool_],
    names: Sequence[str],
    depth: int,
) -> Labelled:
    members: dict[str, list[int]] = {}
    for query in np.flatnonzero(judged).tolist():
        members.setdefault(names[query], []).append(query)

    def by_class(values: Mapping[str, Numbers]) -> dict[str, dict[str, float]]:
        return {
            name: {
                "queries": len(rows),
                **{figure: float(value[rows].mean()) for figure, value in values.items()},
            }
            for name, rows in sorted(members.items())
        }

    return Labelled(
        queries=int(judged.sum()),
        alone=int((known & ~judged).sum()),
        depth=depth,
        exact={name: Share.of(value[judged], depth) for name, value in exact.items()},
        found={name: Share.of(value[judged], depth) for name, value in found.items()},
        per_class=by_class(exact),
        per_class_found=by_class(found),
    )


def _joined(parts: Sequence[Mapping[str, Numbers]]) -> dict[str, Numbers]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def labels_of(index: Index, ids: Ids) -> Ids:
    """Class numbers of some items, int64 (N,), -1 without a label."""
    labels = np.full(len(ids), -1, np.int64)
    for start in range(0, len(ids), _ITEMS):
        items = index.items(ids[start : start + _ITEMS].tolist())
        labels[start : start + len(items)] = [-1 if item.label is None else item.label for item in items]
    return labels
