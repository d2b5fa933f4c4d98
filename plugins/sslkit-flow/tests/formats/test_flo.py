"""Middlebury's .flo: what is written is read, by torchvision too; what is wrong is named."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets._optical_flow import _read_flo

from sslkit.contracts import FlowField
from sslkit.errors import DataError
from sslkit_flow.formats.flo import flo_size, read_flo, write_flo


def field(height: int = 3, width: int = 5) -> FlowField:
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand(height, width, generator=generator) < 0.7
    valid[0, 0], valid[1, 1] = True, False
    return FlowField(torch.randn(2, height, width, generator=generator) * 20 * valid, valid)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, given = tmp_path / "a.flo", field()
    write_flo(path, given)
    found = read_flo(path)
    assert flo_size(path) == (3, 5)
    assert torch.equal(found.vectors, given.vectors)
    assert found.valid is not None
    assert torch.equal(found.valid, given.valid)
    assert (found.vectors.dtype, found.valid.dtype) == (torch.float32, torch.bool)


def test_torchvision_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.flo"
    write_flo(path, FlowField(field().vectors))
    assert np.array_equal(_read_flo(str(path)), read_flo(path).vectors.numpy())


def test_the_bytes_are_those_of_the_description(tmp_path: Path) -> None:
    path = tmp_path / "a.flo"
    path.write_bytes(b"PIEH" + struct.pack("<ii4f", 2, 1, 1.5, -2.0, 3.0, 1e10))
    found = read_flo(path)
    assert found.vectors.tolist() == [[[1.5, 0.0]], [[-2.0, 0.0]]]
    assert found.valid is not None
    assert found.valid.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (b"", "has 0 bytes; the header alone takes 12"),
        (
            struct.pack("<fii", 1.0, 1, 1) + bytes(8),
            r"begins with 1\.0 .* begins with 202021\.25 \(b'PIEH'\)",
        ),
        (struct.pack(">fii", 202021.25, 1, 1) + bytes(8), r"\(b'HEIP'\)"),
        (struct.pack("<fii", 202021.25, 0, 1), "says that it is 0 x 1 pixels"),
        (struct.pack("<fii", 202021.25, 4, 3) + bytes(95), "has 107 bytes; flow of 4 x 3 pixels takes 108"),
        (struct.pack("<fii", 202021.25, 4, 3) + bytes(97), "has 109 bytes"),
        (
            struct.pack("<fii4f", 202021.25, 2, 1, 0, 0, float("nan"), float("inf")),
            "1 vectors that are NaN or infinite, the first at row 0, column 1",
        ),
    ],
)
def test_each_fault_is_named(tmp_path: Path, encoded: bytes, said: str) -> None:
    path = tmp_path / "a.flo"
    path.write_bytes(encoded)
    with pytest.raises(DataError, match=said):
        read_flo(path)
