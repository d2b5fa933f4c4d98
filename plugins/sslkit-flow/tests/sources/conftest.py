"""Small data sets of flow in the layouts people use, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.contracts import FlowField
from sslkit_flow.formats.flo import write_flo
from sslkit_flow.formats.kitti_png import write_kitti
from sslkit_flow.formats.pfm import write_pfm

Put = Callable[..., Path]
_WRITERS = {".flo": write_flo, ".pfm": write_pfm}


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes a frame, flow (`flow` is its x everywhere) or an .npz file of `arrays` below the folder."""

    def write(
        name: str,
        *,
        flow: float | None = None,
        size: tuple[int, int] = (4, 6),
        arrays: dict[str, np.ndarray] | None = None,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrays is not None:
            np.savez(path, **arrays)  # type: ignore[arg-type]
        elif flow is None:
            Image.new("RGB", size[::-1], (90, 120, 60)).save(path)
        else:
            vectors = torch.zeros(2, *size)
            vectors[0] = flow
            _WRITERS.get(path.suffix, write_kitti)(path, FlowField(vectors))
        return path

    return write
