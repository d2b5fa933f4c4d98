"""How many objects a set of proposals covers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torchvision.ops import box_iou

from sslkit.contracts import Figures, Objects
from sslkit.errors import DataError


class ProposalRecall:
    """Share of objects that one of the first N proposals covers (Hosang et al. 2016, section 3).

    at: the Ns. iou: of a box and its object, at least. Labels do not count, nor do crowds. Figures are
    "proposal recall@N"; NaN where there is no object.
    """

    def __init__(self, at: Sequence[int] = (100, 1000), iou: float = 0.5) -> None:
        self.at, self.iou = tuple(at), iou
        self._samples: dict[int, tuple[int, ...]] = {}  # objects, and how many of them each N covers

    def update(self, ids: Sequence[int], predictions: Sequence[Objects], targets: Sequence[Objects]) -> None:
        """Take in samples; proposals are ranked by their scores, and where they have none, as they come."""
        for id, prediction, target in zip(ids, predictions, targets, strict=True):
            if int(id) in self._samples:
                raise _twice(int(id))
            boxes = prediction.boxes
            if prediction.scores is not None:
                boxes = boxes[prediction.scores.argsort(descending=True, stable=True)]
            objects = target.boxes if target.crowd is None else target.boxes[~target.crowd]
            covers = box_iou(objects.double(), boxes[: max(self.at)].double()) >= self.iou
            counts = (int(covers[:, :most].any(dim=1).sum()) for most in self.at)
            self._samples[int(id)] = (len(objects), *counts)

    def merge(self, other: ProposalRecall) -> None:
        """Take in what another accumulator has seen of other samples."""
        for id in self._samples.keys() & other._samples.keys():
            raise _twice(id)
        self._samples.update(other._samples)

    def compute(self) -> Figures:
        """The figures of all samples seen."""
        sums = (
            torch.tensor(list(self._samples.values()), dtype=torch.int64)
            .view(-1, 1 + len(self.at))
            .sum(dim=0)
        )
        objects, *covered = sums.tolist()
        shares = [count / objects if objects else float("nan") for count in covered]
        return Figures(
            {f"proposal recall@{most}": share for most, share in zip(self.at, shares, strict=True)}
        )


def _twice(id: int) -> DataError:
    return DataError(f"sample {id} was added twice; every sample counts once, whatever rank saw it")
