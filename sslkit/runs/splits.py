"""What is fitted on and what is judged: named, found as a split, or a held-out fifth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from sslkit.config.head_training import HeadTraining
from sslkit.contracts import HeadSpec, LabelledSource, Source
from sslkit.data.clip_sampling import too_short
from sslkit.data.label_targets import offers
from sslkit.data.split_leaks import leaks
from sslkit.data.subset import Subset
from sslkit.errors import DataError
from sslkit.keyed_random import permutation
from sslkit.registry import open_source

HELD_OUT = 0.2
"""Share of a set without splits that is held out for the test."""

_TEST_SPLITS = ("test", "val", "valid", "validation")
_SHOWN = 12
"""Problems of annotations that a message lists."""


@dataclass(frozen=True)
class Splits:
    """What a probe is fitted on (None: on nothing) and judged on, and how they came to be."""

    train: Source | None
    test: Source
    note: str

    @property
    def fitted(self) -> Source:
        """The training samples of a probe that is fitted."""
        assert self.train is not None
        return self.train


@dataclass(frozen=True)
class HeadSplits:
    """What a head is trained on, what picks its best weights (or nothing), and what it is judged on.

    transfer: data of another domain that it is judged on besides.
    """

    train: LabelledSource
    held_out: LabelledSource | None
    test: LabelledSource
    note: str
    transfer: LabelledSource | None = None


def open_splits(data: str, test: str | None, *, fitted: bool = True, target: str = "label") -> Splits:
    """Find what to fit a probe on and judge on.

    fitted: else all of `data` is judged, or `test` where it is given, whatever its classes. target: "label"
    or "labels". Raises DataError without such targets, for too few classes and for others in the test set.
    """
    if not fitted:
        only = _with_targets(open_source(test or data), target, test or data)
        return Splits(None, only, test or data)
    opened = _opened(data, test)
    train = _with_targets(opened.train, target, data)
    judged = _with_targets(opened.test, target, test or data)
    _refuse_other_classes(train, judged, data, test or data)
    return Splits(train, judged, opened.note)


def _with_targets(source: Source, target: str, name: str) -> Source:
    if target == "label":
        if source.labels is None or len(source.classes) < 2:
            raise DataError(
                f"{name} has no labels of at least two classes; put images into one folder per class, "
                "or give a list file with a label on each line"
            )
        return source
    found = offers(source, target)
    if found is None:
        raise DataError(_no_targets(f"a probe of '{target}'", target, source, name))
    return found


def open_head_splits(
    spec: HeadSpec, data: str, test: str | None, plan: HeadTraining, *, transfer: str | None = None
) -> HeadSplits:
    """The same for a head, whose targets and clips are all checked before anything is trained.

    Raises DataError for data without the targets the head wants, for anything wrong in the annotations, for
    videos shorter than a clip, for videos or groups on both sides, and for too few samples.
    """
    splits = _opened(data, test, whole_videos=spec.input == "clip")
    train = _checked(spec, splits.train, data, plan)
    judged = _checked(spec, splits.test, test or data, plan)
    _refuse_other_classes(train, judged, data, test or data)
    if spec.input == "clip" and (shared := leaks(train, judged)):
        raise DataError(
            f"{data} and {test or 'its test split'} share {len(shared)} videos or groups, so the figures "
            f"would be of what was trained on; take them out of one side:{_listed(shared)}"
        )
    elsewhere = None
    if transfer is not None:
        opened = open_source(transfer, whole_videos=spec.input == "clip")
        elsewhere = _checked(spec, opened, transfer, plan)
        _refuse_other_classes(train, elsewhere, data, transfer)
    kept, left = (train, None) if plan.held_out == 0 else _parted(train, plan.held_out, data)
    return HeadSplits(kept, left, judged, splits.note, elsewhere)


def checked_source(spec: HeadSpec, data: str, plan: HeadTraining) -> LabelledSource:
    """One source whole, with the targets a head wants and nothing wrong in them; raises DataError."""
    return _checked(spec, open_source(data), data, plan)


def _checked(spec: HeadSpec, source: Source, data: str, plan: HeadTraining) -> LabelledSource:
    offered = _offered(spec, source, data)
    if problems := offered.problems():
        raise DataError(
            f"{data}: {len(problems)} problems in the annotations, so nothing was trained; mend or "
            f"delete them:{_listed(problems)}"
        )
    if plan.clip is not None and plan.clip.short == "refuse" and (short := too_short(offered, plan.clip)):
        raise DataError(
            f"{data}: {len(short)} videos are too short for clips of {plan.clip.frames} frames at stride "
            f"{plan.clip.stride:g}, so nothing was trained; ask for fewer, or set "
            f"training.clip.short=repeat, which shows the last frame again:{_listed(short)}"
        )
    return offered


def _listed(lines: Sequence[str]) -> str:
    shown = "".join(f"\n  {line}" for line in lines[:_SHOWN])
    return shown + (f"\n  ... and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else "")


@dataclass(frozen=True)
class _Opened:
    train: Source
    test: Source
    note: str


def _opened(data: str, test: str | None, *, whole_videos: bool = False) -> _Opened:
    train = open_source(data, whole_videos=whole_videos)
    if test is not None:
        judged = open_source(test, whole_videos=whole_videos)
        return _Opened(train, judged, f"{data}, judged on {test}")
    if found := [split for split in _TEST_SPLITS if split in train.splits]:
        judged = open_source(data, split=found[0], whole_videos=whole_videos)
        return _Opened(train, judged, f"{data}, judged on its split '{found[0]}'")
    kept, held = _parted(train, HELD_OUT, data)
    return _Opened(kept, held, f"{data}, judged on a held-out fifth")


def _parted(source: Source, share: float, data: str) -> tuple[LabelledSource, LabelledSource]:
    """(Kept, held out), a function of the number of samples."""
    groups = getattr(source, "groups", None)  # what belongs together, such as moments of a video, stays so
    places, of_each = np.unique(np.arange(len(source)) if groups is None else groups, return_inverse=True)
    order = permutation(len(places), seed=0, epoch=0).numpy()
    held = round(share * len(order))
    if held == 0 or held == len(order):
        what = "samples" if groups is None else "videos"
        raise DataError(f"{data} holds {len(order)} {what}, too few to hold some out; give --test")
    left_out = np.isin(of_each, order[:held])
    kept, left = Subset(source, np.flatnonzero(~left_out)), Subset(source, np.flatnonzero(left_out))
    return cast(LabelledSource, kept), cast(LabelledSource, left)  # with targets where the source has them


def _offered(spec: HeadSpec, source: Source, data: str) -> LabelledSource:
    offered = offers(source, spec.target)
    if offered is None:
        raise DataError(_no_targets(f"head '{spec.name}'", spec.target, source, data))
    return offered


def _no_targets(who: str, target: str, source: Source, data: str) -> str:
    kind = getattr(source, "target_kind", "labels" if source.labels is not None else "none")
    ways = {
        "boxes": "coco:FILE.json, voc:FOLDER or yolo:FOLDER (plugin sslkit-detection)",
        "masks": "coco:FILE.json,masks=true (plugin sslkit-detection)",
        "semantic": "masks:FOLDER (plugin sslkit-segmentation)",
        "flow": "flow:FOLDER or flying-shapes:COUNT (plugin sslkit-flow)",
        "label": "one folder per class, or a list file with a label on each line",
        "labels": "a list file with several labels on a line, or data with boxes or masks",
    }
    return (
        f"{who} learns from targets of the kind '{target}', and {data} has {kind}; "
        f"give {ways.get(target, f'a source whose target_kind is {target!r}')}"
    )


def _refuse_other_classes(train: Source, judged: Source, data: str, test: str) -> None:
    if list(train.classes) != list(judged.classes):
        raise DataError(
            f"{data} has the classes {_some(train.classes)}, {test} has "
            f"{_some(judged.classes)}; both must have the same class names"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f", ... ({len(names)} in all)" if len(names) > 4 else "")
