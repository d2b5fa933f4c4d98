"""`sslkit data inspect`: what was found, before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

from sslkit.data.inspection import Inspection, inspect_source
from sslkit.registry import open_source


def inspect(data: str | Path, *, channels: int = 3) -> Inspection:
    """Count and sample a data set; raises DataError when there is nothing to look at."""
    return inspect_source(open_source(str(data)), channels=channels)
