"""What is in the picture? Frozen embeddings judged by class, with many, few and unequal labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sslkit.contracts import Measurement, TransferTask
from sslkit.evaluation.tasks.labelled_folders import label_sets, labelled

_SHAPES = Measurement(
    head="knn",
    data="shapes:count=1000,size=64",
    test="shapes:count=500,size=64,split=test",
    domain="drawn shapes",
    synthetic=True,
)
_SCENES = Measurement(
    head="multi_label",
    data="scenes:count=600,size=96",
    test="scenes:count=300,size=96,split=test",
    domain="drawn scenes",
    synthetic=True,
)


def recognise_knn(folder: Path) -> Measurement | None:
    """A folder of images for each class, in train and test or not, or a list of path, TAB, class."""
    return _of("knn", folder)


def recognise_linear(folder: Path) -> Measurement | None:
    """The same as for knn, with 2 or more images of each class to learn from."""
    return _of("linear", folder, least=2)


def recognise_few_shot(folder: Path) -> Measurement | None:
    """The same as for knn, with 10 or more images of each class to learn from."""
    return _of("few_shot", folder, least=10)


def recognise_label_efficiency(folder: Path) -> Measurement | None:
    """The same as for knn, with 10 or more images of each class to learn from."""
    return _of("label_efficiency", folder, least=10)


def recognise_long_tail(folder: Path) -> Measurement | None:
    """The same as for knn, with 20 or more images of each class to learn from."""
    return _of("long_tail", folder, least=20)


def recognise_multi_label(folder: Path) -> Measurement | None:
    """A list of path, TAB, classes, which are separated by |."""
    found = label_sets(folder)
    return None if found is None else Measurement("multi_label", *found)


def _of(head: str, folder: Path, least: int = 1) -> Measurement | None:
    found = labelled(folder)
    if found is None or found.least < least or not found.closed:
        return None
    return Measurement(head, found.data, found.test)


KNN = TransferTask(_SHAPES, recognise_knn)
LINEAR = TransferTask(replace(_SHAPES, head="linear"), recognise_linear)
FEW_SHOT = TransferTask(replace(_SHAPES, head="few_shot"), recognise_few_shot)
LABEL_EFFICIENCY = TransferTask(replace(_SHAPES, head="label_efficiency"), recognise_label_efficiency)
LONG_TAIL = TransferTask(replace(_SHAPES, head="long_tail"), recognise_long_tail)
MULTI_LABEL = TransferTask(_SCENES, recognise_multi_label)
