"""The most memory that a piece of work takes beyond what was in use before it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
"""Writing 5 here sets the peak of resident memory back to what is resident now (proc(5), since Linux 4.0)."""


@dataclass(frozen=True)
class Peak:
    """bytes: None where it cannot be read here; method: how it was read, or why it could not be."""

    bytes: int | None
    method: str


def peak_of(work: Callable[[], object], device: torch.device) -> Peak:
    """Do some work once and say how much memory it took at its peak, beyond what was in use before.

    On a GPU of tensors, as torch allocated them. On the CPU of the process: Linux tells the peak of any
    stretch of time, other systems that of the whole life of the process, which the work must exceed to be
    seen. Work that was done before brings in no library and shows what each further pass takes.
    """
    if device.type == "cuda":
        return _allocated(work, device)
    _give_back()
    try:
        RESET.write_text("5")
        before = _status("VmRSS:")
    except (OSError, ValueError):
        return _of_life(work)
    work()
    return Peak(max(0, _status("VmHWM:") - before), "resident memory, VmHWM")


def _allocated(work: Callable[[], object], device: torch.device) -> Peak:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return Peak(torch.cuda.max_memory_allocated(device) - before, "allocated by torch on the GPU")


def _of_life(work: Callable[[], object]) -> Peak:
    try:
        import resource  # not on Windows
    except ImportError:
        work()
        return Peak(None, "this system does not tell the peak of a process")
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    more = unit * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if more == 0:
        return Peak(None, "less than the process had taken before, which is all that ru_maxrss tells")
    return Peak(more, "at least, by ru_maxrss")


def _status(name: str) -> int:
    """Bytes behind a name in the status of this process; ValueError when it is not there."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(name):
            return 1024 * int(line.split()[1])
    raise ValueError(f"{STATUS} has no {name}")


def _give_back() -> None:
    """Have the C library return freed memory, which would else hide what comes to lie in it again."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # not glibc
        return
