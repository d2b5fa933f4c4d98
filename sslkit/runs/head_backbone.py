"""The backbone a head is trained on: a copy for its canvas, changed as the protocol says."""

from __future__ import annotations

import copy

import torch

from sslkit.config.head_training import HeadTraining
from sslkit.errors import ModelError
from sslkit.evaluation.protocols import Protocol
from sslkit.models.backbone import Backbone
from sslkit.models.canvas import for_canvas
from sslkit.models.creation import transformed
from sslkit.runs.backbones import transforms_of
from sslkit.runs.embedder import Embedder
from sslkit.training.precision import Layout, choose_layout


def changed_backbone(embedder: Embedder, plan: HeadTraining, protocol: Protocol, *, seed: int) -> Backbone:
    """A copy of the backbone for the protocol's canvas, with its transforms made; new weights by the seed.

    A transform that the backbone has already, with the same options, is not made again. Raises ModelError
    for one with others.
    """
    backbone = for_canvas(copy.deepcopy(embedder.backbone), plan.size)
    there = {_short(one.name): dict(one.options) for one in backbone.architecture.transforms}
    wanted = {}
    for name, options in (protocol.backbone or {}).items():
        own = there.get(_short(name))
        if own is not None and own != dict(options):
            raise ModelError(
                f"the backbone has {name} with {own}, protocol {protocol.id} asks for {dict(options)}; "
                "give the same, or backbone={} to take the backbone as it is"
            )
        if own is None:
            wanted[name] = options
    torch.manual_seed(seed)
    return transformed(backbone, transforms_of(wanted)).to(embedder.device)


def head_layout(embedder: Embedder, plan: HeadTraining, protocol: Protocol) -> Layout:
    """The number format and memory layout that are fastest here, the same for all trainings."""
    return choose_layout(
        changed_backbone(embedder, plan, protocol, seed=0),
        precision="auto",
        channels_last="auto",
        size=min(plan.size),
        batch=plan.batch,
        device=embedder.device,
        frames=plan.clip.frames if plan.clip else 1,
    )


def _short(name: str) -> str:
    return name.rpartition(":")[2]
