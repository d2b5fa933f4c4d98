"""The hooks through which every name a recipe may use comes in, built-ins included.

A plugin is a light module (it must not import torch) named by an entry point in the group `sslkit.plugins`:

    from sslkit.hookspecs import hookimpl

    SSLKIT_API = 1

    @hookimpl
    def sslkit_objectives() -> dict[str, str]:
        return {"my_objective": "my_package.my_objective:MyObjective"}

Each hook maps names to "module:object", imported only when the name is used. Every name is also known as
PLUGIN:NAME, plugin being the entry point's name; docs/plugins.md says which one the short name means.
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

Kind = Literal[
    "objective", "source", "view_policy", "network", "backbone_transform", "head", "probe", "protocol", "task"
]

HOOKS: Final[Mapping[Kind, str]] = {
    "objective": "sslkit_objectives",
    "source": "sslkit_sources",
    "view_policy": "sslkit_view_policies",
    "network": "sslkit_networks",
    "backbone_transform": "sslkit_backbone_transforms",
    "head": "sslkit_heads",
    "probe": "sslkit_probes",
    "protocol": "sslkit_protocols",
    "task": "sslkit_tasks",
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
def sslkit_networks() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Networks besides timm's: functions `(*, pretrained, **options)` to a network with timm's interface."""


@hookspec
def sslkit_backbone_transforms() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Transforms: functions `(network, **options)` to a network, such as one that looks along time."""


@hookspec
def sslkit_heads() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Heads: classes built as `Head(info, task, **options)`, see `sslkit.contracts.Head`."""


@hookspec
def sslkit_probes() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Probes of embeddings: classes built as `Probe(**options)`, see `sslkit.contracts.Probe`."""


@hookspec
def sslkit_protocols() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Protocols: "package:folder/file.yaml", a file inside an installed package."""


@hookspec
def sslkit_tasks() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Tasks of every transfer matrix: objects, see `sslkit.contracts.TransferTask`."""
