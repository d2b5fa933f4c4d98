"""The rows of one forward: the arithmetic, what is measured, and that measuring leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sslkit.contracts import Embeddings
from sslkit.errors import ConfigError
from sslkit.objectives.byol import BYOL
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import SIDE, example_views
from sslkit.training import memory
from sslkit.training.learner import Learner
from sslkit.training.memory import choose_micro, free_memory, rows_that_fit

CPU = torch.device("cpu")


class Wide(nn.Module):
    """Keeps exactly its input and the output of its first layer for the backward: 40 and 400 bytes a row."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(10, 100, bias=False), nn.Linear(100, 2, bias=False)

    def forward(self, views) -> Embeddings:
        rows = self.second(self.first(views[0]))
        return Embeddings(rows.detach(), (rows,))


def byol() -> Learner:
    torch.manual_seed(0)
    backbone = TinyBackbone()
    backbone.second.append(nn.Dropout(0.5))
    small = {"projector_hidden": 16, "projector_outputs": 8, "predictor_hidden": 16}
    return Learner(backbone, BYOL(backbone, **small))


@pytest.mark.parametrize(
    ("rows", "room", "micro"),
    [
        (100, 1100, 100),  # fixed 100 and 10 a row: just all
        (100, 1099, 64),
        (100, 740, 64),
        (100, 739, 32),
        (100, 110, 1),
        (100, 0, 1),  # an estimate does not forbid
        (64, 600, 32),
        (1, 0, 1),
    ],
)
def test_all_rows_or_the_largest_power_of_two_fit(rows: int, room: int, micro: int) -> None:
    assert rows_that_fit(rows, per_row=10, fixed=100, room=room) == micro


@pytest.mark.parametrize(("budget", "micro"), [(440 * 100, 100), (440 * 100 - 1, 64), (440 * 40, 32), (1, 1)])
def test_what_a_row_keeps_is_measured(budget: int, micro: int) -> None:
    """440 bytes a row; weights are there anyway and count for nothing."""
    found = choose_micro(Wide(), lambda rows: [torch.ones(rows, 10)], rows=100, device=CPU, budget=budget)
    assert found == micro


def test_half_of_the_free_memory_is_the_budget(monkeypatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 2 * 440 * 33)
    assert choose_micro(Wide(), lambda rows: [torch.ones(rows, 10)], rows=100, device=CPU) == 32


def test_a_real_learner_is_cut_where_the_budget_ends() -> None:
    learner = byol()
    chosen = [
        choose_micro(learner, lambda rows: example_views(rows=rows), rows=300, device=CPU, budget=budget)
        for budget in (10**5, 10**6, 10**7, 10**8)
    ]
    assert chosen == sorted(chosen)
    assert chosen[0] < 8
    assert chosen[-1] == 300
    # Two views of 3 channels, and the maps of two blocks: a guess by hand of what one sample keeps.
    floats = 2 * (2 * 3 * SIDE**2 + 3 * 8 * (SIDE // 2) ** 2 + 3 * 16 * (SIDE // 4) ** 2)
    assert 0.3 <= chosen[2] * 4 * floats / 10**7 <= 1.2


def test_measuring_leaves_no_trace() -> None:
    learner = byol()
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    state = torch.get_rng_state()
    choose_micro(
        learner, lambda rows: [torch.randn(rows, 3, SIDE, SIDE)] * 2, rows=64, device=CPU, budget=9**9
    )
    for name, tensor in learner.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in learner.parameters())
    assert learner.training
    assert torch.equal(torch.get_rng_state(), state), "a run must not depend on whether it was measured"


def test_processes_of_one_machine_share_its_memory(monkeypatch) -> None:
    monkeypatch.setattr(memory, "_available", lambda: 1000)
    monkeypatch.setattr(memory, "_control_group", lambda: None)
    assert free_memory(CPU) == 1000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_memory(CPU) == 250
    monkeypatch.setattr(memory, "_control_group", lambda: 400)
    assert free_memory(CPU) == 100


def test_a_system_that_says_nothing_asks_for_a_number(monkeypatch) -> None:
    monkeypatch.setattr(memory, "_available", lambda: None)
    monkeypatch.setattr(memory, "_control_group", lambda: None)
    with pytest.raises(ConfigError, match=r"batch\.micro=64"):
        free_memory(CPU)


def test_free_memory_is_read_where_linux_writes_it(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  64 kB\nMemAvailable:   2 kB\n")
    assert memory._available(tmp_path / "meminfo") == 2048
    assert memory._available(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("limit", "statistics", "room"),
    [
        ("1000\n", "anon 5\ninactive_file 100\n", 800),
        ("1000", "", 700),
        ("max\n", "inactive_file 100\n", None),
    ],
    ids=["files go when room is needed", "no statistics", "no limit"],
)
def test_a_containers_limit_counts(tmp_path: Path, limit: str, statistics: str, room: int | None) -> None:
    assert memory._control_group(tmp_path) is None
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.stat").write_text(statistics)
    assert memory._control_group(tmp_path) == room


@pytest.mark.skipif(not torch.cuda.is_available(), reason="measures a CUDA GPU's peak")
def test_on_a_gpu_the_measured_peak_decides() -> None:
    gpu = torch.device("cuda")
    learner = byol().to(gpu)

    def views(rows: int) -> list[torch.Tensor]:
        return [view.to(gpu) for view in example_views(rows=rows)]

    assert choose_micro(learner, views, rows=300, device=gpu, budget=10**9) == 300
    assert choose_micro(learner, views, rows=10**5, device=gpu, budget=10**8) < 10**5
    assert free_memory(gpu) > 0
