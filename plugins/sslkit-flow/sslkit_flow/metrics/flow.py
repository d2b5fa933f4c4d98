"""Figures of optical flow, of all pixels of all pairs together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from sslkit.contracts import Figures, FlowField
from sslkit.errors import DataError

SPEEDS: dict[str, tuple[float, float]] = {
    "s0-10": (0.0, 10.0),
    "s10-40": (10.0, 40.0),
    "s40+": (40.0, math.inf),
}
"""Sintel's classes of motion: from so many pixels on, and below so many."""


class FlowMetric:
    """Adds up endpoint errors, the distances in pixels between predicted and true vectors, and divides once.

    `epe`: their mean over all known pixels of all pairs, not a mean of each pair's. `px1`, `px3`: share of
    pixels whose error is below 1 and 3 pixels, as RAFT counts. `Fl-all`: share of outliers, whose error is
    above 3 pixels and above 5 % of the true length (KITTI, Menze and Geiger 2015). `s0-10`, `s10-40`, `s40+`:
    `epe` of pixels that truly move so many (Sintel, Butler et al. 2012). `zero_epe`: what predicting no
    motion would have, the mean true length. A figure that no pixel has a part in is NaN.

    Sums are kept for each sample and added exactly, so that neither order nor ranks change a digit.
    """

    adds_up = True

    def __init__(self) -> None:
        self.sums: list[tuple[float, ...]] = []

    def update(
        self, ids: Sequence[int], predictions: Sequence[FlowField], targets: Sequence[FlowField]
    ) -> None:
        """Take in samples; raises DataError for fields of two sizes and predictions that are no numbers."""
        for id, prediction, target in zip(ids, predictions, targets, strict=True):
            self.sums.append(_sums(id, prediction, target))

    def merge(self, other: FlowMetric) -> None:
        """Take in what another accumulator has seen of other samples."""
        self.sums.extend(other.sums)

    def compute(self) -> Figures:
        """The figures of all known pixels so far."""
        columns = zip(*self.sums, strict=True) if self.sums else [(0.0,)] * (6 + 2 * len(SPEEDS))
        count, error, length, px1, px3, outliers, *speeds = (math.fsum(column) for column in columns)
        figures = {
            "epe": _ratio(error, count),
            "px1": _ratio(px1, count),
            "px3": _ratio(px3, count),
            "Fl-all": _ratio(outliers, count),
            "zero_epe": _ratio(length, count),
        }
        for place, name in enumerate(SPEEDS):
            figures[name] = _ratio(speeds[2 * place + 1], speeds[2 * place])
        return Figures(figures)


def _sums(id: int, prediction: FlowField, target: FlowField) -> tuple[float, ...]:
    """Pixels, error, length, pixels below 1 and 3, outliers, then pixels and error of each speed."""
    if prediction.vectors.shape != target.vectors.shape:
        raise DataError(
            f"sample {id}: the prediction has vectors {tuple(prediction.vectors.shape)} and the target "
            f"{tuple(target.vectors.shape)}; both must be (2, H, W) of the original"
        )
    true, guess = target.vectors.double().cpu(), prediction.vectors.double().cpu()
    known = true.isfinite().all(dim=0)
    if target.valid is not None:
        known &= target.valid.cpu()
    true, guess = true[:, known], guess[:, known]
    if not bool(guess.isfinite().all()):
        raise DataError(f"sample {id}: the prediction has vectors that are no finite numbers")
    error, length = torch.linalg.vector_norm(guess - true, dim=0), torch.linalg.vector_norm(true, dim=0)
    rows = [
        torch.ones_like(error),
        error,
        length,
        error < 1,
        error < 3,
        (error > 3) & (error > 0.05 * length),
    ]
    for least, most in SPEEDS.values():
        there = (length >= least) & (length < most)
        rows += [there, error * there]
    return tuple(float(row.double().sum()) for row in rows)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
