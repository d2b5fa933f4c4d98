"""KITTI's 16-bit PNG: all 16 bits are read, as torchvision reads them; damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.contracts import FlowField
from sslkit.errors import DataError
from sslkit_flow.formats.kitti_png import kitti_size, read_kitti, write_kitti


def field(height: int = 7, width: int = 9) -> FlowField:
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand(height, width, generator=generator) < 0.5
    steps = torch.randint(-20000, 20000, (2, height, width), generator=generator)
    return FlowField(steps / 64 * valid, valid)


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    path, given = tmp_path / "a.png", field()
    write_kitti(path, given)
    found = read_kitti(path)
    assert kitti_size(path) == (7, 9)
    assert torch.equal(found.vectors, given.vectors)
    assert found.valid is not None
    assert torch.equal(found.valid, given.valid)


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
def test_torchvision_reads_the_same(tmp_path: Path) -> None:
    from torchvision.datasets._optical_flow import _read_16bits_png_with_flow_and_valid_mask as oracle

    path = tmp_path / "a.png"
    write_kitti(path, field())
    vectors, valid = oracle(str(path))
    found = read_kitti(path)
    assert found.valid is not None
    assert np.array_equal(valid, found.valid.numpy())
    assert np.array_equal(vectors * valid, found.vectors.numpy())


def test_displacements_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="-512 to below 512 pixels"):
        write_kitti(tmp_path / "a.png", FlowField(torch.full((2, 1, 1), 512.0)))
    write_kitti(tmp_path / "a.png", FlowField(torch.full((2, 1, 1), -512.0)))
    assert read_kitti(tmp_path / "a.png").vectors.flatten().tolist() == [-512.0, -512.0]


def test_other_pngs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 3)).save(path)
    with pytest.raises(DataError, match="PNG of 8 bits, colour type 2; KITTI's flow has 16 bits RGB"):
        read_kitti(path)
    Image.fromarray(np.zeros((3, 4), np.uint16)).save(path)
    with pytest.raises(DataError, match="16 bits, colour type 0"):
        kitti_size(path)
    path.write_bytes(b"GIF89a")
    with pytest.raises(DataError, match="begins with b'GIF89a'"):
        kitti_size(path)


@pytest.mark.parametrize("kept", [20, 60, -30])
def test_a_cut_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.png"
    write_kitti(path, field(40, 50))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"is damaged|the header alone takes"):
        read_kitti(path)
