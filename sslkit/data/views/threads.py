"""Independent rows on the threads torch may use.

An image at a time stays in a core's own cache, but torch's threads split one operation, not a list of them.
So rows are dealt to threads of our own, each of which computes alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock
from typing import TypeVar

import torch

T = TypeVar("T")

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = Lock()


def in_parallel(work: Callable[[int], None], count: int) -> None:
    """Call work(0) to work(count - 1), each once, on as many threads as `torch.get_num_threads()` says.

    The order is free, and the result must not depend on it. What a call raises is raised here.
    """
    allowed = torch.get_num_threads()
    threads = max(1, min(allowed, count))

    def share(first: int) -> None:
        with torch.no_grad():  # a setting of each thread by itself
            for number in range(first, count, threads):
                work(number)

    # Alone even one row goes to a thread of its own: torch must not split its sums.
    if allowed == 1:
        share(0)
    else:
        list(_pool(allowed).map(share, range(threads)))


def alone(work: Callable[[], T]) -> T:
    """What work() gives, computed in a thread whose operations torch does not split.

    For many operations on a few numbers: handing halves of 256 cosines to two threads took 0.8 ms.
    """
    allowed = torch.get_num_threads()
    if allowed == 1:
        return work()
    return _pool(allowed).submit(torch.no_grad()(work)).result()


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads in which torch does not split operations any further."""
    with _lock:
        if threads not in _pools:
            all_here = Barrier(threads)

            def alone() -> None:
                torch.get_num_threads()  # a thread's first question sets its answer to everybody's
                torch.set_num_threads(1)
                all_here.wait()

            pool = ThreadPoolExecutor(threads, thread_name_prefix="views")
            for started in [pool.submit(alone) for _ in range(threads)]:
                started.result()
            # The setting belongs to each thread, but the latest is also what new threads begin with.
            torch.set_num_threads(threads)
            _pools[threads] = pool
        return _pools[threads]


def _forget() -> None:
    """A forked process has none of its parent's threads."""
    global _lock
    _lock = Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
