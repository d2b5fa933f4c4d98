"""The C library's memory allocator, told to keep what a training step frees for the next step."""

from __future__ import annotations

import contextlib
import ctypes

# Names of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Stop glibc from handing large freed blocks back to the system; whether it could be told so.

    By default every tensor above 32 MiB is mapped afresh, and the kernel clears each of its pages again in
    every step. Kept in the process the pages stay as they are, and a training step on a CPU is faster by the
    ratio `python tools/bench_allocator.py` prints. The process keeps its largest footprint until it ends.
    """
    with contextlib.suppress(OSError, AttributeError):  # no C library of that kind: nothing to tell
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_M_MMAP_THRESHOLD, 2**30) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
    return False
