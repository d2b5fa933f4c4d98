"""Few-shot classification: a handful of labelled samples of each class, judged on the whole test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sslkit.contracts import Curve, Features
from sslkit.data.label_draws import draw_per_class
from sslkit.errors import ConfigError
from sslkit.evaluation.class_means import centred_unit, rank_by_class_mean
from sslkit.evaluation.judged import PerSample
from sslkit.evaluation.linear import fit_penalised
from sslkit.evaluation.metrics import check_labels

COUNTS = 5
"""Samples of each class in the figure that counts, `top1_5shot`: one alone is mostly luck of the draw."""


class FewShot:
    """shots: numbers of labelled samples of each class, 5 among them. draws: of them, averaged.

    classifier: "centroid", the nearest mean of a class (SimpleShot, Wang et al. 2019), or "linear", logistic
    regression with penalty l2 and max_iterations of L-BFGS (Tian et al., "Rethinking Few-Shot Image
    Classification: a Good Embedding Is All You Need?", ECCV 2020); both on embeddings of unit length, centred
    on the mean of all training embeddings, which takes no label.
    """

    fitted: ClassVar[bool] = True
    target: ClassVar[str] = "label"
    metric: ClassVar[str] = f"top1_{COUNTS}shot"
    higher_is_better: ClassVar[bool] = True
    protocol: ClassVar[str] = "few-shot"

    def __init__(
        self,
        *,
        shots: list[int],
        draws: int,
        classifier: Literal["centroid", "linear"],
        l2: float,
        max_iterations: int,
    ) -> None:
        if COUNTS not in shots or min(shots) < 1 or len(set(shots)) < len(shots):
            raise ConfigError(
                f"shots={shots}; give different numbers of samples of each class, none below 1 and "
                f"{COUNTS} among them, whose top-1 counts, such as [1, 5, 10]"
            )
        if draws < 1:
            raise ConfigError(f"draws={draws}; at least one is needed, 10 make it steady")
        if classifier not in ("centroid", "linear"):
            raise ConfigError(f"classifier={classifier!r}; use centroid or linear")
        self._shots, self._draws = sorted(shots), draws
        self._linear, self._l2, self._iterations = classifier == "linear", l2, max_iterations

    def __call__(
        self, train: Features | None, test: Features, classes: Sequence[str], *, trial: int
    ) -> PerSample:
        """Of each test sample, the share of the draws that classify it rightly.

        Trial t has draws t * draws and on. Raises DataError where a class has fewer samples than shots.
        """
        assert train is not None
        check_labels(train.labels, len(train), len(classes))
        check_labels(test.labels, len(test), len(classes))
        centre = train.embeddings.double().mean(dim=0).float()
        known, judged = (centred_unit(part.embeddings, centre) for part in (train, test))
        labels = train.labels.numpy()
        right, said = {}, {}
        for shots in self._shots:
            guesses = []
            for draw in range(trial * self._draws, (trial + 1) * self._draws):
                rows = torch.from_numpy(draw_per_class(labels, shots, trial=draw, classes=classes))
                guesses.append(self._classify(known[rows], train.labels[rows], judged, len(classes)))
            said[shots] = torch.stack(guesses, dim=1)
            right[shots] = (said[shots] == test.labels[:, None]).double().mean(dim=1)
        first = sorted(
            self._shots, key=lambda shots: shots != COUNTS
        )  # classes are told apart by what counts
        return PerSample(
            {f"top1_{shots}shot": right[shots] for shots in first},
            groups=test.labels,
            classes=classes,
            curves={
                "shots": Curve(
                    tuple(float(shots) for shots in self._shots),
                    tuple(float(right[shots].mean()) for shots in self._shots),
                    "labelled samples of each class",
                    "top-1",
                )
            },
            predicted=said[COUNTS].mode(dim=1).values,
        )

    def _classify(self, few: Tensor, labels: Tensor, test: Tensor, classes: int) -> Tensor:
        if not self._linear:
            return rank_by_class_mean(few, labels, test, classes=classes)[:, 0]
        probe = fit_penalised(few, labels, classes=classes, l2=self._l2, max_iterations=self._iterations)
        return probe.rank(test)[:, 0]
