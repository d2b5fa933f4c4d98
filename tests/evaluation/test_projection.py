"""Points of the plane: principal components against the SVD, t-SNE against plain loops and its purpose."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslkit.errors import ConfigError, DataError
from sslkit.evaluation import projection
from sslkit.evaluation.projection import principal_components, tsne


def blobs(count: int, classes: int = 3, dim: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    centres = 3 * torch.randn(classes, dim, generator=generator)
    return centres[labels] + torch.randn(count, dim, generator=generator), labels


def test_principal_components_are_those_of_the_svd() -> None:
    rows, _ = blobs(50)
    left, values, _ = torch.linalg.svd(rows.double() - rows.double().mean(0), full_matrices=False)
    expected = (left[:, :2] * values[:2]).float()
    found = principal_components(rows)
    torch.testing.assert_close(found.abs(), expected.abs(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(principal_components(-rows), -found)
    torch.testing.assert_close(principal_components(rows), found, atol=0, rtol=0)


def test_affinities_have_the_perplexity_asked_for() -> None:
    rows, _ = blobs(40)
    joint = projection._affinities(rows.double(), perplexity=7.0)
    torch.testing.assert_close(joint, joint.T)
    assert float(joint.sum()) == pytest.approx(1)
    # The paper in loops: the same bandwidth search, row by row, then symmetrised.
    conditional = torch.zeros(40, 40, dtype=torch.float64)
    for i in range(40):
        low, high = 1e-9, 1e9
        for _ in range(200):
            precision = math.sqrt(low * high)
            weights = {
                j: math.exp(-precision * float((rows[i].double() - rows[j].double()).square().sum()))
                for j in range(40)
                if j != i
            }
            total = sum(weights.values()) or 1e-300
            entropy = -sum(w / total * math.log(w / total) for w in weights.values() if w > 0)
            low, high = (precision, high) if entropy > math.log(7.0) else (low, precision)
        for j, weight in weights.items():
            conditional[i, j] = weight / total
    torch.testing.assert_close(joint, (conditional + conditional.T) / 80, atol=1e-6, rtol=1e-4)


def test_the_gradient_is_that_of_the_divergence() -> None:
    rows, _ = blobs(12)
    joint = projection._affinities(rows.double(), perplexity=3.0)
    points = torch.randn(
        12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    kernel = 1 / (1 + (points[:, None] - points[None]).square().sum(-1)) * (1 - torch.eye(12))
    q = kernel / kernel.sum()
    torch.special.xlogy(joint, joint / q.clamp_min(1e-300)).sum().backward()
    torch.testing.assert_close(projection._gradient(joint, points.detach()), points.grad)


def test_tsne_keeps_classes_together_and_repeats_exactly() -> None:
    rows, labels = blobs(120)
    points = tsne(rows, perplexity=15)
    assert points.shape == (120, 2)
    assert points.isfinite().all()
    distances = torch.cdist(points, points).fill_diagonal_(torch.inf)
    assert (labels[distances.argmin(dim=1)] == labels).float().mean() > 0.95
    assert torch.equal(points, tsne(rows, perplexity=15))


def test_identical_embeddings_stay_finite() -> None:
    assert tsne(torch.ones(20, 4), perplexity=3, iterations=20).isfinite().all()


def test_what_cannot_be_projected_is_refused() -> None:
    rows, _ = blobs(40)
    with pytest.raises(ConfigError, match="perplexity 30 of 40 points; it may be 1 to 13"):
        tsne(rows)
    with pytest.raises(ConfigError, match="1501 points; pass at most 1500"):
        tsne(torch.zeros(1501, 2))
    with pytest.raises(DataError, match="finite"):
        tsne(rows / 0)
    with pytest.raises(DataError, match="2 rows"):
        principal_components(rows[:1])
