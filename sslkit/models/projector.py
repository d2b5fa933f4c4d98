"""Projectors and predictors, the perceptrons used only while pretraining, and views put through them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings
from sslkit.errors import ConfigError

Norm = Literal["batch", "layer", "none"]


class Projector(nn.Module):
    """Linear layers with a norm and ReLU between them: (N, inputs) to (N, outputs).

    layers: number of linear layers, at least 1. norm: between layers; with "layer" or "none" what a row gives
    does not depend on other rows. last_norm: whether the output is batch-normalised too, without affine
    parameters, as in the SimCLR and SimSiam codes (Chen et al. 2020; Chen and He 2021).
    Raises ConfigError for fewer than one layer or an unknown norm.
    """

    def __init__(
        self,
        inputs: int,
        *,
        hidden: int,
        outputs: int,
        layers: int = 2,
        norm: Norm = "batch",
        last_norm: bool = False,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"a projector of {layers} layers was asked for; at least 1 is needed")
        if norm not in ("batch", "layer", "none"):
            raise ConfigError(f"a projector's norm is batch, layer or none, not {norm!r}")
        parts: list[nn.Module] = []
        width = inputs
        for _ in range(layers - 1):
            parts += [
                nn.Linear(width, hidden, bias=norm == "none"),
                *_norm(norm, hidden),
                nn.ReLU(inplace=True),
            ]
            width = hidden
        parts.append(nn.Linear(width, outputs, bias=not last_norm))
        if last_norm:
            parts.append(nn.BatchNorm1d(outputs, affine=False))
        self.layers = nn.Sequential(*parts)

    def forward(self, embedding: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        projected: Tensor = self.layers(embedding)
        return projected


def embed_views(backbone: BackboneLike, projector: nn.Module, views: Sequence[Tensor]) -> Embeddings:
    """Views, each (N, C, H, W), through backbone and projector: outputs (N, P) each.

    Neighbouring views of one size share a forward pass, so that BatchNorm sees them together.
    """
    embeddings: list[Tensor] = []
    for _, alike in groupby(views, key=lambda view: view.shape[2:]):
        together = list(alike)
        embeddings += backbone(torch.cat(together)).chunk(len(together))
    return Embeddings(embeddings[0].detach(), projector(torch.cat(embeddings)).chunk(len(views)))


def _norm(norm: Norm, width: int) -> list[nn.Module]:
    if norm == "none":
        return []
    return [nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width)]
