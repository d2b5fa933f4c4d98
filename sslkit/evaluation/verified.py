"""Are two samples of one class? Figures of similarities of pairs, for any resample of the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from sslkit.contracts import Curve, Figures
from sslkit.evaluation.sample_pairs import SamplePairs

_DRAWN_FARS = np.logspace(-4, 0, 81)  # where the curve has points


class Verified:
    """Pairs with their similarities: auc, eer, and tar_at_far_X of each X in `fars`.

    A pair is accepted where its similarity reaches a threshold; pairs of equal similarity together. TAR is
    the share of genuine pairs accepted, FAR that of impostors.

    auc: area under the ROC curve, the probability that a genuine pair is more alike than an impostor, ties
    half. eer: where FAR is 1 - TAR, on straight lines between thresholds. tar_at_far_X: the largest TAR whose
    FAR is at most X; NaN where X is below 1 / impostors, a share so few cannot show.

    Of a resample a pair weighs the product of the times its two samples were drawn. A sample is never paired
    with its own copy, which would be a genuine pair for nothing.
    """

    def __init__(
        self, pairs: SamplePairs, similarities: np.ndarray, *, count: int, fars: Sequence[float]
    ) -> None:
        order = np.argsort(-similarities, kind="stable")
        self._first, self._second = pairs.first[order], pairs.second[order]
        self._genuine = pairs.genuine[order]
        self._ends = np.flatnonzero(np.diff(similarities[order], append=np.nan) != 0)
        self._count, self._fars = count, fars

    @property
    def count(self) -> int:
        """M, the number of test samples."""
        return self._count

    @property
    def predicted(self) -> Tensor | None:
        """No class is said."""
        return None

    @property
    def curves(self) -> Mapping[str, Curve]:
        """The ROC curve at FARs evenly spread on a logarithmic scale, as far as so many impostors go."""
        tars, fars, impostors = self._rates(None)
        drawn = _DRAWN_FARS[1 / impostors <= _DRAWN_FARS]
        found = tuple(_tar_at(tars, fars, far) for far in drawn)
        return {"roc": Curve(tuple(drawn.tolist()), found, "false accept rate", "true accept rate")}

    def figures(self, rows: np.ndarray | None = None) -> Figures:
        """All of them; NaN where the resample has no genuine pair, or no impostor."""
        tars, fars, impostors = self._rates(rows)
        found = {"auc": float(np.trapezoid(tars, fars)), "eer": _equal_errors(tars, fars)}
        for far in self._fars:
            resolved = 1 / max(impostors, 1) <= far
            found[far_name(far)] = _tar_at(tars, fars, far) if resolved else np.nan
        return Figures(found)

    def _rates(self, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, int]:
        """TAR and FAR from no pair accepted to all, NaN where there are no such pairs; the impostors."""
        if rows is None:
            weights = np.ones(len(self._genuine), np.int64)
        else:
            times = np.bincount(rows, minlength=self._count)
            weights = times[self._first] * times[self._second]
        accepted = np.cumsum(weights * self._genuine)[self._ends]
        false = np.cumsum(weights)[self._ends] - accepted
        tars, fars = (
            np.concatenate([[0.0], some / some[-1]]) if some[-1] else np.full(len(some) + 1, np.nan)
            for some in (accepted, false)
        )
        return tars, fars, int(false[-1])


def far_name(far: float) -> str:
    """The figure of a FAR, such as tar_at_far_1e-3."""
    digits, exponent = f"{far:e}".split("e")
    return f"tar_at_far_{float(digits):g}e{int(exponent)}"


def _tar_at(tars: np.ndarray, fars: np.ndarray, far: float) -> float:
    return float(tars[np.searchsorted(fars, far, side="right") - 1])


def _equal_errors(tars: np.ndarray, fars: np.ndarray) -> float:
    gaps = fars + tars - 1  # FAR less the share of genuine pairs refused: from -1 up to 1
    after = int(np.searchsorted(gaps, 0))
    part = gaps[after - 1] / (gaps[after - 1] - gaps[after])
    return float(fars[after - 1] + part * (fars[after] - fars[after - 1]))
