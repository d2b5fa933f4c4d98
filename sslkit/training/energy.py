"""Energy that a device has used, read from its own counter where the machine has one and lets it be read."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of processors (Running Average Power Limit)."""


@dataclass(frozen=True)
class EnergyCounter:
    """Counters of a device in joules, each from 0 to where it starts anew; what: whose energy they count.

    read: None where there is no counter; `what` then says why.
    """

    what: str
    read: Callable[[], Sequence[float]] | None = None
    ends: Sequence[float] = ()

    def now(self) -> Sequence[float]:
        """The counters as they stand."""
        return self.read() if self.read is not None else ()

    def since(self, before: Sequence[float]) -> float | None:
        """Joules used since; None without a counter, or where it has not moved yet."""
        after = self.now()
        if len(after) != len(before):  # it could be read before, and no more
            return None
        ends = self.ends or (float("inf"),) * len(after)
        steps = (b - a if b >= a else end - a + b for a, b, end in zip(before, after, ends, strict=True))
        return sum(steps) or None


def energy_counter(device: torch.device) -> EnergyCounter:
    """The counter of a GPU, or of the processors of this machine; without one, `what` says why."""
    return _gpu(device) if device.type == "cuda" else _processors(POWERCAP)


def _processors(folder: Path) -> EnergyCounter:
    """Of whole packages: one folder each, `intel-rapl:0`, whose parts have a second number."""
    packages = sorted(path for path in folder.glob("intel-rapl:*") if path.name.count(":") == 1)
    files = [path / "energy_uj" for path in packages]
    if not files:
        return EnergyCounter(f"no energy counter under {folder}")

    def read() -> list[float]:
        return [int(file.read_text()) / 1e6 for file in files]

    try:
        read()
        ends = [int((path / "max_energy_range_uj").read_text()) / 1e6 for path in packages]
    except PermissionError:
        return EnergyCounter(f"{files[0]} may be read by root only; `sudo chmod o+r` lets others")
    except (OSError, ValueError) as error:
        return EnergyCounter(f"{files[0]} cannot be read: {error}")
    return EnergyCounter("processors with all that runs on them, RAPL", read, ends)


def _gpu(device: torch.device, library: Any = None) -> EnergyCounter:
    """NVIDIA's management library, which comes with the driver, counts millijoules since it was loaded."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1") if library is None else library
    except OSError as error:
        return EnergyCounter(f"the driver's management library cannot be loaded: {error}")
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    handle = ctypes.c_void_p()
    millijoules = ctypes.c_ulonglong()

    def read() -> list[float]:
        if nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)):
            return []
        return [millijoules.value / 1000]

    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)):
        return EnergyCounter(f"the driver's management library does not know {uuid}")
    if not read():
        return EnergyCounter("this GPU has no energy counter")
    return EnergyCounter("the GPU alone, NVML", read)
