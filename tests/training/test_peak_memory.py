"""The peak of memory is that of the work: what came before it, or is given back, is not counted."""

from __future__ import annotations

import platform
import resource
from pathlib import Path

import pytest
import torch

from sslkit.training import peak_memory
from sslkit.training.peak_memory import peak_of

CPU = torch.device("cpu")
MANY = 16_000_000
"""Float32 numbers of 64 MB, far more than what else may move meanwhile."""

LINUX = pytest.mark.skipif(not peak_memory.RESET.exists(), reason="Linux tells the peak of a stretch of time")


@LINUX
def test_the_peak_counts_what_is_alive_at_once() -> None:
    def one_after_the_other() -> None:
        for _ in range(3):
            torch.ones(MANY)

    def all_at_once() -> None:
        kept = [torch.ones(MANY) for _ in range(3)]
        del kept

    # On a busy machine the pages of a freed tensor may still be counted while the next one is written.
    peaks = [min(peak_of(work, CPU).bytes for _ in range(5)) for work in (one_after_the_other, all_at_once)]
    size = 4 * MANY
    assert peaks[0] == pytest.approx(size, abs=0.4 * size)
    assert peaks[1] == pytest.approx(3 * size, abs=0.4 * size)


@LINUX
def test_an_earlier_higher_peak_does_not_hide_the_work() -> None:
    torch.ones(4 * MANY)
    before = torch.ones(MANY)
    peak = peak_of(lambda: torch.ones(MANY), CPU)
    assert peak.bytes == pytest.approx(4 * MANY, abs=0.4 * 4 * MANY)
    assert "VmHWM" in peak.method
    assert len(before) == MANY


@LINUX
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="freed memory is given back by glibc alone")
def test_freed_memory_that_the_library_keeps_is_counted_when_it_is_used_again() -> None:
    small, many = 4000, MANY // 4000  # too small for pages of their own
    blocks = [torch.ones(small) for _ in range(many)]
    last = blocks[-1]  # what lies below it stays with the C library
    del blocks

    def again() -> None:
        kept = [torch.ones(small) for _ in range(many)]
        del kept

    assert peak_of(again, CPU).bytes == pytest.approx(4 * MANY, abs=0.4 * 4 * MANY)
    assert len(last) == small


@LINUX
def test_where_the_peak_cannot_be_set_back_only_a_new_record_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peak_memory, "RESET", tmp_path / "missing" / "clear_refs")
    done: list[object] = []
    torch.ones(2 * MANY)  # a record well above what is in use now
    nothing = peak_of(lambda: done.append(1), CPU)
    assert nothing.bytes is None
    assert "before" in nothing.method
    assert done == [1]
    record = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of its whole life, never set back

    def grow() -> None:
        # What the kernel counts of pages lags behind by some dozens, in each of its two figures.
        while peak_memory._status("VmRSS:") < record + 4 * MANY + (1 << 20):
            done.append(torch.ones(MANY))

    more = peak_of(grow, CPU)
    assert more.bytes is not None
    assert more.bytes >= 4 * MANY
    assert "ru_maxrss" in more.method
