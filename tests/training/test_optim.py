"""Optimisers against outside ones, and the schedule by hand."""

import copy
import math

import pytest
import timm.optim
import torch
from torch import nn

from sslkit.errors import ConfigError, UnknownNameError
from sslkit.training.optim import build_optimizer, cosine_lr, set_lr, stepped_lr


def trained(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> list[torch.Tensor]:
    torch.manual_seed(1)
    for _ in range(steps):
        loss = network(torch.randn(8, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [p.detach() for p in network.parameters()]


def test_lars_equals_timms() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    twin = copy.deepcopy(network)
    ours = build_optimizer(network, name="lars", lr=0.5, weight_decay=1e-2, momentum=0.9)
    weights = [p for p in twin.parameters() if p.dim() > 1]
    biases = [p for p in twin.parameters() if p.dim() <= 1]
    groups = [{"params": weights, "weight_decay": 1e-2}, {"params": biases, "weight_decay": 0.0}]
    theirs = timm.optim.Lars(groups, lr=0.5, momentum=0.9, trust_coeff=0.001)
    for a, b in zip(trained(network, ours), trained(twin, theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_biases_and_norms_are_not_decayed(name) -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    optimizer = build_optimizer(network, name=name, lr=0.1, weight_decay=0.3, momentum=0.9)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decay[id(p)] for p in network.parameters()] == [0.3, 0.0, 0.0, 0.0]


def test_frozen_parameters_are_left_out() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    network[0].requires_grad_(False)
    optimizer = build_optimizer(network, name="sgd", lr=0.1, weight_decay=0.0, momentum=0.9)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2
    with pytest.raises(ConfigError, match="nothing to train"):
        build_optimizer(network[0], name="sgd", lr=0.1, weight_decay=0.0, momentum=0.9)


def test_an_unknown_optimiser_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="adamw"):
        build_optimizer(nn.Linear(2, 2), name="adam", lr=0.1, weight_decay=0.0, momentum=0.9)


def test_the_schedule_warms_up_then_falls_by_half_a_cosine() -> None:
    rates = [cosine_lr(step, peak=2.0, total_steps=20, warmup_steps=5, final=0.2) for step in range(21)]
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    for step in range(5, 21):
        assert rates[step] == pytest.approx(0.2 + 1.8 * (1 + math.cos(math.pi * (step - 5) / 15)) / 2)
    assert rates[20] == pytest.approx(0.2)


def test_without_warm_up_the_first_step_is_the_peak() -> None:
    assert cosine_lr(0, peak=1.0, total_steps=10, warmup_steps=0) == 1.0


@pytest.mark.parametrize(
    ("total", "warmup", "at", "factor"),
    [(20, 0, (0.5, 0.75), 0.1), (24, 4, (0.75, 22 / 24), 0.1), (10, 6, (0.3,), 0.5), (7, 0, (), 0.1)],
)
def test_the_steps_are_those_of_a_rate_that_is_divided_as_the_training_goes_on(
    total: int, warmup: int, at: tuple[float, ...], factor: float
) -> None:
    marks, rate = [round(share * total) for share in at], 3.0
    for step in range(total):
        for mark in marks:
            if step == mark:
                rate = rate * factor
        slow = rate * (step + 1) / warmup if step < warmup else rate
        given = stepped_lr(step, peak=3.0, total_steps=total, warmup_steps=warmup, at=at, factor=factor)
        assert given == pytest.approx(slow, rel=1e-12)


def test_detectors_fall_at_the_steps_of_their_configuration() -> None:
    rates = [
        stepped_lr(step, peak=0.02, total_steps=24_000, warmup_steps=100, at=(0.75, 22 / 24), factor=0.1)
        for step in (0, 99, 17_999, 18_000, 21_999, 22_000, 23_999)
    ]
    assert rates == pytest.approx([0.0002, 0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002])


def test_without_warm_up_the_steps_are_torchs() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[6, 9], gamma=0.2)
    for step in range(12):
        ours = stepped_lr(step, peak=0.4, total_steps=12, warmup_steps=0, at=(0.5, 0.75), factor=0.2)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


def test_set_lr_reaches_every_group() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), name="sgd", lr=0.1, weight_decay=1.0, momentum=0.0)
    set_lr(optimizer, 0.7)
    assert {group["lr"] for group in optimizer.param_groups} == {0.7}
