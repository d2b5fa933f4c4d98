"""The names this package adds to sslkit; light, so that listing plugins loads no torch."""

from __future__ import annotations

from sslkit.hookspecs import hookimpl

SSLKIT_API = 1


@hookimpl
def sslkit_heads() -> dict[str, str]:
    """One file per head in `heads/`."""
    return {
        "flownet_c": "sslkit_flow.heads.flownet_c:FlowNetC",
        "flownet_s": "sslkit_flow.heads.flownet_s:FlowNetS",
        "flownet_s_stacked": "sslkit_flow.heads.flownet_s_stacked:StackedFlowNetS",
        "matching": "sslkit_flow.heads.matching:Matching",
        "raft": "sslkit_flow.heads.raft:RAFT",
    }


@hookimpl
def sslkit_sources() -> dict[str, str]:
    """One file per place where pairs with flow live in `sources/`."""
    return {
        "flow": "sslkit_flow.sources.flow_folder:FlowFolderSource",
        "flying-shapes": "sslkit_flow.sources.flying_shapes:FlyingShapesSource",
    }


@hookimpl
def sslkit_protocols() -> dict[str, str]:
    """One file per way of measuring in `protocols/`."""
    return {
        "flow-procedural": "sslkit_flow:protocols/flow-procedural.yaml",
        "flownet-c-finetune": "sslkit_flow:protocols/flownet-c-finetune.yaml",
        "flownet-s-finetune": "sslkit_flow:protocols/flownet-s-finetune.yaml",
        "flownet-s-frozen": "sslkit_flow:protocols/flownet-s-frozen.yaml",
        "flownet-s-stacked": "sslkit_flow:protocols/flownet-s-stacked.yaml",
        "matching": "sslkit_flow:protocols/matching.yaml",
        "raft-finetune": "sslkit_flow:protocols/raft-finetune.yaml",
        "raft-finetune-gpu": "sslkit_flow:protocols/raft-finetune-gpu.yaml",
        "raft-frozen": "sslkit_flow:protocols/raft-frozen.yaml",
    }


@hookimpl
def sslkit_tasks() -> dict[str, str]:
    """Tasks of every transfer matrix."""
    return {"flow": "sslkit_flow.tasks:FLOW"}
