"""What is wrong with a set, by an index of it: `sslkit index duplicates | outliers | mislabelled`.

Every function answers one question about the items that `where` means. What is found is told, tabled and
drawn (`Wanted.out`), and what to keep is listed (`Wanted.apply`); no image is ever moved or deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sslkit.errors import DataError
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.curation import duplicates as near
from sslkit.retrieval.curation import mislabelled as doubted
from sslkit.retrieval.curation import outliers as apart
from sslkit.retrieval.curation.neighbours import labels_of, neighbour_graph
from sslkit.retrieval.filters import Where
from sslkit.runs.curated import Curated, Panel, Shown, Wanted, finish, items_of, known, label_name, told

_PANELS = 60  # of a gallery
_TILES = 12  # of a panel
_SHOWN = 96  # of a gallery of one panel
_MANY = 0.1  # of the items; more of them are hardly duplicates
_AGREED = 0.7  # of the labels; where neighbours share fewer the model does not tell the classes apart

_EYES = (
    "Items are compared as the model sees them: other photos of one thing may count as the same. For copies "
    "by their pixels, whatever the model, see the overlap check of sslkit transfer."
)


def duplicates(
    index: str | Path,
    *,
    threshold: float | None = None,
    quantile: float | None = None,
    keep: near.Keep = "centre",
    where: Where | None = None,
    exact: bool = False,
    wanted: Wanted | None = None,
) -> Curated:
    """Groups of items that are nearly the same; one of each is kept.

    Errors as `near_pairs`, `stars` and `finish`.
    """
    wanted = wanted or Wanted()
    wanted.check()
    with Index.load(index) as opened, told("duplicates", wanted.progress) as progress:
        pairs = near.near_pairs(
            opened, threshold=threshold, quantile=quantile, where=where, exact=exact, progress=progress
        )
        groups = near.stars(pairs, keep)
        rows, lines, panels = list[Mapping[str, Any]](), list[str](), list[Panel]()
        for number, star in enumerate(groups, start=1):
            kept, *others = opened.items((star.kept, *star.others))
            near_ones = [(kept, 1.0), *zip(others, star.similarities, strict=True)]
            for item, similarity in near_ones:
                told_of = {"group": number, "kept": item is kept, "similarity": round(similarity, 5)}
                rows.append({**told_of, **known(item, opened.classes)})
            lines.append(f"{len(near_ones):5}  {star.similarities[0]:.3f}  {kept.name}  {others[0].name}")
            if number <= _PANELS:
                tiles = [
                    Shown(item, "kept" if item is kept else f"{value:.3f}", item.name, value, item is kept)
                    for item, value in near_ones[:_TILES]
                ]
                more = f", {_TILES} shown" if len(near_ones) > _TILES else ""
                panels.append(Panel(f"Group {number}: {len(near_ones)} items{more}", tiles))
        left_out = sum(len(star.others) for star in groups)
        facts: dict[str, Any] = {
            "items": len(pairs.ids),
            "threshold": round(pairs.threshold, 5),
            "groups": len(groups),
            "in groups": left_out + len(groups),
            "to leave out": left_out,
            "to keep": len(pairs.ids) - left_out,
        }
        notes = list[str]()
        if pairs.crowded:
            notes.append(
                f"{pairs.crowded} items have {near.MOST} near ones or more; some may be in other groups"
            )
        if left_out > _MANY * len(pairs.ids):
            notes.append(
                f"{left_out / len(pairs.ids):.0%} of the items would be left out: this model may see "
                "different photos alike; look at the gallery, raise the threshold, or use a quantile"
            )
        about = f"All of a group are at least {pairs.threshold:.4f} similar to the one that is kept. {_EYES}"
        found = Curated(
            "duplicates", about, facts, rows, lines, panels, near.kept_ids(pairs, groups), notes=notes
        )
        return finish(found, opened, wanted)


def outliers(
    index: str | Path,
    *,
    method: apart.Method = "mean",
    k: int = apart.NEIGHBOURS,
    share: float = 0.01,
    where: Where | None = None,
    exact: bool = False,
    wanted: Wanted | None = None,
) -> Curated:
    """The `share` of the items that lie most apart, by the k nearest others; at least one.

    Errors as `neighbour_graph`, `outlier_scores` and `finish`.
    """
    wanted = wanted or Wanted()
    wanted.check()
    with Index.load(index) as opened, told("outliers", wanted.progress) as progress:
        graph = neighbour_graph(opened, k, where=where, exact=exact, progress=progress)
        scores = apart.outlier_scores(graph, method)
        order = np.argsort(-scores, kind="stable")[: apart.count_of(share, len(graph))]
        items = list(items_of(opened, graph.ids[order]))
        listed = list(zip(items, scores[order].tolist(), strict=True))
        rows = [
            {"rank": rank, "score": round(score, 5), **known(item, opened.classes)}
            for rank, (item, score) in enumerate(listed, start=1)
        ]
        lines = [f"{score:8.4f}  {item.name}" for item, score in listed]
        tiles = [Shown(item, f"{score:.3f}", item.name) for item, score in listed[:_SHOWN]]
        facts = {
            "items": len(graph),
            "method": method,
            "neighbours": k,
            "score, median": float(np.median(scores)),
            "score, least listed": float(scores[order[-1]]),
            "score, largest": float(scores[order[0]]),
            "listed": len(order),
        }
        what = "mean cosine distance to the nearest" if method == "mean" else "local outlier factor"
        about = f"The items that lie most apart, by {what} {k} others. Rare is not wrong: look at them."
        keep = np.delete(graph.ids, order)
        return finish(
            Curated("outliers", about, facts, rows, lines, [Panel("Most apart first", tiles)], keep),
            opened,
            wanted,
        )


def mislabelled(
    index: str | Path,
    *,
    k: int = doubted.NEIGHBOURS,
    share: float = 0.1,
    where: Where | None = None,
    exact: bool = False,
    wanted: Wanted | None = None,
) -> Curated:
    """Items whose label is doubtful by the labels of their k nearest others, with the label these suggest.

    share: of the items that are listed at most, the most doubtful; all other labelled ones are kept. Errors
    as `neighbour_graph`, `doubtful_labels` and `finish`.
    """
    wanted = wanted or Wanted()
    wanted.check()
    with Index.load(index) as opened, told("mislabelled", wanted.progress) as progress:
        meant, classes = doubted.labelled(where), opened.classes
        if not len(opened.select(meant)):
            raise DataError(f"no item that is meant has a label in {opened.path}; index labelled data")
        graph = neighbour_graph(opened, k, where=meant, exact=exact, progress=progress)
        labels = labels_of(opened, graph.ids)
        doubts = doubted.doubtful_labels(graph, labels, classes=max(len(classes), int(labels.max()) + 1))
        most = apart.count_of(share, len(graph))
        rows, lines, panels = list[Mapping[str, Any]](), list[str](), list[Panel]()
        for number, item in enumerate(items_of(opened, doubts.ids[:most])):
            given, suggested = (
                label_name(int(of[number]), classes) for of in (doubts.given, doubts.suggested)
            )
            own, other = float(doubts.own[number]), float(doubts.other[number])
            row = {"rank": number + 1, "doubt": round(other - own, 5), **known(item, classes)}
            rows.append(
                {**row, "suggested": suggested, "for given": round(own, 5), "for suggested": round(other, 5)}
            )
            lines.append(f"{other - own:.3f}  {given} -> {suggested}  {item.name}")
            if number < _PANELS:
                around = graph.places[np.searchsorted(graph.ids, item.id)]
                voters = opened.items(graph.ids[around[around >= 0][:5]].tolist())
                shown = [Shown(item, given, item.name, first=True)]
                shown += [Shown(voter, label_name(voter.label, classes), voter.name) for voter in voters]
                panels.append(Panel(f"{given}, or {suggested}? Votes {own:.2f} to {other:.2f}", shown))
        off = doubts.joint.copy()
        np.fill_diagonal(off, 0)
        worst = np.argsort(-off, axis=None, kind="stable")[:5]
        confused = {
            f"{label_name(int(i), classes)} -> {label_name(int(j), classes)}": int(off[i, j])
            for i, j in zip(*np.unravel_index(worst, off.shape), strict=True)
            if off[i, j]
        }
        facts = {
            "items": len(graph),
            "neighbours": k,
            "neighbours agree": doubts.agreement,
            "doubtful": len(doubts),
            "listed": len(rows),
            "most confused": confused,
        }
        about = (
            "Labels that the nearest others contradict more than is usual for the class they suggest. A "
            "doubt is no proof: it is also where classes meet. Copies vouch for each other: leave "
            "out duplicates first."
        )
        notes = list[str]()
        if doubts.agreement < _AGREED:
            notes.append(
                f"the neighbours vote for only {doubts.agreement:.0%} of the labels: this model hardly tells "
                "the classes apart, so most doubts are its own; look at the first, or use a better model"
            )
        keep = np.setdiff1d(graph.ids, doubts.ids[:most])
        return finish(
            Curated("mislabelled", about, facts, rows, lines, panels, keep, notes=notes), opened, wanted
        )
