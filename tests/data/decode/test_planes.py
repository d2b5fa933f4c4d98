"""Arrays of any number of channels become canvases band by band; whatever else they are is a DecodeError."""

from __future__ import annotations

import io
import logging
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from sslkit.data.decode.image import decode_image, read_header
from sslkit.data.decode.planes import BYTE_LIMIT
from sslkit.errors import DecodeError


def planes(height: int, width: int, channels: int) -> np.ndarray:
    """Smooth (H, W, C), unlike in every channel, without symmetry."""
    y, x, c = np.mgrid[0:height, 0:width, 0:channels]
    waves = np.sin(5 * x / width + c) * np.cos(3 * y / height + 2 * c) + x / (2 * width)
    return (255 * (waves - waves.min()) / np.ptp(waves)).astype(np.uint8)


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version, allow_pickle=True)
    return stream.getvalue()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **{"photometric": "minisblack", **options})
    return stream.getvalue()


def pages(array: np.ndarray, compression: str | None = None) -> bytes:
    """(H, W, C) as a TIFF of C pages, written by Pillow."""
    first, *others = (Image.fromarray(band) for band in np.moveaxis(array, 2, 0).copy())
    stream = io.BytesIO()
    first.save(stream, "TIFF", save_all=True, append_images=others, compression=compression)
    return stream.getvalue()


def first(array: np.ndarray) -> np.ndarray:
    """(H, W, C) to (C, H, W)."""
    return np.ascontiguousarray(np.moveaxis(array, 2, 0))


STORED: dict[str, Callable[[np.ndarray], Any]] = {
    "array, channels last": lambda array: array,
    "array, channels first": first,
    "npy": npy,
    "npy, channels first": lambda array: npy(first(array)),
    "npy, by columns": lambda array: npy(np.asfortranarray(array)),
    "npy, version 2": lambda array: npy(array, (2, 0)),
    "tiff, bands": lambda array: tiff(array, planarconfig="contig"),
    "tiff, bands apart": lambda array: tiff(first(array), planarconfig="separate"),
    "tiff, pages": lambda array: tiff(first(array)),
    "tiff, pages by Pillow": pages,
    "tiff, tiles": lambda array: tiff(array, planarconfig="contig", tile=(16, 16)),
    "tiff, deflate": lambda array: tiff(array, planarconfig="contig", compression="zlib", predictor=True),
    "tiff, packbits": lambda array: pages(array, "packbits"),
    "tiff, big": lambda array: tiff(first(array), bigtiff=True, byteorder=">"),
}


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("channels", [2, 5])
def test_small_arrays_keep_every_value(tmp_path: Path, stored: str, channels: int) -> None:
    array = planes(20, 30, channels)
    content = STORED[stored](array)
    contents = [content]
    if isinstance(content, bytes):
        path = tmp_path / "name says nothing"
        path.write_bytes(content)
        contents.append(path)
    for given in contents:
        pixels, rectangle = decode_image(given, canvas=32, channels=channels)
        assert rectangle == (0, 0, 20, 30)
        assert pixels.dtype == np.uint8
        expected = np.zeros((channels, 32, 32), np.uint8)
        expected[:, :20, :30] = first(array)
        assert np.array_equal(pixels, expected)


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (97, 97), (300, 2)])
def test_each_band_shrinks_as_a_grey_picture_does(size: tuple[int, int]) -> None:
    array = planes(*size, 4)
    pixels, rectangle = decode_image(npy(array), canvas=96, channels=4)
    for channel in range(4):
        alone, same = decode_image(array[:, :, channel], canvas=96, channels=1)
        assert rectangle == same
        assert np.array_equal(pixels[channel], alone[0])


