"""Dealing rows to threads: each once, alone with its sums, errors told, forks and settings unharmed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from threading import get_ident

import pytest
import torch

from sslkit.data.views.threads import in_parallel


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_each_row_is_worked_on_once(threads: int, count: int) -> None:
    seen: list[tuple[int, int]] = []
    in_parallel(lambda number: seen.append((number, get_ident())), count)
    assert sorted(number for number, _ in seen) == list(range(count))
    assert len({thread for _, thread in seen}) <= min(threads, max(1, count))


def test_work_is_alone_and_without_gradients_and_the_setting_stays(threads: int) -> None:
    seen: list[tuple[int, bool]] = []
    in_parallel(lambda _: seen.append((torch.get_num_threads(), torch.is_grad_enabled())), 6)
    assert seen == [(1, False)] * 6
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_what_work_raises_is_raised(threads: int) -> None:
    def fail(number: int) -> None:
        if number == 3:
            raise KeyError("three")

    with pytest.raises(KeyError, match="three"):
        in_parallel(fail, 5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        in_parallel(lambda _: None, 4)
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # waiting for threads that are not there would take for ever
            seen: list[int] = []
            in_parallel(seen.append, 4)
            os._exit(0 if sorted(seen) == [0, 1, 2, 3] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        torch.set_num_threads(before)
