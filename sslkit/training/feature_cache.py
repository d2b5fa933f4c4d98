"""What a frozen backbone made of each training sample, kept so that it is computed once.

The maps lie in one file each, memory-mapped: the system keeps in memory what fits, and the rest on the disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sslkit.contracts import FeatureMap, HeadFeatures, Meta, Target
from sslkit.errors import ConfigError


@dataclass
class FeatureCache:
    """Features of up to `count` samples in the number format they came in; folder: where the files are."""

    folder: Path
    count: int
    _columns: list[Tensor] = field(default_factory=list)
    _strides: tuple[tuple[int, int], ...] = ()  # of each map: of its cells, of its frames
    _canvas: tuple[int, int] = (0, 0)
    _kept: dict[int, tuple[int, Meta, Target]] = field(default_factory=dict)

    def put(self, features: HeadFeatures, targets: Sequence[Target]) -> None:
        """Keep a batch of samples, each under its `Meta.id`."""
        parts = [part.values for part in features.maps]
        if features.vector is not None:
            parts.append(features.vector)
        if not self._columns:
            self._canvas = features.canvas
            self._strides = tuple((part.stride, part.temporal_stride) for part in features.maps)
            self._columns = [self._file(place, part) for place, part in enumerate(parts)]
        start, stop = len(self._kept), len(self._kept) + len(features.metas)
        for column, part in zip(self._columns, parts, strict=True):
            column[start:stop] = part.detach().cpu()
        for row, (meta, target) in enumerate(zip(features.metas, targets, strict=True), start=start):
            self._kept[meta.id] = (row, meta, target)

    def __len__(self) -> int:
        return len(self._kept)

    def batch(self, ids: Sequence[int], device: torch.device) -> tuple[HeadFeatures, tuple[Any, ...]]:
        """Features and targets of samples, on a device; those that could not be decoded are left out."""
        rows, metas, targets = zip(*(self._kept[id] for id in ids if id in self._kept), strict=True)
        values = [column[torch.tensor(rows)].to(device) for column in self._columns]
        maps = tuple(FeatureMap(part, *strides) for part, strides in zip(values, self._strides, strict=False))
        vector = values[-1] if len(values) > len(maps) else None
        there = tuple(target.to(device) if hasattr(target, "to") else target for target in targets)
        return HeadFeatures(vector, maps, self._canvas, metas), there

    def close(self) -> None:
        """Let go of the files and delete them."""
        self._columns.clear()
        for path in self.folder.glob("features-*.bin"):
            path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _file(self, place: int, example: Tensor) -> Tensor:
        shape = (self.count, *example.shape[1:])
        size = self.count * example[0].numel()
        path = self.folder / f"features-{place}.bin"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder).free < size * example.element_size():
                raise OSError("the disk has less room")
            flat = torch.from_file(str(path), shared=True, size=size, dtype=example.dtype)
        except (OSError, RuntimeError) as error:
            gigabytes = size * example.element_size() / 1e9
            raise ConfigError(
                f"features of {self.count} samples need {gigabytes:.1f} GB at {path} ({error}); make room, "
                "or set training.cache=false"
            ) from error
        return flat.view(shape)
