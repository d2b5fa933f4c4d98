"""A folder of results is written by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sslkit.errors import RunError


@contextmanager
def working_alone(folder: Path) -> Iterator[None]:
    """Refuse, by RunError, a folder that another process works in; one that dies lets go.

    Where files cannot be locked, as on some network disks, nothing is refused.
    """
    file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"another process works in {folder}; wait for it or stop it, or choose another --out"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(file)
