"""Every image becomes a canvas with its valid rectangle; everything else becomes a DecodeError."""

from __future__ import annotations

import io
import os
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from sslkit.contracts import Moment, Refused
from sslkit.data.decode.image import PIXEL_LIMIT, decode_image, read_header
from sslkit.errors import ConfigError, DecodeError


def photo(width: int, height: int) -> Image.Image:
    """Smooth colours without symmetry, so that a flip or a shifted resize shows."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / max(1, width - 1), 255 * y / max(1, height - 1)
    blue = 127 + 120 * np.sin(6 * x / width + 3 * y / height)
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def valid(content: Path | bytes | np.ndarray, canvas: int, channels: int = 3) -> np.ndarray:
    """Decoded pixels inside the rectangle, (H, W, C), after checking that the rest is zero."""
    pixels, (top, left, height, width) = decode_image(content, canvas=canvas, channels=channels)
    assert pixels.shape == (channels, canvas, canvas)
    assert pixels.dtype == np.uint8
    assert (top, left) == (0, 0)
    assert pixels[:, height:].max(initial=0) == 0
    assert pixels[:, :, width:].max(initial=0) == 0
    return pixels[:, :height, :width].transpose(1, 2, 0)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    return found.shape == expected.shape and np.abs(found.astype(float) - expected).mean() < tolerance


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (64, 64), (1, 1), (64, 1)])
def test_small_images_keep_every_pixel(size: tuple[int, int]) -> None:
    image = photo(*size)
    assert np.array_equal(valid(encoded(image, "PNG"), 64), np.asarray(image))


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((400, 300), (96, 72)), ((300, 400), (72, 96)), ((2000, 100), (96, 5)), ((97, 97), (96, 96))],
)
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_longer_side_shrinks_to_the_canvas(
    size: tuple[int, int], fitted: tuple[int, int], format: str
) -> None:
    image = photo(*size)
    expected = np.asarray(image.resize(fitted, Image.Resampling.LANCZOS))
    assert close(valid(encoded(image, format), 96), expected, 4.0)


def test_no_side_shrinks_to_nothing() -> None:
    assert valid(encoded(photo(2000, 3), "JPEG"), 96).shape == (1, 96, 3)


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    checks = np.indices((256, 256)).sum(0) % 2 * 255
    grey = valid(np.repeat(checks[..., None], 3, 2).astype(np.uint8), 32)
    assert np.abs(grey.astype(int) - 127).max() <= 3


def test_jpeg_is_shrunk_while_it_is_decoded() -> None:
    content = encoded(photo(1600, 1200), "JPEG")

    def fastest(read: Callable[[], object]) -> float:
        times = []
        for _ in range(3):
            started = time.perf_counter()
            read()
            times.append(time.perf_counter() - started)
        return min(times)

    whole = fastest(lambda: Image.open(io.BytesIO(content)).load())
    assert fastest(lambda: decode_image(content, canvas=96)) < whole


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_by_exif_stands_upright(orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photo(200, 120), format, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    expected = upright.resize(
        (64, 38) if upright.width > upright.height else (38, 64), Image.Resampling.LANCZOS
    )
    assert close(valid(content, 64), np.asarray(expected), 4.0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so on standard error
def test_damaged_exif_beside_sound_pixels_is_ignored() -> None:
    content = encoded(photo(50, 40), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert valid(content, 64).shape == (40, 50, 3)


def test_transparency_lies_over_white() -> None:
    image = photo(20, 20).convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.array([0] * 10 + [255] * 10, np.uint8), (20, 1))))
    found = valid(encoded(image, "PNG"), 32)
    assert (found[:, :10] == 255).all()
    assert np.array_equal(found[:, 10:], np.asarray(image.convert("RGB"))[:, 10:])


def test_hidden_colours_do_not_bleed_when_shrunk() -> None:
    pixels = np.zeros((100, 100, 4), np.uint8)
    pixels[:, 50:] = (200, 0, 0, 255)
    pixels[:, :50, 1] = 255  # pure green, wholly transparent
    found = valid(encoded(Image.fromarray(pixels), "PNG"), 25).astype(int)
    assert np.abs(found[..., 1] - found[..., 2]).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_palette_index_or_colour_lies_over_white(mode: str) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = 200
    image = Image.fromarray(pixels).convert(mode)
    colour = {"P": image.getpixel((0, 0)), "L": 0, "RGB": (0, 0, 0)}[mode]
    found = valid(encoded(image, "PNG", transparency=colour), 8)
    assert (found[:, :4] == 255).all()
    assert np.abs(found[:, 4:].astype(int) - 200).max() <= 8


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "CMYK", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_gives_the_channels_asked_for(mode: str, channels: int) -> None:
    image = photo(48, 32).convert(mode)
    content = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    expected = np.asarray(image.convert("RGB").convert("L" if channels == 1 else "RGB")).reshape(
        32, 48, channels
    )
    assert close(valid(content, 48, channels), expected, 1.5)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(format: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    found = valid(encoded(Image.fromarray(ramp), format), 256)
    assert np.array_equal(found[0, :, 0], np.arange(256))


def test_sixteen_bit_big_endian_tiff_is_scaled() -> None:
    image = Image.frombytes("I;16B", (2, 1), struct.pack(">HH", 65535, 32768))
    assert valid(encoded(image, "TIFF"), 2)[0, :, 0].tolist() == [255, 128]


def test_floats_between_zero_and_one_are_scaled() -> None:
    image = Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))
    assert valid(encoded(image, "TIFF"), 4)[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("pixels", "named"),
    [
        (np.array([[-3.0, 700.0]], np.float32), "-3..700"),
        (np.array([[np.nan, 0.5]], np.float32), "0..1"),
        (np.array([[0, 100_000]], np.int32), "0..100000"),
    ],
)
def test_numbers_of_unknown_scale_are_refused_by_their_range(pixels: np.ndarray, named: str) -> None:
    with pytest.raises(DecodeError, match=named):
        decode_image(encoded(Image.fromarray(pixels), "TIFF"), canvas=8)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_pass_through(shape: tuple[int, ...], channels: int) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    found = valid(array, 8, channels)
    if channels == 3 or shape[-1] != 3:
        assert np.array_equal(found, np.broadcast_to(array.reshape(5, 7, -1), found.shape))


def test_large_arrays_shrink_whatever_their_strides() -> None:
    array = np.asarray(photo(100, 80))[:, ::-1]
    assert close(valid(array, 50), np.asarray(Image.fromarray(array.copy()).resize((50, 40))), 3.0)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_arrays_of_other_kinds_are_refused_with_their_shape(array: np.ndarray) -> None:
    with pytest.raises(DecodeError, match=str(array.dtype)):
        decode_image(array, canvas=8)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000"])
def test_any_truncation_or_damage_is_a_decode_error_or_an_image(format: str) -> None:
    content = encoded(photo(60, 40), format)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        damaged = bytearray(content[: random.integers(1, len(content))] if random.random() < 0.5 else content)
        for place in random.integers(0, len(damaged), 4):
            damaged[place] = random.integers(256)
        try:
            decode_image(bytes(damaged), canvas=32)
        except DecodeError:
            refused += 1
    assert refused > 0


def test_truncated_jpeg_is_refused() -> None:
    content = encoded(photo(300, 200), "JPEG")
    with pytest.raises(DecodeError, match="truncated"):
        decode_image(content[: len(content) // 2], canvas=300)


def test_refused_content_and_parts_of_videos_are_no_images() -> None:
    for read in (lambda content: decode_image(content, canvas=8), read_header):
        with pytest.raises(DecodeError, match=r"^no sound, no picture$"):
            read(Refused("no sound, no picture"))
        with pytest.raises(DecodeError, match=r"a\.mp4: .*clip reader"):
            read(Moment(Path("a.mp4"), 0.0, 1.0, 2.0, 25.0))


def test_bad_files_are_named_with_the_reason(tmp_path: Path) -> None:
    bad = {
        "empty.jpg": (b"", "empty"),
        "text.png": (b"hello, world", "not an image"),
        "folder.jpg": (None, ""),
    }
    for name, (content, reason) in bad.items():
        path = tmp_path / name
        path.mkdir() if content is None else path.write_bytes(content)
        with pytest.raises(DecodeError, match=rf"{name}: .*{reason}"):
            decode_image(path, canvas=8)
        with pytest.raises(DecodeError, match=name):
            read_header(path)
    with pytest.raises(DecodeError, match=r"gone\.jpg: no such file"):
        decode_image(tmp_path / "gone.jpg", canvas=8)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the super-user may read everything")
def test_unreadable_file_says_permission(tmp_path: Path) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(encoded(photo(4, 4), "PNG"))
    path.chmod(0)
    with pytest.raises(DecodeError, match="permission denied"):
        decode_image(path, canvas=8)


def test_permission_denied_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DecodeError, match=r"locked\.png: permission denied; make the file readable"):
        decode_image(tmp_path / "locked.png", canvas=8)


def test_postscript_in_disguise_starts_no_interpreter() -> None:
    with pytest.raises(DecodeError, match="not an image"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", canvas=8)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be enormous and holds one compressed byte."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("pillow_limit", [Image.MAX_IMAGE_PIXELS, None])
def test_decompression_bomb_is_refused_before_memory_is_taken(
    pillow_limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    content = png_header(30_000, 30_000)
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(DecodeError, match=f"more than {PIXEL_LIMIT:,} pixels"):
        decode_image(content, canvas=64)
    assert time.perf_counter() - started < 1
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert pillow_limit == Image.MAX_IMAGE_PIXELS


def test_header_is_read_without_decoding() -> None:
    content = encoded(photo(300, 200), "JPEG")
    header = read_header(content[: len(content) // 2])
    assert (header.format, header.mode, header.width, header.height) == ("JPEG", "RGB", 300, 200)


@pytest.mark.parametrize("wrong", [{"channels": 0}, {"canvas": 0}])
def test_wrong_arguments_are_the_callers_fault(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        decode_image(encoded(photo(4, 4), "PNG"), **{"canvas": 8, **wrong})
