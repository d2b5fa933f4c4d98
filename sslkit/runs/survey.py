"""What is in a set, and what of it another set holds too: `sslkit index leakage | clusters | diverse`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.keyed_random import permutation
from sslkit.plots import line_plot
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.curation.clusters import Clusters, clustered, mutual_information, purity
from sslkit.retrieval.curation.diverse import covering, k_centre
from sslkit.retrieval.curation.duplicates import THRESHOLD
from sslkit.retrieval.curation.leakage import LADDER, leaks
from sslkit.retrieval.curation.neighbours import labels_of, meant_ids, vectors_of
from sslkit.retrieval.filters import Where
from sslkit.runs.curated import Curated, Panel, Shown, Wanted, finish, items_of, known, label_name, told

_PANELS = 60  # of a gallery
_TILES = 12  # of a panel
_SHOWN = 96  # of a gallery of one panel
_CLEAR = 0.5  # silhouette from which a structure is reasonable (Kaufman and Rousseeuw 1990, table 4)
_DRAWS = 3  # random subsets that a diverse one is compared with


def leakage(
    index: str | Path,
    other: str | Path | None = None,
    *,
    threshold: float = THRESHOLD,
    where: Where | None = None,
    other_where: Where | None = None,
    exact: bool = False,
    wanted: Wanted | None = None,
) -> Curated:
    """Items of an index that `other` holds too, or nearly; to keep are those of `index` that it does not.

    other: None for another part of the same index, which `other_where` means. Errors as `leaks` and `finish`.
    """
    wanted = wanted or Wanted()
    wanted.check()
    with (
        Index.load(index) as opened,
        Index.load(index if other is None else other) as second,
        told("leakage", wanted.progress) as progress,
    ):
        found = leaks(
            opened,
            second,
            where=where,
            other_where=other_where,
            threshold=threshold,
            exact=exact,
            progress=progress,
        )
        rows, lines, panels = list[Mapping[str, Any]](), list[str](), list[Panel]()
        leaked = found.rows
        pairs = zip(
            items_of(opened, found.ids[leaked]),
            items_of(second, found.nearest[leaked]),
            found.similarities[leaked].tolist(),
            strict=True,
        )
        for item, twin, similarity in pairs:
            of_twin = {f"other {name}": value for name, value in known(twin, second.classes).items()}
            rows.append({"similarity": round(similarity, 5), **known(item, opened.classes), **of_twin})
            lines.append(f"{similarity:.3f}  {item.name}  {twin.name}")
            if len(panels) < _PANELS:
                tiles = [
                    Shown(item, label_name(item.label, opened.classes) or "this", item.name, first=True),
                    Shown(twin, label_name(twin.label, second.classes) or "other", twin.name, similarity),
                ]
                panels.append(Panel(f"{similarity:.3f}", tiles))
        facts = {
            "items": len(found.ids),
            "others": found.others,
            "threshold": threshold,
            "leaked": len(leaked),
            "share": len(leaked) / len(found.ids),
            "leaked from": {f"{step:g}": found.count(step) for step in LADDER},
        }
        about = (
            f"Items whose most similar one of the other set is at least {threshold:g} similar, framed, "
            "beside it. Items are compared as the model sees them: other photos of one thing may count as "
            "the same."
        )
        keep = np.delete(found.ids, leaked)
        return finish(Curated("leakage", about, facts, rows, lines, panels, keep), opened, wanted)


def clusters(
    index: str | Path,
    *,
    count: int | None = None,
    seed: int = 0,
    where: Where | None = None,
    wanted: Wanted | None = None,
) -> Curated:
    """Groups of similar items; to keep is everything, with its cluster as its class. count: None for auto.

    Errors as `clustered` and `finish`.
    """
    wanted = wanted or Wanted()
    wanted.check()
    with Index.load(index) as opened, told("clusters", wanted.progress) as progress:
        found = clustered(opened, count, where=where, seed=seed, progress=progress)
        labels, classes = labels_of(opened, found.ids), opened.classes
        facts: dict[str, Any] = {
            "items": len(found.ids),
            "clusters": len(found.sizes),
            "largest": int(found.sizes[0]),
            "smallest": int(found.sizes[-1]),
            "similarity to the centre": float(found.similarities.mean()),
        }
        if found.trials:
            facts["silhouettes"] = {str(tried): round(value, 4) for tried, value in found.trials.items()}
        notes = list[str]()
        if found.trials and (best := max(found.trials.values())) < _CLEAR:
            notes.append(f"no number of clusters is clear (silhouette {best:.2f}); say how many with --count")
        if (labels >= 0).any():
            there = labels >= 0
            facts["purity"] = purity(found.of[there], labels[there])
            facts["normalised mutual information"] = mutual_information(found.of[there], labels[there])
        rows, lines, panels = list[Mapping[str, Any]](), list[str](), list[Panel]()
        for number, size in enumerate(found.sizes.tolist()):
            members = found.members(number)
            nearest = opened.items(found.ids[members[:_TILES]].tolist())
            counted = Counter(label_name(int(label), classes) for label in labels[members] if label >= 0)
            common = dict(counted.most_common(3))
            close = float(found.similarities[members].mean()) if len(members) else 0.0
            rows.append(
                {
                    "cluster": number,
                    "items": size,
                    "similarity": round(close, 5),
                    "labels": common,
                    "representatives": [item.name for item in nearest],
                }
            )
            named = ", ".join(f"{name} {times / size:.0%}" for name, times in common.items())
            shown = named or (nearest[0].name if nearest else "")
            lines.append(f"{number:4}  {size:7,}  {shown}")
            if number < _PANELS:
                tiles = [
                    Shown(item, f"{value:.3f}", item.name, value)
                    for item, value in zip(nearest, found.similarities[members].tolist(), strict=False)
                ]
                panels.append(
                    Panel(f"Cluster {number}: {size:,} items" + (f", {named}" if named else ""), tiles)
                )
        about = "Spherical k-means of the embeddings: the items nearest to the centre of each cluster."

        def table() -> Iterator[Mapping[str, Any]]:
            values = zip(found.of.tolist(), found.similarities.tolist(), strict=True)
            for (of, similarity), item in zip(values, items_of(opened, found.ids), strict=True):
                yield {"cluster": of, "similarity": round(similarity, 5), **known(item, classes)}

        answer = Curated(
            "clusters",
            about,
            facts,
            rows,
            lines,
            panels,
            found.ids,
            table=table,
            classes=_names(found),
            notes=notes,
            label_of=dict(zip(found.ids.tolist(), found.of.tolist(), strict=True)) if wanted.apply else {},
        )
        return finish(answer, opened, wanted)


def diverse(
    index: str | Path,
    *,
    count: int,
    seed: int = 0,
    where: Where | None = None,
    wanted: Wanted | None = None,
) -> Curated:
    """`count` items such that no other is far from the nearest of them, beside as many drawn at random.

    Errors as `k_centre` and `finish`.
    """
    wanted = wanted or Wanted()
    wanted.check()
    with Index.load(index) as opened, told("diverse", wanted.progress) as progress:
        ids = meant_ids(opened, where)
        vectors = vectors_of(opened, ids)
        chosen = k_centre(vectors, count, progress=progress)
        at = sorted({min(2**step, count) for step in range(count.bit_length() + 1)})
        means = covering(vectors, chosen.rows, at)[1]
        draws = [permutation(len(ids), seed=seed, epoch=draw).numpy()[:count] for draw in range(_DRAWS)]
        random = np.mean([covering(vectors, rows, at) for rows in draws], axis=0)
        labels, classes = labels_of(opened, ids), opened.classes
        rows, tiles = list[Mapping[str, Any]](), list[Shown]()
        for rank, item in enumerate(items_of(opened, ids[chosen.rows]), start=1):
            radius = float(chosen.radii[rank - 1])
            rows.append({"rank": rank, "radius": round(radius, 5), **known(item, classes)})
            if rank <= _SHOWN:
                note = f"{item.name}\n{label_name(item.label, classes)}".rstrip()
                tiles.append(Shown(item, f"{rank}", note))
        facts: dict[str, Any] = {
            "items": len(ids),
            "chosen": count,
            "radius": float(chosen.radii[-1]),
            "radius, random": float(random[0, -1]),
            "mean distance": float(means[-1]),
            "mean distance, random": float(random[1, -1]),
        }
        if (labels >= 0).any():
            facts["classes"] = _classes(labels[chosen.rows])
            facts["classes, random"] = float(np.mean([_classes(labels[rows]) for rows in draws]))
            facts["classes, all"] = _classes(labels)
        lines = ["chosen  radius  of random  mean distance  of random"]
        for place, many in enumerate(at):
            figures = (chosen.radii[many - 1], random[0, place], means[place], random[1, place])
            lines.append(
                f"{many:6}  {figures[0]:6.3f}  {figures[1]:9.3f}  {figures[2]:13.3f}  {figures[3]:9.3f}"
            )
        curves = {
            "farthest first": (list(range(1, count + 1)), chosen.radii.tolist()),
            "random": (at, random[0].tolist()),
        }
        about = (
            "Each item is the farthest from those before. The radius is the Euclidean distance, 0 to 2, of "
            "the item farthest from the nearest chosen one; at most twice the least possible. Random subsets "
            f"({_DRAWS} of them) lie where most items are, so their mean distance may be the smaller one."
        )
        answer = Curated(
            "diverse",
            about,
            facts,
            rows,
            lines,
            [Panel("In the order of choosing", tiles)],
            ids[chosen.rows],
            figure=line_plot(curves, x_label="items chosen", y_label="covering radius"),
        )
        return finish(answer, opened, wanted)


def _names(found: Clusters) -> tuple[str, ...]:
    width = len(str(len(found.centres) - 1))
    return tuple(f"cluster-{number:0{width}}" for number in range(len(found.centres)))


def _classes(labels: NDArray[np.int64]) -> int:
    return len(np.unique(labels[labels >= 0]))
