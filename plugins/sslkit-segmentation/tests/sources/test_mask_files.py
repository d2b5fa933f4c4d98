"""Mask files of every kind, and damaged ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import DataError
from sslkit_segmentation.sources.mask_files import read_colours, read_header, read_ids

Put = Callable[..., Path]
IDS = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 0, 255]], np.uint8)


def indexed(ids: np.ndarray) -> Image.Image:
    """A palette image whose colours have nothing to do with its ids."""
    image = Image.fromarray(ids, mode="P")
    image.putpalette([(7 * place + 13) % 256 for place in range(768)])
    return image


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_greys_and_indices_are_ids(put: Put, name: str) -> None:
    assert read_ids(put(name, IDS)).tolist() == IDS.tolist()
    if name != "a.bmp":
        found = read_ids(put(f"p_{name}", indexed(IDS)))
        assert found.tolist() == IDS.tolist()
        assert found.dtype == np.uint8


def test_indices_are_never_their_colours(put: Put) -> None:
    path = put("a.png", indexed(IDS))
    with Image.open(path) as image:
        assert image.mode == "P"
        assert (np.array(image.convert("L")) != IDS).any()
    assert read_ids(path).tolist() == IDS.tolist()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_greys_of_few_bits_are_as_stored(tmp_path: Path, bits: int) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    ids = [[0, 1, 1, 0]] if bits == 1 else [[0, 1, 3, 2]]
    row = 0
    for id in ids[0]:
        row = row << bits | id
    packed = row.to_bytes(max(1, 4 * bits // 8), "big") if bits > 1 else bytes([row << 4])
    header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + packed)) + chunk(b"IEND", b"")
    path = tmp_path / "few.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert read_ids(path).tolist() == ids


def test_wide_greys_are_ids_up_to_255(put: Put) -> None:
    assert read_ids(put("a.png", IDS.astype(np.uint16))).tolist() == IDS.tolist()
    with pytest.raises(DataError, match=r"holds id 256; ids are 0\.\.254"):
        read_ids(put("b.png", np.full((2, 2), 256, np.uint16)))


def test_colours_are_refused_as_ids_and_ids_shown_as_colours(put: Put) -> None:
    colours = np.zeros((1, 2, 3), np.uint8)
    colours[0, 1] = (1, 2, 3)
    path = put("a.png", colours)
    assert read_colours(path).tolist() == [[0, 1 << 16 | 2 << 8 | 3]]
    with pytest.raises(DataError, match="mode RGB, not ids; say which colour"):
        read_ids(path)
    assert read_colours(put("grey.png", IDS))[0, 1] == 0x010101
    with Image.open(put("p.png", indexed(IDS))) as image:
        shown = np.array(image.convert("RGB"), np.int64) @ [65536, 256, 1]
    assert read_colours(put("p.png", indexed(IDS))).tolist() == shown.tolist()


def test_what_cannot_be_a_mask_says_why(put: Put, tmp_path: Path) -> None:
    whole = put("whole.png", np.arange(10_000, dtype=np.uint16).astype(np.uint8).reshape(100, 100))
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:-60])
    (tmp_path / "text.png").write_text("<html>")
    (tmp_path / "empty.png").touch()
    for name in ("cut.png", "text.png", "empty.png"):
        with pytest.raises(DataError, match="not readable as an image"):
            read_ids(tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        read_ids(tmp_path / "none.png")
    with pytest.raises(DataError, match="is a JPEG, which may change labels"):
        read_ids(put("a.jpg", IDS))
    put("b.jpg", IDS).rename(tmp_path / "b.png")  # a suffix is only a name
    with pytest.raises(DataError, match="is a JPEG"):
        read_colours(tmp_path / "b.png")
    with pytest.raises(DataError, match="is a GIF"):
        read_ids(put("a.gif", indexed(IDS)))
    with pytest.raises(DataError, match="mode F"):
        read_ids(put("a.tif", np.zeros((2, 2), np.float32)))


@pytest.mark.parametrize(("orientation", "upright"), [(1, (4, 3)), (3, (4, 3)), (6, (3, 4)), (99, (4, 3))])
def test_a_header_knows_how_an_image_is_turned(put: Put, orientation: int, upright: tuple[int, int]) -> None:
    header = read_header(put("a.jpg", orientation=orientation))
    assert (header.stored, header.upright) == ((4, 3), upright)
    assert header.orientation == (orientation if orientation < 9 else 1)
