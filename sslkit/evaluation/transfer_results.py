"""All that one `sslkit transfer` found out: on disk results.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sslkit.atomic import replace_text
from sslkit.errors import ArtifactError
from sslkit.evaluation.rows import Row, in_json

FORMAT = 1
RESULTS = "results.json"


@dataclass(frozen=True)
class Subject:
    """A backbone in the matrix.

    name: in the matrix; model: as given (a run folder, a network's name, "random"). weights: hash, "random"
    where every seed has its own. architecture: as described. pretraining: what a run says of itself (data,
    objective, epochs, images, seconds, ...), empty for others.
    """

    name: str
    model: str
    weights: str
    architecture: str
    pretraining: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Overlap:
    """Test samples of a task that a subject was pretrained on, or nearly: same picture, or almost.

    share: of the test samples. twins: (test sample, pretraining sample, similarity) by name, all of them.
    reason: why it could not be found out, else None. alike: share of the test samples that look as alike
    among themselves; where it is large, so are the chances of twins that are none.
    """

    subject: str
    task: str
    share: float = 0.0
    twins: tuple[tuple[str, str, float], ...] = ()
    reason: str | None = None
    alike: float = 0.0


@dataclass(frozen=True)
class TransferResults:
    """The rows of every task of a suite on every subject.

    suite: `id@hash`. command: repeats it. environment: versions, machine, number of processes. tasks: what
    each is, by name, in the order of the suite. subjects: the first is asked about, the untrained one is
    "random". seconds: of the whole, by part.
    """

    suite: str
    command: str
    environment: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]]
    subjects: tuple[Subject, ...]
    rows: tuple[Row, ...]
    overlaps: tuple[Overlap, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def of(self, task: str, subject: str) -> list[Row]:
        """The rows of a cell, by seed."""
        found = [row for row in self.rows if (row.task, row.subject) == (task, subject)]
        return sorted(found, key=lambda row: row.seed)

    def to_dict(self) -> dict[str, Any]:
        """In JSON terms."""
        return {"format": FORMAT, **in_json(self)}

    def write(self, out: Path) -> None:
        """Write results.json into folder `out`, replaced in one step."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        replace_text(out / RESULTS, text + "\n")


def read_results(out: Path) -> TransferResults:
    """The results in folder `out`; raises ArtifactError where there are none, or of another format."""
    path = out / RESULTS
    try:
        read = json.loads(path.read_text("utf-8"))
        if read.pop("format") != FORMAT:
            raise ValueError(f"it is of another format than {FORMAT}")
        read["rows"] = tuple(Row.from_dict(row) for row in read["rows"])
        read["subjects"] = tuple(Subject(**one) for one in read["subjects"])
        read["overlaps"] = tuple(
            Overlap(**{**one, "twins": tuple(tuple(twin) for twin in one["twins"])})
            for one in read["overlaps"]
        )
        results = TransferResults(**read)
        known = {one.name for one in results.subjects}
        if strangers := {row.subject for row in results.rows} - known:
            raise ValueError(f"it has rows of '{min(strangers)}', which is not among its subjects")
        return results
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path} does not hold the results of a transfer matrix: {error}; give the folder that "
            "`sslkit transfer` wrote"
        ) from error
