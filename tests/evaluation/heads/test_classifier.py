"""The classifier's loss against the definition in plain loops, its layer, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sslkit.contracts import ClassLabel, FeatureInfo, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError
from sslkit.evaluation.heads.class_weights import balanced_weights
from sslkit.evaluation.heads.classifier import Classifier
from sslkit.registry import build

INFO = FeatureInfo((), (), (), 32, 32, (0.5,) * 3, (0.5,) * 3, embedding_dim=6)
CLASSES = ("ant", "bee", "cow")
META = Meta(0, "one", (40, 60), (40, 60), (64, 64))


def classifier(counts: tuple[int, ...] = (6, 3, 1), **options: Any) -> Classifier:
    torch.manual_seed(0)
    return Classifier(INFO, Task("label", CLASSES, (64, 64), counts), **options)


def features(embeddings: Tensor) -> HeadFeatures:
    return HeadFeatures(embeddings, (), (64, 64), (META,) * len(embeddings))


def slow_loss(
    logits: list[list[float]], labels: list[int], eps: float, weights: list[float], by: str
) -> float:
    """Sum over classes of target share times weight times -log softmax, divided by N or by the weights."""
    total, weighed = 0.0, 0.0
    for row, label in zip(logits, labels, strict=True):
        norm = math.log(math.fsum(math.exp(value) for value in row))
        for k, value in enumerate(row):
            share = eps / len(row) + (1 - eps) * (k == label)
            total += share * weights[k] * (norm - value)
        weighed += weights[label]
    return total / (weighed if by == "sum" else len(labels))


@pytest.mark.parametrize("eps", [0.0, 0.2])
@pytest.mark.parametrize("by", ["none", "mean", "sum"])
def test_the_loss_is_weighted_cross_entropy_written_out(by: str, eps: float) -> None:
    head = classifier(class_weights=by, label_smoothing=eps)
    logits = 3 * torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    labels = [0, 0, 1, 0, 2, 1, 0]
    weights = [1.0, 1.0, 1.0] if by == "none" else [10 / (3 * count) for count in (6, 3, 1)]
    (loss,) = head.loss(logits, [ClassLabel(label) for label in labels]).values()
    assert float(loss) == pytest.approx(slow_loss(logits.tolist(), labels, eps, weights, by), rel=1e-5)


def test_without_smoothing_the_mean_divides_by_samples_and_the_sum_by_weights() -> None:
    logits, targets = torch.randn(5, 3), [ClassLabel(2)] * 5
    plain, mean, summed = (
        float(classifier(class_weights=by).loss(logits, targets)["cross_entropy"])
        for by in ("none", "mean", "sum")
    )
    assert summed == pytest.approx(plain, rel=1e-5)  # of one class the weights cancel
    assert mean == pytest.approx(plain * 10 / 3, rel=1e-5)


def test_weights_are_inverse_to_frequency_and_one_on_average() -> None:
    counts = (6, 3, 0, 1)
    weights = balanced_weights(Task("label", ("a", "b", "c", "d"), (8, 8), counts), "class_weights")
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 0, 10 / 3])
    assert float(weights @ torch.tensor(counts).float()) / 10 == pytest.approx(1)


def test_weights_are_no_part_of_what_is_saved() -> None:
    assert set(classifier(class_weights="sum").state_dict()) == {"layer.linear.weight", "layer.linear.bias"}


def test_a_normalised_embedding_has_no_length() -> None:
    embeddings = torch.randn(4, 6)
    head = classifier(normalise=True)
    long, short = head(features(embeddings * 50)), head(features(embeddings / 50))
    torch.testing.assert_close(long, short)
    assert not torch.allclose(*(classifier()(features(embeddings * scale)) for scale in (50, 1)), rtol=0.1)


def test_batchnorm_brings_embeddings_of_any_scale_to_one_and_has_no_weights() -> None:
    embeddings = torch.randn(40, 6)
    head = classifier(batchnorm=True)
    large, small = head(features(embeddings * 1000 + 300)), head(features(embeddings))
    torch.testing.assert_close(large, small, rtol=1e-3, atol=1e-4)
    assert [name for name, _ in head.named_parameters()] == ["layer.linear.weight", "layer.linear.bias"]


def test_dropout_drops_while_training_alone() -> None:
    head, embeddings = classifier(dropout=0.5), torch.randn(4, 6)
    assert not torch.equal(head(features(embeddings)), head(features(embeddings)))
    head.eval()
    assert torch.equal(head(features(embeddings)), head(features(embeddings)))


def test_a_fresh_head_says_hardly_anything() -> None:
    head = classifier()
    assert not head.layer.linear.bias.any()
    assert float(head.layer.linear.weight.detach().std()) == pytest.approx(0.01, rel=0.5)


def test_predictions_are_the_likeliest_class_and_all_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.0, 0.0]])
    first, second = classifier().decode(logits, [META, META])
    assert (first.label, second.label) == (1, 0)
    assert first.scores.tolist() == pytest.approx([math.e**v / (1 + math.e + 1 / math.e) for v in (0, 1, -1)])


def test_truth_and_prediction_are_written_on_a_copy_of_the_image() -> None:
    image = np.full((120, 160, 3), 90, np.uint8)
    head = classifier()
    drawn = [
        head.draw(image, shown) for shown in (ClassLabel(0), ClassLabel(1), ClassLabel(1, torch.eye(3)[1]))
    ]
    assert all(one.shape == image.shape and one.dtype == np.uint8 for one in drawn)
    assert not any(np.array_equal(one, other) for one, other in zip(drawn, [*drawn[1:], image], strict=True))
    assert (image == 90).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, "dropout is 1.0; it is at least 0 and less than 1"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1"),
        ({"class_weights": "balanced"}, "option 'class_weights' of head 'classifier'"),
        ({"clas_weights": "sum"}, "has no option 'clas_weights', did you mean 'class_weights'"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("head", "classifier", INFO, Task("label", CLASSES, (64, 64), (1, 1, 1)), **options)


def test_weights_need_the_numbers_of_samples() -> None:
    with pytest.raises(ConfigError, match=r"class_weights balances classes by how many .* use none"):
        classifier(counts=(), class_weights="mean")


def test_one_class_is_too_few() -> None:
    with pytest.raises(ConfigError, match="1 classes; it needs at least 2"):
        Classifier(INFO, Task("label", ("ant",), (64, 64)))


def test_the_head_is_one_linear_layer() -> None:
    layers = [module for module in classifier().modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(6, 3)]
