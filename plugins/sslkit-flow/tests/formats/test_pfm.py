"""Portable float maps: both byte orders, rows from the bottom, as torchvision reads them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets.utils import _read_pfm

from sslkit.contracts import FlowField
from sslkit.errors import DataError
from sslkit_flow.formats.pfm import pfm_size, read_pfm, write_pfm


@pytest.mark.parametrize("little_endian", [True, False])
def test_what_is_written_is_read_by_torchvision_too(tmp_path: Path, little_endian: bool) -> None:
    path, vectors = tmp_path / "a.pfm", torch.randn(2, 3, 5)
    write_pfm(path, FlowField(vectors), little_endian=little_endian)
    found = read_pfm(path)
    assert pfm_size(path) == (3, 5)
    assert torch.equal(found.vectors, vectors)
    assert found.valid is not None
    assert bool(found.valid.all())
    assert np.array_equal(_read_pfm(str(path)), vectors.numpy())


def test_rows_lie_from_the_bottom_and_the_third_channel_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.pfm"
    path.write_bytes(b"PF\n1 2\n-1.0\n" + struct.pack("<6f", 1, 2, float("nan"), 3, 4, 9))
    assert read_pfm(path).vectors.tolist() == [[[3.0], [1.0]], [[4.0], [2.0]]]


def test_what_is_not_known_stays_so(tmp_path: Path) -> None:
    path, valid = tmp_path / "a.pfm", torch.tensor([[True, False]])
    write_pfm(path, FlowField(torch.ones(2, 1, 2), valid))
    found = read_pfm(path)
    assert found.valid is not None
    assert torch.equal(found.valid, valid)


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (b"", "begins with b''"),
        (b"P6\n1 1\n255\n123", "begins with b'P6"),
        (b"Pf\n1 1\n-1\n" + bytes(4), "map of one channel"),
        (b"PF\n1 1\n0.0\n" + bytes(12), "scale '0.0'; none of them can be 0"),
        (b"PF\n0 1\n-1.0\n", "says 0 x 1 pixels"),
        (b"PF\n2 1\n-1.0\n" + bytes(23), "has 35 bytes; flow of 2 x 1 pixels takes 36"),
        (b"PF\n1 1\n1.0\n" + struct.pack(">3f", float("inf"), 0, 0), "row 0, column 0"),
    ],
)
def test_each_fault_is_named(tmp_path: Path, encoded: bytes, said: str) -> None:
    path = tmp_path / "a.pfm"
    path.write_bytes(encoded)
    with pytest.raises(DataError, match=said):
        read_pfm(path)
