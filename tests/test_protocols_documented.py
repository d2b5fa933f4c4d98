"""Public protocols: each stands in docs/protocols.md, builds, trains, and never changes under its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from sslkit.config.head_training import HeadTraining, check_input, read_training
from sslkit.contracts import Head
from sslkit.models.creation import create_backbone
from sslkit.models.task_model import TaskModel, offered
from sslkit.registry import names, resolve
from sslkit.registry.protocols import load_protocol
from sslkit.runs.head_training import learning_rate
from sslkit.training.optim import build_optimizer, set_lr

PAGE = Path(__file__).parent.parent / "docs" / "protocols.md"
ROWS = {
    cells[0].strip("`"): cells
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}
SCHEDULES: dict[str, tuple[int, list[int]]] = {
    "ade-linear-dinov3": (40_000, []),
    "coco-fpn-1x": (90_000, [60_000, 80_000]),
    "coco-mask-fpn-1x": (90_000, [60_000, 80_000]),
    "in1k-linear": (500_400, [300_240, 400_320]),
    "ucf101-ft": (500 * 149, [400 * 149, 450 * 149]),
    "ucf101-linear": (100 * 149, [60 * 149, 80 * 149]),
    "voc-linear-seg": (25 * 88, [20 * 88]),
    "voc0712-c4-24k": (24_000, [18_000, 22_000]),
    "voc0712-fpn-12k": (12_000, [9_000, 11_000]),
}
"""Steps, and those at which the rate falls to a tenth, as the publications have them."""


def test_the_page_lists_every_protocol_that_was_not_run_and_says_so() -> None:
    sources = {name: load_protocol(name).source for name in names("protocol")}
    assert set(ROWS) == {name for name, source in sources.items() if "not yet run" in source.lower()}
    assert set(SCHEDULES) <= set(ROWS)
    assert all(len(cells) == 5 and all(cells) for cells in ROWS.values())


@pytest.mark.parametrize("name", ROWS)
def test_the_page_has_the_hash_and_a_protocol_its_own_name(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.id == name
    assert re.search(r"\b(19|20)\d\d\b", protocol.source), "a year"
    # Whoever changes what shapes a number gives it another version, here and on the page.
    assert ROWS[name][1] == f"`{protocol.version}@{protocol.hash}`"


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_falls_where_the_publication_lets_it(name: str) -> None:
    plan = read_training(load_protocol(name).training, name)
    steps, falls = SCHEDULES[name]
    assert plan.steps == steps
    assert learning_rate(plan, plan.warmup_steps) == pytest.approx(plan.lr)
    for place, fall in enumerate(falls):
        assert learning_rate(plan, fall - 1) == pytest.approx(plan.lr / 10**place)
        assert learning_rate(plan, fall) == pytest.approx(plan.lr / 10 ** (place + 1))
    if falls:
        assert learning_rate(plan, steps - 1) == pytest.approx(plan.lr / 10 ** len(falls))
    else:
        assert learning_rate(plan, steps - 1) < plan.lr / 1000


@pytest.mark.parametrize("name", SCHEDULES)
def test_its_head_takes_two_steps_with_its_own_settings(name: str) -> None:
    protocol = load_protocol(name)
    plan: HeadTraining = read_training(protocol.training, name)
    kind: Any = resolve("head", protocol.head)
    check_input(kind.spec, plan)
    example = kind.example_batch(0)
    torch.manual_seed(0)
    backbone = create_backbone("test_resnet")
    fewer = {key: 16 for key in ("proposals", "region_batch") if key in kind.__init__.__kwdefaults__}
    head: Head = kind(offered(backbone, kind.spec), example.task, **{**protocol.options, **fewer})
    model = TaskModel(backbone, head, mode=protocol.mode).train()  # type: ignore[arg-type]
    optimizer = build_optimizer(
        model, name=plan.optimizer, lr=plan.lr, weight_decay=plan.weight_decay, momentum=0.9
    )
    before = {key: value.clone() for key, value in model.named_parameters()}
    pixels, metas, targets = (
        part[:2] for part in (example.batch.pixels, example.batch.metas, example.batch.targets)
    )
    for step in range(2):
        set_lr(optimizer, learning_rate(plan, step))
        losses = model(pixels, metas, targets)
        total = torch.stack(list(losses.values())).sum()
        assert total.isfinite()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    moved = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    # A norm's weight of 1 is not moved by the first steps of a warm-up, but has its slope.
    assert all((value.grad is not None) == value.requires_grad for value in model.parameters())
    assert all(value.isfinite().all() for value in model.parameters())
    assert any(key.startswith("head.") for key in moved)
    assert any(key.startswith("backbone.") for key in moved) == (protocol.mode != "frozen")
