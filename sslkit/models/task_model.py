"""A backbone under a head: what is trained and what predicts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from sslkit.contracts import (
    BackboneLike,
    FeatureInfo,
    FeatureMap,
    Head,
    HeadFeatures,
    HeadSpec,
    Meta,
    seen_by,
)
from sslkit.models.modes import Mode, evaluating, keep_frozen_still, set_mode


class TaskModel(nn.Module):
    """Backbone and head as one module, so that a distributed wrapper sees every parameter that trains.

    mode: what of the backbone trains. Parameters of the backbone that no wanted feature depends on, such as
    the norm of a classifier, are frozen too. Pixels are uint8, or already normalised.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, *, mode: str) -> None:
        super().__init__()
        self.backbone, self.head, self.mode = backbone, head, Mode(mode)
        set_mode(backbone, self.mode)
        if not self.mode.frozen:
            self._freeze_unreached()
        self.train(self.training)

    @property
    def spec(self) -> HeadSpec:
        """What the head asks for."""
        return cast(Head, self.head).spec

    def forward(
        self, seen: Tensor | HeadFeatures, metas: Sequence[Meta], targets: Sequence[Any]
    ) -> dict[str, Tensor]:
        """The losses of a batch of pixels, or of its features, such as those of a cache."""
        return self.losses(seen if isinstance(seen, HeadFeatures) else self.features(seen, metas), targets)

    def losses(self, features: HeadFeatures, targets: Sequence[Any]) -> dict[str, Tensor]:
        """The losses of features; under autocast the head's layers run in it, its loss in float32."""
        head = cast(Head, self.head)
        raw = head.forward(features)
        with torch.autocast(_device(features).type, enabled=False):
            return head.loss(_full_precision(raw), targets)

    @torch.no_grad()
    def predict(self, pixels: Tensor, metas: Sequence[Meta]) -> list[Any]:
        """Predictions in pixels of the originals."""
        return self.decode(self.features(pixels, metas))

    @torch.no_grad()
    def decode(self, features: HeadFeatures) -> list[Any]:
        """Predictions of features, in pixels of the originals."""
        head = cast(Head, self.head)
        raw = head.forward(features)
        with torch.autocast(_device(features).type, enabled=False):
            return head.decode(_full_precision(raw), features.metas)

    def features(self, pixels: Tensor, metas: Sequence[Meta]) -> HeadFeatures:
        """What the head sees of pixels (N, C, H, W), of pairs and clips (N, T, C, H, W)."""
        network = cast(BackboneLike, self.backbone)
        pixels = self._normalised(pixels, metas)
        with torch.no_grad() if self.mode.frozen else nullcontext():
            vector: Tensor | None = None
            maps: tuple[FeatureMap, ...] = ()
            if self.spec.features == "vector":
                vector = network(pixels) if pixels.dim() == 4 else network.embed_frames(pixels)
            else:
                maps = _maps(network, self.spec, pixels)
        height, width = pixels.shape[-2:]
        return HeadFeatures(vector, maps, (height, width), tuple(metas), pixels)

    def train(self, mode: bool = True) -> TaskModel:
        """Training mode for what trains; the frozen part of the backbone stays in eval mode."""
        super().train(mode)
        if mode:
            keep_frozen_still(self.backbone)
        return self

    def _normalised(self, pixels: Tensor, metas: Sequence[Meta]) -> Tensor:
        """uint8 to what the backbone expects, zero in the padding; floats are taken as they are."""
        if pixels.dtype != torch.uint8:
            return pixels
        info = cast(BackboneLike, self.backbone).info
        mean, std = (pixels.new_tensor(v, dtype=torch.float32).view(-1, 1, 1) for v in (info.mean, info.std))
        images = (pixels.float() / 255 - mean) / std
        for image, meta in zip(images, metas, strict=True):
            image[..., meta.valid[0] :, :] = 0
            image[..., meta.valid[1] :] = 0
        return images

    def _freeze_unreached(self) -> None:
        """Freeze what gets no gradient, found by one small step backwards; nothing else changes."""
        info = cast(BackboneLike, self.backbone).info
        parameters = [p for p in self.backbone.parameters() if p.requires_grad]
        side = max(info.minimum_side, 2 * info.size_divisor)
        size = getattr(self.backbone, "fixed_size", None) or (side, side)
        first = parameters[0]
        frames = {"image": (), "pair": (2,), "clip": (16,)}[self.spec.input]
        blank = torch.zeros(2, *frames, len(info.mean), *size, device=first.device, dtype=first.dtype)
        with evaluating(self.backbone), torch.enable_grad():
            meta = Meta(0, "", size, size, size)
            features = self.features(blank, [meta, meta])
            values = [part.values for part in features.maps]
            if features.vector is not None:
                values.append(features.vector)
            total = sum((value.sum() for value in values), torch.zeros((), device=first.device))
            slopes = torch.autograd.grad(total, parameters, allow_unused=True)
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.requires_grad_(slope is not None)


def offered(backbone: BackboneLike, spec: HeadSpec) -> FeatureInfo:
    """What a head of this spec is built for on this backbone."""
    return seen_by(spec, backbone.info)


def _maps(backbone: BackboneLike, spec: HeadSpec, pixels: Tensor) -> tuple[FeatureMap, ...]:
    names = offered(backbone, spec).names
    maps = backbone.feature_maps(pixels)
    return tuple(maps[name] for name in names)


def _device(features: HeadFeatures) -> torch.device:
    return features.maps[0].values.device if features.maps else cast(Tensor, features.vector).device


def _full_precision(raw: Any) -> Any:
    """The same with every half-precision tensor in float32, whatever they are kept in."""
    if isinstance(raw, Tensor):
        return raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw
    if isinstance(raw, dict):
        return {key: _full_precision(value) for key, value in raw.items()}
    if isinstance(raw, tuple) and hasattr(raw, "_fields"):
        return type(raw)(*map(_full_precision, raw))
    if isinstance(raw, list | tuple):
        return type(raw)(map(_full_precision, raw))
    if is_dataclass(raw) and not isinstance(raw, type):
        return replace(raw, **{one.name: _full_precision(getattr(raw, one.name)) for one in fields(raw)})
    return raw
