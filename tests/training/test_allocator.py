"""Freed memory is kept: a second tensor of the same size costs no page faults."""

import subprocess
import sys

import pytest

from sslkit.training.allocator import keep_freed_memory

FAULTS = """
import resource, sys, torch
from sslkit.training.allocator import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(3)
torch.ones(2**24)  # 64 MiB, once to take and once to free
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode == 3:
        pytest.skip("this C library has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_kept_memory_is_used_again_without_page_faults() -> None:
    kept, plain = faults("keep"), faults("leave")
    assert kept < 100
    if plain < 100:
        pytest.skip("this system maps large blocks without page faults of its own accord")


def test_telling_twice_is_harmless() -> None:
    assert keep_freed_memory() == keep_freed_memory()
