"""Pages that show what a run did: curves, the views it trained on."""

from __future__ import annotations

from typing import Any

from sslkit.config import Recipe
from sslkit.contracts import Source
from sslkit.errors import ConfigError
from sslkit.page import Page
from sslkit.plots import line_plot
from sslkit.runs.run_folder import RunFolder
from sslkit.runs.views import sheet_of
from sslkit.training.monitor import read_diary


def write_report(folder: RunFolder, source: Source, recipe: Recipe) -> None:
    """Write RUN/report.html from what the run noted."""
    page = Page(folder.path.name, f"{recipe.objective.name} on {recipe.backbone.name}, {len(source)} samples")
    add_curves(page, folder)
    add_mining(page, folder)
    add_views(page, source, recipe)
    page.heading("Recipe").code(recipe.to_yaml())
    page.write(folder.report)


def add_curves(page: Page, folder: RunFolder) -> None:
    """Loss, k-NN where labels were known, and effective rank, over the steps."""
    records = read_diary(folder.metrics)
    page.heading("Training")
    page.figure(line_plot({"loss": _curve(records, "step", "loss")}, x_label="step", y_label="loss"))
    looks = [record for record in records if record["kind"] == "monitor"]
    if any("knn" in look for look in looks):
        page.figure(
            line_plot({"k-NN": _curve(records, "monitor", "knn")}, x_label="step", y_label="accuracy"),
            "Online k-NN on training samples, each judged by its neighbours without itself.",
        )
    page.figure(
        line_plot({"RankMe": _curve(records, "monitor", "rankme")}, x_label="step", y_label="effective rank"),
        "How many directions the embeddings use; a fall towards 1 is collapse.",
    )


def add_mining(page: Page, folder: RunFolder) -> None:
    """What was mined and what it cost, where the run had a miner."""
    records = read_diary(folder.metrics)
    mined = [record for record in records if "bank_filled" in record]
    if not mined:
        return
    page.heading("Mining")
    false = sorted(
        {name for record in mined for name in record if name.startswith("false_negatives_")}, key=_rank
    )
    if false:
        curves = {name.removeprefix("false_negatives_"): _curve(records, "step", name) for name in false}
        page.figure(
            line_plot(curves, x_label="step", y_label="false negatives"),
            "Share of mined negatives of the anchor's own class, by their rank among its neighbours. Labels "
            "are read for this figure alone.",
        )
    shares = {
        name: _curve(records, "step", name) for name in ("staleness", "mined_similarity", "share_mining")
    }
    page.figure(
        line_plot(
            {name.replace("_", " "): curve for name, curve in shares.items() if curve[0]},
            x_label="step",
            y_label="share",
        ),
        "Neighbours that changed from one index to the next, similarity of what was mined, and the share "
        "of the time that mining took.",
    )
    last = mined[-1]
    names = ("bank_filled", "mined_age", "refresh_age", "refresh_seconds", "refresh_wait_seconds")
    page.facts({name.replace("_", " "): round(last[name], 3) for name in names if name in last})


def add_views(page: Page, source: Source, recipe: Recipe) -> None:
    """The contact sheet of the first epochs' views."""
    page.heading("Views")
    try:
        page.picture(sheet_of(source, recipe), "Samples beside the random views the run trained on.")
    except ConfigError as error:  # a plugin's policy need not be one that can be drawn
        page.text(str(error))


def _rank(name: str) -> int:
    """The first rank of a band, from a name such as false_negatives_50-199 or false_negatives_500+."""
    return int(name.rpartition("_")[2].rstrip("+").partition("-")[0])


def _curve(records: list[dict[str, Any]], kind: str, name: str) -> tuple[list[float], list[float]]:
    points = [(r["step"], r[name]) for r in records if r["kind"] == kind and name in r]
    return [step for step, _ in points], [value for _, value in points]
