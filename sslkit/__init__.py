"""sslkit: self-supervised representation learning for images. Pretrain, evaluate, search."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sslkit.version import __version__

if TYPE_CHECKING:
    from sslkit.config import Recipe, load_recipe
    from sslkit.errors import SslkitError
    from sslkit.registry import open_source
    from sslkit.retrieval.artifact import Index
    from sslkit.retrieval.filters import Where
    from sslkit.runs.backbones import load_backbone
    from sslkit.runs.embed import embed
    from sslkit.runs.evaluate import evaluate
    from sslkit.runs.index import add_to_index, build_index
    from sslkit.runs.mine import mine
    from sslkit.runs.pretrain import pretrain, resume
    from sslkit.runs.profile import profile
    from sslkit.runs.search import search
    from sslkit.runs.transfer import transfer

# Importing sslkit does no work: a name is fetched from its home when it is first used.
_HOMES = {
    "Index": "sslkit.retrieval.artifact",
    "Recipe": "sslkit.config",
    "SslkitError": "sslkit.errors",
    "Where": "sslkit.retrieval.filters",
    "add_to_index": "sslkit.runs.index",
    "build_index": "sslkit.runs.index",
    "embed": "sslkit.runs.embed",
    "evaluate": "sslkit.runs.evaluate",
    "load_backbone": "sslkit.runs.backbones",
    "load_recipe": "sslkit.config",
    "mine": "sslkit.runs.mine",
    "open_source": "sslkit.registry",
    "pretrain": "sslkit.runs.pretrain",
    "profile": "sslkit.runs.profile",
    "resume": "sslkit.runs.pretrain",
    "search": "sslkit.runs.search",
    "transfer": "sslkit.runs.transfer",
}

__all__ = [
    "Index",
    "Recipe",
    "SslkitError",
    "Where",
    "__version__",
    "add_to_index",
    "build_index",
    "embed",
    "evaluate",
    "load_backbone",
    "load_recipe",
    "mine",
    "open_source",
    "pretrain",
    "profile",
    "resume",
    "search",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sslkit' has no attribute '{name}'; it offers {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
