"""Counters of energy: read where they are, wrapped where they wrap, and a reason where there are none."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sslkit.training import energy
from sslkit.training.energy import EnergyCounter, energy_counter

CPU = torch.device("cpu")


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages as Linux shows them, the first with a part of its own that must not count twice."""
    for name in ("intel-rapl", "intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text("5000000\n")
        (tmp_path / name / "max_energy_range_uj").write_text("100000000\n")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    return tmp_path


def test_processors_add_up_and_their_parts_do_not(powercap: Path) -> None:
    counter = energy_counter(CPU)
    before = counter.now()
    for name in ("intel-rapl:0", "intel-rapl:0:0"):
        (powercap / name / "energy_uj").write_text("7000000\n")
    (powercap / "intel-rapl:1" / "energy_uj").write_text("8500000\n")
    assert counter.since(before) == pytest.approx(2 + 3.5)


def test_a_counter_that_began_anew_goes_on(powercap: Path) -> None:
    counter = energy_counter(CPU)
    before = counter.now()
    (powercap / "intel-rapl:0" / "energy_uj").write_text("1000000\n")  # 95 J to its end, and 1 J
    assert counter.since(before) == pytest.approx(96)


def test_a_counter_that_has_not_moved_says_nothing(powercap: Path) -> None:
    counter = energy_counter(CPU)
    assert counter.since(counter.now()) is None


def test_a_machine_without_counters_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "nothing")
    counter = energy_counter(CPU)
    assert counter.read is None
    assert "no energy counter" in counter.what
    assert counter.since(counter.now()) is None


def test_counters_that_may_not_be_read_name_the_file(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: Any) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    counter = energy_counter(CPU)
    assert counter.read is None
    assert str(powercap / "intel-rapl:0" / "energy_uj") in counter.what
    assert "root" in counter.what


def test_a_damaged_counter_is_told(powercap: Path) -> None:
    (powercap / "intel-rapl:0" / "energy_uj").write_text("no number")
    assert "cannot be read" in energy_counter(CPU).what


class Library:
    """The driver's management library, as far as it is used; calls give 0 where they succeed."""

    def __init__(self, *, knows: bytes = b"GPU-1234", counts: bool = True) -> None:
        self.knows, self.counts, self.millijoules = knows, counts, 2500

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:  # noqa: N802
        return 0 if uuid == self.knows else 6

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, value: Any) -> int:  # noqa: N802
        ctypes.cast(value, ctypes.POINTER(ctypes.c_ulonglong))[0] = self.millijoules
        return 0 if self.counts else 3


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))
    return torch.device("cuda", 0)


def test_a_gpu_counts_millijoules(gpu: torch.device) -> None:
    library = Library()
    counter = energy._gpu(gpu, library)
    before = counter.now()
    assert before == [2.5]
    library.millijoules = 4000
    assert counter.since(before) == pytest.approx(1.5)
    library.counts = False
    assert counter.since(before) is None


@pytest.mark.parametrize(
    ("library", "reason"),
    [(Library(knows=b"GPU-5"), "GPU-1234"), (Library(counts=False), "no energy counter")],
)
def test_a_gpu_that_cannot_be_read_says_why(gpu: torch.device, library: Library, reason: str) -> None:
    counter = energy._gpu(gpu, library)
    assert isinstance(counter, EnergyCounter)
    assert counter.read is None
    assert reason in counter.what
