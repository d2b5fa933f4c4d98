"""Files of flow by their ending."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sslkit.contracts import FlowField
from sslkit.errors import DataError
from sslkit_flow.formats.flo import write_flo
from sslkit_flow.formats.flow_files import flow_size, read_flow
from sslkit_flow.formats.kitti_png import write_kitti
from sslkit_flow.formats.pfm import write_pfm


@pytest.mark.parametrize(
    ("name", "write"), [("a.flo", write_flo), ("b.PFM", write_pfm), ("c.png", write_kitti)]
)
def test_all_formats_hold_the_same(
    tmp_path: Path, name: str, write: Callable[[Path, FlowField], None]
) -> None:
    vectors = torch.arange(2 * 3 * 4).reshape(2, 3, 4) / 64
    write(tmp_path / name, FlowField(vectors))
    found = read_flow(str(tmp_path / name))
    assert torch.equal(found.vectors, vectors)
    assert found.valid is not None
    assert bool(found.valid.all())
    assert flow_size(tmp_path / name) == (3, 4)


@pytest.mark.parametrize("read", [read_flow, flow_size])
def test_errors_name_the_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(DataError, match=r"a\.mat: is no file of flow; they end in \.flo, \.pfm, \.png"):
        read(tmp_path / "a.mat")
    with pytest.raises(DataError, match=r"a\.flo: no such file"):
        read(tmp_path / "a.flo")
    (tmp_path / "a.flo").write_bytes(b"PIEH")
    with pytest.raises(DataError, match=r"a\.flo: has 4 bytes"):
        read(tmp_path / "a.flo")
    (tmp_path / "b.flo").mkdir()
    with pytest.raises(DataError, match=r"b\.flo: cannot be read"):
        read(tmp_path / "b.flo")