def test_channels_are_the_axis_of_their_number_and_the_last_if_both_are() -> None:
    array = np.arange(5 * 6 * 5, dtype=np.uint8).reshape(5, 6, 5)
    pixels, rectangle = decode_image(array, canvas=8, channels=5)
    assert rectangle == (0, 0, 5, 6)
    assert np.array_equal(pixels[:, :5, :6], first(array))
    assert decode_image(array[:4], canvas=8, channels=4)[1] == (0, 0, 6, 5)  # (4, 6, 5): the first


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_are_scaled_as_those_of_grey_pictures(order: str) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)
    array = np.stack([ramp, ramp[::-1]], -1)[None].astype(f"{order}u2")
    for content in (npy(array), array, tiff(array.astype("u2"), planarconfig="contig", byteorder=order)):
        pixels, _ = decode_image(content, canvas=256, channels=2)
        assert np.array_equal(pixels[0, 0], np.arange(256))
        assert np.array_equal(pixels[1, 0], np.arange(256)[::-1])
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(2, 2)
    slow = [(255 * value + 32767) // 65535 for value in range(65536)]
    assert decode_image(every, canvas=256, channels=2)[0][1].reshape(-1).tolist() == slow


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_between_zero_and_one_are_scaled(kind: type) -> None:
    array = np.array([[[0.0, 1.0], [0.5, 0.25], [1.0, 0.0]]], kind)
    pixels, _ = decode_image(npy(array), canvas=3, channels=2)
    assert pixels[:, 0].tolist() == [[0, 128, 255], [255, 64, 0]]


@pytest.mark.parametrize(
    ("value", "named"), [(1.5, r"0\.\.1\.5"), (-0.1, r"-0\.1\.\.0"), (np.nan, "nan"), (np.inf, "inf")]
)
def test_floats_outside_are_refused_in_whatever_band(value: float, named: str) -> None:
    array = np.zeros((4, 4, 5), np.float32)
    array[2, 2, 4] = value
    with pytest.raises(DecodeError, match=f"floats.*{named}.*only 0..1"):
        decode_image(npy(array), canvas=4, channels=5)


@pytest.mark.parametrize("kind", ["int8", "int16", "uint32", "int64", "bool", "complex64", "S3"])
def test_other_types_are_refused_by_name_with_the_mend(kind: str) -> None:
    array = np.zeros((4, 4, 5), kind)
    for content in (npy(array), array):
        with pytest.raises(DecodeError, match=rf"{array.dtype}.*store uint8, uint16, or floats in 0\.\.1"):
            decode_image(content, canvas=4, channels=5)


@pytest.mark.parametrize(
    ("shape", "mend"),
    [
        ((40, 30, 4), r"data\.channels=4"),
        ((6, 40, 30), r"data\.channels=6"),
        ((40, 30), r"data\.channels=1"),
        ((2, 40, 30, 5), r"\(H, W, C\)"),
        ((5,), r"\(H, W, C\)"),
        ((0, 30, 5), "no pixels"),
    ],
)
def test_other_shapes_are_refused_with_what_would_read_them(shape: tuple[int, ...], mend: str) -> None:
    shown = ", ".join(map(str, shape))
    with pytest.raises(DecodeError, match=rf"\({shown},?\).*{mend}"):
        decode_image(npy(np.zeros(shape, np.uint8)), canvas=8, channels=5)


@pytest.mark.parametrize("content", ["JPEG", "PNG", "TIFF"])
def test_a_picture_is_not_taken_for_five_channels(tmp_path: Path, content: str) -> None:
    path = tmp_path / "photo"
    Image.fromarray(planes(20, 30, 3)).save(path, content)
    with pytest.raises(DecodeError, match=r"photo: .*5 channels.*data\.channels=3"):
        decode_image(path, canvas=8, channels=5)


def test_other_files_say_what_they_are_not(tmp_path: Path) -> None:
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.tif").write_bytes(b"hello")
    told = {"empty.npy": "the file is empty", "text.tif": "not an image.*NPY", "gone.npy": "no such file"}
    for name, reason in told.items():
        for channels in (3, 5):
            with pytest.raises(DecodeError, match=rf"{name}: {reason}"):
                decode_image(tmp_path / name, canvas=8, channels=channels)
            with pytest.raises(DecodeError, match=f"{name}: {reason}"):
                read_header(tmp_path / name, channels=channels)


# -------------------------------------------------------------------------- as grey and colour pictures


@pytest.mark.parametrize("stored", ["npy", "npy, channels first", "npy, by columns"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [1, 3])
def test_npy_of_one_or_three_channels_is_a_picture(stored: str, channels: int, depth: int) -> None:
    array = planes(120, 90, depth)
    pixels, rectangle = decode_image(STORED[stored](array), canvas=64, channels=channels)
    expected, same = decode_image(array, canvas=64, channels=channels)
    assert rectangle == same
    assert np.array_equal(pixels, expected)


def test_npy_without_an_axis_of_channels_is_grey() -> None:
    array = planes(20, 30, 1)[:, :, 0]
    assert np.array_equal(decode_image(npy(array), canvas=32)[0], decode_image(array, canvas=32)[0])


def test_npy_of_floats_and_sixteen_bits_is_a_picture() -> None:
    values = np.linspace(0, 1, 256)[None, :, None].repeat(3, 2)
    for array in (values.astype(np.float32), (values * 65535).round().astype(np.uint16)):
        pixels, _ = decode_image(npy(array), canvas=256)
        assert np.array_equal(pixels[:, 0], np.arange(256)[None].repeat(3, 0))


@pytest.mark.parametrize("content", [npy, lambda array: tiff(array, planarconfig="contig")])
def test_five_channels_are_not_taken_for_a_picture(content: Callable[[np.ndarray], bytes]) -> None:
    with pytest.raises(DecodeError, match=r"\(20, 30, 5\).*1 or 3 channels; data\.channels=5 would"):
        decode_image(content(planes(20, 30, 5)), canvas=8)


# ------------------------------------------------------------------------------------------ headers


def test_headers_are_read_without_the_values() -> None:
    content = npy(planes(20, 30, 5).astype(np.uint16))
    header = read_header(content[:200], channels=5)
    assert (header.format, header.mode, header.width, header.height) == ("NPY", "5 x uint16", 30, 20)
    header = read_header(npy(first(planes(20, 30, 3)))[:200])
    assert (header.format, header.mode, header.width, header.height) == ("NPY", "3 x uint8", 30, 20)
    header = read_header(tiff(planes(20, 30, 5), planarconfig="contig"), channels=5)
    assert (header.format, header.mode, header.width, header.height) == ("TIFF", "5 x uint8", 30, 20)
    header = read_header(first(planes(20, 30, 5)), channels=5)
    assert (header.format, header.mode, header.width, header.height) == ("array", "5 x uint8", 30, 20)


# ------------------------------------------------------------------------------- damage and malice


@pytest.mark.parametrize("stored", [name for name in STORED if not name.startswith("array")])
def test_truncation_and_damage_are_a_decode_error_or_an_array(
    stored: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = STORED[stored](planes(40, 30, 5))
    random = np.random.default_rng(0)
    refused = 0
    for attempt in range(40):
        damaged = bytearray(content[: random.integers(1, len(content))] if attempt % 2 else content)
        for place in random.integers(0, min(len(damaged), 400), 0 if attempt % 2 else 4):
            damaged[place] = random.integers(256)
        try:
            decode_image(bytes(damaged), canvas=32, channels=5)
        except DecodeError:
            refused += 1
    assert refused >= 15
    assert capfd.readouterr().err == ""  # what is wrong is said by the error alone


@pytest.mark.parametrize("stored", ["npy", "npy, channels first", "tiff, bands", "tiff, pages"])
def test_a_file_cut_in_half_is_refused(tmp_path: Path, stored: str) -> None:
    content = STORED[stored](planes(200, 300, 5))
    path = tmp_path / "half"
    path.write_bytes(content[: len(content) // 2])
    for given in (path, path.read_bytes()):
        with pytest.raises(DecodeError):
            decode_image(given, canvas=32, channels=5)


def test_a_log_of_the_whole_program_is_not_told_of_damage() -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    content = tiff(first(planes(40, 30, 5)))
    logging.getLogger().addHandler(handler)
    try:
        with pytest.raises(DecodeError):
            decode_image(content[: len(content) // 2], canvas=32, channels=5)
    finally:
        logging.getLogger().removeHandler(handler)
    assert log.getvalue() == ""


def test_a_cut_npy_says_so() -> None:
    content = npy(planes(20, 30, 5))
    with pytest.raises(DecodeError, match=rf"truncated: {len(content) - 1} bytes of {len(content)}"):
        decode_image(content[:-1], canvas=32, channels=5)


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.putenv, ("SSLKIT_UNPICKLED", "1")


def test_objects_are_never_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    content = npy(np.array([[[Malice()] * 5] * 4] * 4, object))
    monkeypatch.setattr(os, "putenv", lambda *given: called.append(given))
    for channels in (3, 5):
        with pytest.raises(DecodeError, match="object"):
            decode_image(content, canvas=8, channels=channels)
    assert called == []


def giant_npy() -> bytes:
    stream = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (100_000, 100_000, 5)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + bytes(100)


def giant_tiff() -> bytes:
    """Small but for what it says of its width and height."""
    content = bytearray(tiff(planes(20, 30, 5), planarconfig="contig"))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tag = file.pages[0].tags[name]
            size = {3: 2, 4: 4}[tag.dtype]
            content[tag.valueoffset : tag.valueoffset + size] = (60_000).to_bytes(size, "little")
    return bytes(content).replace(b'{"shape": [20, 30, 5]}', b" " * 22)


@pytest.mark.parametrize("content", [giant_npy, giant_tiff])
@pytest.mark.parametrize("channels", [3, 5])
def test_giants_are_refused_before_memory_is_taken(content: Callable[[], bytes], channels: int) -> None:
    given = content()
    tracemalloc.start()
    mend = f"more than {BYTE_LIMIT:,} values; store it smaller" if channels == 5 else "data.channels=5 would"
    with pytest.raises(DecodeError, match=mend):
        decode_image(given, canvas=64, channels=channels)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_giant_on_disk_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "giant.npy"
    path.write_bytes(giant_npy())
    os.truncate(path, 2**36)  # a hole: the values are really there, all zero
    with pytest.raises(DecodeError, match="more than"):
        decode_image(path, canvas=64, channels=5)


def test_a_strip_that_unpacks_to_gigabytes_is_refused() -> None:
    """Megabytes of deflate, most of a gigabyte of zeros, in a TIFF that says it holds 400 x 400 x 5."""
    packer = zlib.compressobj(1)
    start = packer.compress(b"\0") + packer.flush(zlib.Z_FULL_FLUSH)
    packed = start + (packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)) * 40
    assert 2**20 < len(packed) < 2**22
    content = bytearray(
        tiff(planes(400, 400, 5), planarconfig="contig", compression="zlib", rowsperstrip=400)
    )
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        for name, value in (("StripOffsets", len(content)), ("StripByteCounts", len(packed))):
            tag = file.pages[0].tags[name]
            assert tag.dtype == 4
            content[tag.valueoffset : tag.valueoffset + 4] = value.to_bytes(4, "little")
    tracemalloc.start()
    with pytest.raises(DecodeError, match="a strip unpacks to more than"):
        decode_image(bytes(content) + packed, canvas=64, channels=5)
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()


def test_lzw_is_read_or_names_the_mend() -> None:
    content = pages(planes(20, 30, 5), "tiff_lzw")
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        with pytest.raises(DecodeError, match=r"imagecodecs.*or store the file with deflate"):
            decode_image(content, canvas=32, channels=5)
    else:
        assert decode_image(content, canvas=32, channels=5)[1] == (0, 0, 20, 30)


def test_compressions_without_a_bound_are_refused_with_the_mend() -> None:
    content = tiff(planes(20, 30, 5), planarconfig="contig", compression="lzma")
    with pytest.raises(DecodeError, match="LZMA; store it with deflate"):
        decode_image(content, canvas=64, channels=5)
