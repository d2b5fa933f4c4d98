"""The hooks through which every name a recipe may use comes in, built-ins included.

A plugin is a light module (it must not import torch) named by an entry point in the group `sslkit.plugins`:

    from sslkit.hookspecs import hookimpl

    SSLKIT_API = 1

    @hookimpl
    def sslkit_objectives() -> dict[str, str]:
        return {"my_objective": "my_package.my_objective:MyObjective"}

Each hook maps names to "module:object", imported only when the name is used. A name already taken is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import pluggy

PROJECT: Final = "sslkit"
ENTRY_POINT_GROUP: Final = "sslkit.plugins"
API_VERSION: Final = 1
"""What a plugin declares as SSLKIT_API; it changes when a hook or a contract changes incompatibly."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Kind = Literal["objective", "source", "view_policy", "head"]

HOOKS: Final[Mapping[Kind, str]] = {
    "objective": "sslkit_objectives",
    "source": "sslkit_sources",
    "view_policy": "sslkit_view_policies",
    "head": "sslkit_heads",
}
"""Which hook registers the names of which kind."""


@hookspec
def sslkit_objectives() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Objectives: classes built as `Objective(backbone, **options)`, see `sslkit.contracts.Objective`."""


@hookspec
def sslkit_sources() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Sources: callables from an address and options to a `sslkit.contracts.Source`."""


@hookspec
def sslkit_view_policies() -> Mapping[str, str]:  # type: ignore[empty-body]
    """View policies: callables `(*, size, mean, std, **options)` to a `sslkit.contracts.Views`."""


@hookspec
def sslkit_heads() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Heads that judge a backbone on a task, see `sslkit.contracts.Head`."""
