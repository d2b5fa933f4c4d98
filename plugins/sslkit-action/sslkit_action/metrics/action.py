"""Accuracy of action recognition, of whole videos and of single views of them.

Shapes: K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from sslkit.contracts import IGNORE, ClassLabel, Figures
from sslkit.errors import DataError

TOP = 5


class ActionMetric:
    """Keeps the scores of every view and decides at the end.

    `top1`, `top5`: share of videos whose true class is among the k of highest score, the scores of a video
    being the mean over its views, in float64 (multi-view testing, Wang et al. 2018, "Non-local Neural
    Networks", section 4.1). `clip_top1`, `clip_top5`: the same of each view alone. `balanced`: mean over
    classes of the share of their videos whose first is right; those shares are the figures of each class.

    A class of equal score stands before the true one, so that no tie counts as right by luck of order. With
    fewer than five classes top5 is top K, which is always right. Videos of label 255 are left out where there
    is no class 255. Without any video the figures are NaN.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.labels: dict[int, int] = {}
        self.views: dict[int, list[np.ndarray]] = {}

    def update(
        self, ids: Sequence[int], predictions: Sequence[ClassLabel], targets: Sequence[ClassLabel]
    ) -> None:
        """Take in views; raises DataError for scores or labels that do not fit the classes."""
        for id, prediction, target in zip(ids, predictions, targets, strict=True):
            if counts(target.label, len(self.classes)):
                self._take(int(id), target.label, [self._scores(id, prediction, target.label)])

    def merge(self, other: ActionMetric) -> None:
        """Take in what another accumulator has seen; views of one video may lie in both."""
        for id, views in other.views.items():
            self._take(id, other.labels[id], views)

    def compute(self) -> Figures:
        """The figures of all videos so far, and the accuracy of each class that occurs."""
        ids = sorted(self.views)
        videos = np.array(
            [_rank(mean_of_views(self.views[id]), self.labels[id]) for id in ids], dtype=np.int64
        )
        clips = np.array(
            [_rank(view, self.labels[id]) for id in ids for view in self.views[id]], dtype=np.int64
        )
        labels = np.array([self.labels[id] for id in ids], dtype=np.int64)
        recalls = {label: _share(videos[labels == label], 1) for label in np.unique(labels).tolist()}
        most = min(TOP, len(self.classes))
        figures = {
            "top1": _share(videos, 1),
            "top5": _share(videos, most),
            "clip_top1": _share(clips, 1),
            "clip_top5": _share(clips, most),
            "balanced": math.fsum(recalls.values()) / len(recalls) if recalls else math.nan,
        }
        return Figures(figures, {self.classes[label]: recall for label, recall in recalls.items()})

    def _take(self, id: int, label: int, views: Sequence[np.ndarray]) -> None:
        if self.labels.setdefault(id, label) != label:
            raise DataError(
                f"sample {id} has the label {self.labels[id]} in one view and {label} in another; the views "
                "of one sample share its label"
            )
        self.views.setdefault(id, []).extend(views)

    def _scores(self, id: int, prediction: ClassLabel, label: int) -> np.ndarray:
        classes = len(self.classes)
        if not 0 <= label < classes:
            raise DataError(f"sample {id}: the target has the label {label}; there are {classes} classes")
        if prediction.scores is None or tuple(prediction.scores.shape) != (classes,):
            form = "none" if prediction.scores is None else f"of shape {tuple(prediction.scores.shape)}"
            raise DataError(
                f"sample {id}: the prediction's scores are {form}; one a class is needed, ({classes},)"
            )
        values: np.ndarray = prediction.scores.detach().to("cpu", torch.float32).numpy().copy()
        return values


def counts(label: int, classes: int) -> bool:
    """Whether a sample is learnt and judged; 255 is a class like any other where there are so many."""
    return label != IGNORE or classes > IGNORE


def mean_of_views(views: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of each class's scores (K,), float64, added from small to large: in no order of views."""
    mean: np.ndarray = np.sort(np.stack(views), axis=0).mean(axis=0, dtype=np.float64)
    return mean


def _rank(scores: np.ndarray, label: int) -> int:
    """How many other classes stand before the true one; what is not lower does, not-a-number too."""
    return int((~(scores < scores[label])).sum()) - 1


def _share(ranks: np.ndarray, top: int) -> float:
    return float((ranks < top).mean()) if len(ranks) else math.nan
