"""The demonstration: all three journeys on generated pictures, with no data and no network."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from sslkit.config import load_recipe
from sslkit.contracts import Features, Source
from sslkit.data.pictures import picture
from sslkit.evaluation.projection import tsne
from sslkit.evaluation.report import Result, table, text_table, write_results
from sslkit.page import Page, Tile
from sslkit.plots import scatter_plot
from sslkit.retrieval.artifact import Index
from sslkit.runs.embedder import Embedder, open_embedder, untrained_like
from sslkit.runs.evaluate import measure_features, measure_pixels
from sslkit.runs.index import build_index
from sslkit.runs.origins import PICTURE_SIDE
from sslkit.runs.pretrain import pretrain
from sslkit.runs.probing import choose_probe
from sslkit.runs.report import add_curves, add_views
from sslkit.runs.run_folder import RunFolder
from sslkit.runs.splits import Splits, open_splits

RECIPE = "demo"
MAPPED = 1000
"""Test images in the two-dimensional map."""

QUERIES = 8
NEIGHBOURS = 5


@dataclass(frozen=True)
class DemoResult:
    """Where the demonstration wrote, and what it measured; accuracies in 0..1."""

    out: Path
    report: Path
    results: tuple[Result, ...]
    seconds: float

    @property
    def gain(self) -> float:
        """k-NN accuracy after pretraining divided by that of the untrained backbone."""
        after, before = (result.score.figures["top1"] for result in self.results[:2])
        return after / before

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [{"subject": r.score.subject, "protocol": r.protocol, **r.score.figures} for r in self.results]
        return {
            "results": rows,
            "knn_gain": self.gain,
            "report": str(self.report),
            "seconds": self.seconds,
        }

    def to_text(self) -> str:
        """What to look at next."""
        return (
            f"\n{text_table(self.results)}\n"
            f"k-NN accuracy is {self.gain:.1f} times that of the untrained backbone.\n"
            f"Open {self.report} in a browser."
        )


def demo(out: str | Path = "sslkit-demo", *, progress: bool = True) -> DemoResult:
    """Pretrain on generated shapes, measure before and after, build an index, write report.html.

    Writes only into `out`; what an earlier demonstration left there is replaced.
    """
    began = time.perf_counter()
    out = Path(out).resolve()
    say = Console(stderr=True, quiet=not progress, highlight=False)
    recipe = load_recipe(RECIPE)
    data = str(recipe.data.path)
    splits = open_splits(data, None)
    shapes = len(splits.test.classes)
    say.print(f"{len(splits.fitted)} pictures of {shapes} shapes; labels only judge, never train")
    run = pretrain(recipe=RECIPE, out=out / "run", overwrite=True, progress=progress)
    after = open_embedder(run)
    before = untrained_like(after, seed=recipe.seed)
    say.print("measuring before and after, and building the index")
    results, features = _measure(splits, after, before)
    index = build_index(run, data, out / "index", overwrite=True, progress=False)
    write_results(results, out)
    report = out / "report.html"
    folder = RunFolder(run)
    page = Page("sslkit demo", "Self-supervised pretraining on generated shapes, in minutes, on this machine")
    _add_answer(page, results)
    _add_neighbours(page, Index.load(index), splits, after, features[0])
    _add_map(page, features, splits.test)
    add_curves(page, folder)
    add_views(page, splits.fitted, folder.recipe())
    page.heading("Recipe").code(folder.config.read_text())
    page.write(report)
    return DemoResult(out, report, tuple(results), round(time.perf_counter() - began, 1))


def _measure(
    splits: Splits, after: Embedder, before: Embedder
) -> tuple[list[Result], tuple[Features, Features]]:
    """k-NN and linear results of both, raw pixels beside; and the test features after and before."""
    named = {"after pretraining": after, "before (random)": before}
    trains = {name: embedder.features(splits.fitted, progress=False) for name, embedder in named.items()}
    tests = {name: embedder.features(splits.test, progress=False) for name, embedder in named.items()}
    results = []
    for head in ("knn", "linear"):
        protocol, probe = choose_probe(head, None)
        for name, embedder in named.items():
            train, test, weights = trains[name], tests[name], embedder.model_hash
            results.append(measure_features(name, train, test, splits, protocol, probe, weights=weights))
        if head == "knn":
            results.append(measure_pixels(splits, protocol, probe))
    first, second = tests.values()
    return results, (first, second)


def _add_answer(page: Page, results: list[Result]) -> None:
    after, before, pixels = (result.score.figures["top1"] for result in results[:3])
    page.heading("Did pretraining help?")
    page.text(
        f"k-NN accuracy rose from {before:.1%} to {after:.1%}, {after / before:.1f} times as much, without a "
        f"single label; raw pixels reach {pixels:.1%}, guessing {1 / results[0].classes:.0%}."
    )
    page.table(*table(results))


def _add_neighbours(page: Page, index: Index, splits: Splits, embedder: Embedder, test: Features) -> None:
    """One unseen picture of each of the first classes, with its nearest neighbours in the index."""
    page.heading("Nearest neighbours").text(
        "Each row: a picture never trained on, then the nearest pictures of the index. Colour, place, size "
        "and angle differ; what should agree is the shape."
    )
    first = [int((test.labels == label).nonzero()[0, 0]) for label in range(QUERIES)]
    hits = index.search(test.embeddings[first].numpy(), NEIGHBOURS, model_hash=embedder.model_hash)
    for row, neighbours in zip(first, hits, strict=True):
        query = splits.test[int(test.ids[row])]
        tiles = [
            Tile(
                picture(query, side=PICTURE_SIDE),
                splits.test.classes[int(test.labels[row])],
                "query",
                first=True,
            )
        ]
        for hit in neighbours:
            name = "" if hit.label is None else splits.fitted.classes[hit.label]
            found = picture(splits.fitted[hit.id], side=PICTURE_SIDE)
            tiles.append(Tile(found, name, f"{hit.similarity:.3f}", hit.similarity))
        page.images(tiles)


def _add_map(page: Page, features: tuple[Features, Features], source: Source) -> None:
    page.heading("Map of the embeddings")
    for name, part in zip(("after", "before"), features, strict=True):
        points = tsne(part.embeddings[:MAPPED]).numpy()
        labels = part.labels[:MAPPED].numpy()
        page.figure(
            scatter_plot(points, labels, source.classes),
            f"t-SNE of {len(points)} unseen pictures {name} pretraining; colours are the classes.",
        )
