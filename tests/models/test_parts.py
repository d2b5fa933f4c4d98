"""Projector, teacher and synchronised BatchNorm."""

import copy

import pytest
import timm
import torch
from torch import nn

from sslkit.errors import ConfigError, ModelError
from sslkit.models.batchnorm import synchronize_batchnorm
from sslkit.models.projector import Projector
from sslkit.models.teacher import Teacher, cosine_momentum


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_projector_has_the_layers_asked_for(layers) -> None:
    projector = Projector(8, hidden=16, outputs=4, layers=layers)
    assert sum(isinstance(m, nn.Linear) for m in projector.modules()) == layers
    assert sum(isinstance(m, nn.BatchNorm1d) for m in projector.modules()) == layers - 1
    assert projector(torch.randn(5, 8)).shape == (5, 4)


def test_a_normalised_output_has_unit_variance() -> None:
    projector = Projector(8, hidden=16, outputs=4, last_norm=True)
    output = projector(torch.randn(64, 8))
    torch.testing.assert_close(output.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(output.var(0, unbiased=False), torch.ones(4), atol=1e-2, rtol=0)


def test_a_projector_without_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Projector(8, hidden=16, outputs=4, layers=0)


def test_a_teacher_starts_equal_and_follows_slowly() -> None:
    student = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    teacher = Teacher(student)
    rows = torch.randn(6, 3)
    torch.testing.assert_close(teacher(rows), student(rows).detach())
    assert not any(p.requires_grad for p in teacher.parameters())
    before = [p.clone() for p in teacher.parameters()]
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(2.0)
    teacher.move([student], 0.75)
    for old, new in zip(before, teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.5)  # 0.75 old + 0.25 (old + 2)


def test_momentum_rises_by_a_cosine() -> None:
    assert cosine_momentum(0.9, 0.0) == pytest.approx(0.9)
    assert cosine_momentum(0.9, 0.5) == pytest.approx(0.95)
    assert cosine_momentum(0.9, 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["resnet10t", "efficientnet_lite0"])
def test_synchronised_batchnorm_alone_is_batchnorm(name) -> None:
    """On one rank: outputs, input gradients and running statistics of a network, with timm's fused layers."""
    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=0).double().train()
    synchronised = synchronize_batchnorm(copy.deepcopy(plain), torch.device("cpu"))
    assert synchronised.state_dict().keys() == plain.state_dict().keys()
    pixels = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    results = []
    for network in (plain, synchronised):
        torch.manual_seed(1)  # drop path
        given = pixels.clone().requires_grad_()
        output = network(given)
        output.square().sum().backward()
        results.append((output.detach(), given.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    for (key, ours), theirs in zip(
        synchronised.state_dict().items(), plain.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6, msg=key)
    plain.eval(), synchronised.eval()
    torch.testing.assert_close(synchronised(pixels), plain(pixels), rtol=1e-6, atol=1e-8)


def test_a_batchnorm_without_a_twin_is_refused_by_name() -> None:
    class Strange(nn.BatchNorm2d):
        pass

    with pytest.raises(ModelError, match="Strange"):
        synchronize_batchnorm(nn.Sequential(Strange(3)), torch.device("cpu"))
