"""Was a backbone pretrained on what it is judged on? Looked for before any figure is shown."""

from __future__ import annotations

from pathlib import Path

from sslkit.contracts import Source
from sslkit.errors import ConfigError, DataError, PluginError
from sslkit.evaluation.transfer_results import Overlap
from sslkit.retrieval.near_duplicates import THRESHOLD, near_duplicates
from sslkit.runs.reading import open_data
from sslkit.runs.run_folder import RunFolder
from sslkit.training.progress import ProgressLine

_SHOWN = 3
"""Pairs that a warning names."""


def overlap_of(
    model: str | Path,
    test: Source,
    *,
    subject: str,
    task: str,
    threshold: float = THRESHOLD,
    progress: bool = True,
) -> Overlap:
    """The test samples of a task that a run was pretrained on, or nearly; `reason` where that is not known.

    model: a run folder; of anything else, such as a network with weights from elsewhere, the pretraining data
    are not here. Raises nothing for data that are gone.
    """
    folder = RunFolder(Path(model))
    if not folder.config.is_file():
        return Overlap(subject, task, reason=f"{model} was pretrained on data that are not here")
    try:
        recipe = folder.recipe()
        corpus = open_data(recipe)
    except (ConfigError, DataError, PluginError, OSError) as error:
        return Overlap(subject, task, reason=f"the data of its pretraining cannot be opened: {error}")
    label = f"overlap of {task} with {recipe.data.address}"
    with ProgressLine(total=len(corpus), shown=progress, label=label) as line:
        found = near_duplicates(
            test,
            corpus,
            threshold=threshold,
            channels=recipe.data.channels,
            progress=lambda done, _: line.update(done, {}),
        )
    if not found.queries or not found.corpus:
        what = "test" if not found.queries else "pretraining"
        return Overlap(subject, task, reason=f"no {what} sample could be decoded, or none shows anything")
    twins = tuple(
        (test[twin.query].name, corpus[twin.corpus].name, round(twin.similarity, 4)) for twin in found.twins
    )
    return Overlap(subject, task, len(twins) / len(test), twins, alike=found.alike)


def describe(overlap: Overlap) -> str:
    """What a person is to know of it, in one line; "" where nothing was found."""
    who = f"{overlap.subject}, {overlap.task}"
    if overlap.reason is not None:
        return f"{who}: overlap with the pretraining data unknown, as {overlap.reason}"
    if not overlap.twins:
        return ""
    shown = "; ".join(
        f"{test} looks like {corpus} ({near:.2f})" for test, corpus, near in overlap.twins[:_SHOWN]
    )
    more = f"; and {len(overlap.twins) - _SHOWN} more" if len(overlap.twins) > _SHOWN else ""
    many = len(overlap.twins)
    among = ""
    if overlap.alike > overlap.share / 2:  # then twins may be alike by nature, as digits are
        among = f"; {100 * overlap.alike:.1f} % of the test samples look as alike among themselves"
    samples = "test sample was" if many == 1 else "test samples were"
    return (
        f"{who}: {many} {samples} seen in pretraining, or nearly "
        f"({100 * overlap.share:.1f} %), so its figures tell of memory too: {shown}{more}{among}"
    )
