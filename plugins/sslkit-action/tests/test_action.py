"""What all heads share: loss, predictions, refusals."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit.contracts import ClassLabel, FeatureInfo, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError
from sslkit_action.heads.frame_pool import FramePool

INFO = FeatureInfo((), (), (), 8, 8, (0.5,) * 3, (0.5,) * 3, embedding_dim=6)


def task(classes: int) -> Task:
    return Task("label", tuple(f"c{place}" for place in range(classes)), (32, 32), frames=4)


def given(count: int) -> HeadFeatures:
    vector = torch.randn(count, 4, 6, generator=torch.Generator().manual_seed(0))
    return HeadFeatures(vector, (), (32, 32), (Meta(0, "", (32, 32), (32, 32), (32, 32)),) * count)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_cross_entropy_written_out(smoothing: float) -> None:
    head = FramePool(INFO, task(5), label_smoothing=smoothing)
    raw = head(given(4)).detach()
    labels = [2, 0, 255, 4]
    expected = []
    for row, label in zip(raw.double(), labels, strict=True):
        if label == 255:
            continue
        shares = [smoothing / 5 + (1 - smoothing) * (place == label) for place in range(5)]
        scores = row.exp() / row.exp().sum()
        expected.append(-sum(share * score.log() for share, score in zip(shares, scores, strict=True)))
    found = head.loss(raw, [ClassLabel(label) for label in labels])
    assert float(found["cross_entropy"]) == pytest.approx(float(sum(expected)) / 3)


def test_clips_of_no_label_leave_a_finite_loss_and_gradients_of_zero() -> None:
    head = FramePool(INFO, task(5))
    (loss,) = head.loss(head(given(3)), [ClassLabel(255)] * 3).values()
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


def test_with_many_classes_255_is_one_of_them() -> None:
    head = FramePool(INFO, task(300))
    raw = head(given(2))
    (found,) = head.loss(raw, [ClassLabel(255), ClassLabel(3)]).values()
    torch.testing.assert_close(found, F.cross_entropy(raw, torch.tensor([255, 3])))


def test_predictions_are_probabilities_of_every_class() -> None:
    head = FramePool(INFO, task(5))
    features = given(3)
    for one, row in zip(head.decode(head(features), features.metas), head(features), strict=True):
        assert one.scores is not None
        torch.testing.assert_close(one.scores, (row.exp() / row.exp().sum()).detach())
        assert one.label == int(row.argmax())


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="was given 1 classes; it needs at least 2"):
        FramePool(INFO, task(1))
    with pytest.raises(ConfigError, match=r"label_smoothing is 1\.0; it is at least 0 and less than 1"):
        FramePool(INFO, task(3), label_smoothing=1.0)
    with pytest.raises(ConfigError, match="dropout is -1; it is at least 0"):
        FramePool(INFO, task(3), dropout=-1)
