"""What the diagnostics say of logits made up for them."""

import pytest
import torch

from sslkit_detection.diagnostics import easy_negative_share, positives_per_object
from sslkit_detection.losses import BACKGROUND, NEITHER, BinaryClassification


def share(kind: str, logits: torch.Tensor, classes: torch.Tensor) -> float:
    losses = BinaryClassification(kind, gamma=2.0, alpha=None)(logits, classes)
    return easy_negative_share(losses, logits, classes)


def test_easy_background_drowns_cross_entropy_and_not_the_focal_loss() -> None:
    # 10,000 anchors of background at p_t = 0.99 against one object at p_t = 0.1, as in the paper's section 3.
    logits = torch.full((10_001, 1), -4.595)
    logits[0] = -2.197
    classes = torch.full((10_001,), BACKGROUND)
    classes[0] = 0
    easy = 10_000 * 0.01005
    assert share("cross_entropy", logits, classes) == pytest.approx(easy / (easy + 2.3026), rel=1e-2)
    focal = easy * 0.01**2
    assert share("focal", logits, classes) == pytest.approx(focal / (focal + 2.3026 * 0.9**2), rel=2e-2)


def test_hard_background_and_what_is_not_judged_is_not_easy() -> None:
    logits = torch.tensor([[2.0], [-2.0], [-2.0], [2.0]])
    assert share("cross_entropy", logits[:1], torch.tensor([BACKGROUND])) == 0
    assert share("cross_entropy", logits[1:2], torch.tensor([BACKGROUND])) == 1
    assert share("cross_entropy", logits[2:3], torch.tensor([NEITHER])) == 0
    assert share("cross_entropy", logits[3:], torch.tensor([0])) == 0


def test_anchors_are_counted_for_each_object() -> None:
    assert positives_per_object(torch.tensor([-1, 0, 2, 2, -2]), 4).tolist() == [1, 0, 2, 0]
    assert positives_per_object(torch.tensor([-1]), 0).tolist() == []
