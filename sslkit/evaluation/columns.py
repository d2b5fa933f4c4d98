"""The backbones of one or several transfer matrices, each with its rows; the same one is one column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sslkit.evaluation.rows import Row
from sslkit.evaluation.transfer_results import Subject, TransferResults

UNTRAINED = "random"
"""Name and weights of the subject that was never trained, with other weights for every seed."""


@dataclass(frozen=True)
class Column:
    """A backbone and all that was measured of it.

    name: tells it from all others. asked: it was the first of a folder. baseline: the name of the untrained
    one it was measured beside, None of an untrained one and where there is none. rows: by task, then by seed.
    """

    name: str
    subject: Subject
    asked: bool
    baseline: str | None
    rows: Mapping[str, Mapping[int, Row]]


@dataclass
class _Draft:
    subject: Subject
    asked: bool
    baseline: _Draft | None = None
    rows: dict[str, dict[int, Row]] = field(default_factory=dict)

    def takes(self, subject: Subject, rows: Sequence[Row]) -> bool:
        """Whether rows of a subject are of this one, and contradict none of its own."""
        same = replace(subject, model="", pretraining={}) == replace(self.subject, model="", pretraining={})
        return same and not any(
            _contradict(row, own) for row in rows for own in self.rows.get(row.task, {}).values()
        )

    def add(self, rows: Sequence[Row]) -> None:
        """Take rows in; a newer one takes the place of an older, unless it failed and the older did not."""
        for row in rows:
            own = self.rows.setdefault(row.task, {})
            if row.failure is None or row.seed not in own or own[row.seed].failure is not None:
                own[row.seed] = row


def _contradict(a: Row, b: Row) -> bool:
    """Whether two rows of one task and name cannot be of one measurement."""
    if a.failure is not None or b.failure is not None:
        return False
    if (a.protocol, a.metric, a.data) != (b.protocol, b.metric, b.data):
        return True
    # What is drawn by seed, such as an untrained network's weights, is the same for the same seed alone.
    return a.seed == b.seed and (a.weights, a.train, a.test, a.resampling) != (
        b.weights,
        b.train,
        b.test,
        b.resampling,
    )


def merged(results: Sequence[TransferResults]) -> list[Column]:
    """A column for each backbone, in the order of the results.

    A name that stands for several backbones, or for measurements that cannot be put together, gets several
    columns, told apart by the weights, else by the architecture, else by a number.
    """
    drafts: list[_Draft] = []
    for one in results:
        met: list[_Draft] = []
        for subject in one.subjects:
            rows = [row for row in one.rows if row.subject == subject.name]
            draft = next((known for known in drafts if known.takes(subject, rows)), None)
            if draft is None:
                draft = _Draft(subject, asked=False)
                drafts.append(draft)
            draft.add(rows)
            draft.asked |= subject is one.subjects[0]
            met.append(draft)
        untrained = next((draft for draft in met if draft.subject.name == UNTRAINED), None)
        for draft in met:
            if draft.baseline is None and draft is not untrained:
                draft.baseline = untrained
    names = {id(draft): name for draft, name in zip(drafts, _names(drafts), strict=True)}
    return [
        Column(
            names[id(draft)],
            draft.subject,
            draft.asked,
            None if draft.baseline is None else names[id(draft.baseline)],
            draft.rows,
        )
        for draft in drafts
    ]


def _names(drafts: Sequence[_Draft]) -> list[str]:
    found = []
    for draft in drafts:
        group = [other for other in drafts if other.subject.name == draft.subject.name]
        if len(group) == 1:
            found.append(draft.subject.name)
            continue
        number = next(place for place, other in enumerate(group) if other is draft)
        marks = [
            [other.subject.weights[:8] for other in group],
            [other.subject.architecture for other in group],
            [str(place + 1) for place in range(len(group))],
        ]
        telling = next(column for column in marks if len(set(column)) == len(column))
        found.append(f"{draft.subject.name} ({telling[number]})")
    return found
