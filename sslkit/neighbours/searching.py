"""FAISS's search of numpy arrays, whatever else in the process has changed about it."""

from __future__ import annotations

from typing import Any


def search_numpy(index: Any) -> Any:
    """The index's own `search`.

    Importing `faiss.contrib.torch_utils`, as pytorch-metric-learning does, puts one in its place for all of
    the process that takes no search parameters, and keeps the first under another name.
    """
    return getattr(index, "search_numpy", index.search)
