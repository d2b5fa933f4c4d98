"""KITTI's flow (Geiger et al. 2012; Menze and Geiger 2015): a PNG of 16 bits a channel, RGB.

Red and green are 64 * displacement + 32768, x and y; blue is 0 where the motion is not known.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import av
import numpy as np

from sslkit.contracts import FlowField
from sslkit.errors import DataError
from sslkit_flow.formats.known import known

ZERO, STEPS = 1 << 15, 64.0
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_START = struct.Struct(">8sI4sIIBB")  # signature, IHDR's length and name, width, height, bits, colour type
_RGB = 2


def kitti_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header; raises DataError for anything but a PNG of 16 bits RGB."""
    with path.open("rb") as file:
        return _size(file.read(_START.size))


def read_kitti(path: Path) -> FlowField:
    """The field; raises DataError that says what is wrong."""
    encoded = path.read_bytes()
    size = _size(encoded)
    try:  # Pillow reads the upper 8 of 16 bits
        (frame,) = av.CodecContext.create("png", "r").decode(av.Packet(encoded))
        stored = frame.to_ndarray()
    except Exception as error:  # a decoder fed damaged bytes may raise anything
        raise DataError(f"is damaged: not readable as a PNG ({type(error).__name__})") from error
    if stored.dtype != np.uint16 or stored.shape != (*size, 3):
        raise DataError(f"decodes to {stored.dtype} {stored.shape}; flow is uint16 {(*size, 3)}")
    return known((stored[..., :2].astype(np.float32) - ZERO) / STEPS, stored[..., 2] > 0)


def write_kitti(path: Path, field: FlowField) -> None:
    """Store a field, rounded to 1/64 pixel; raises DataError for displacements of 512 pixels and more."""
    vectors = field.vectors.detach().cpu().float().numpy().transpose(1, 2, 0)
    valid = np.ones(vectors.shape[:2], bool) if field.valid is None else field.valid.cpu().numpy()
    codes = np.where(valid[..., None], np.round(vectors * STEPS) + ZERO, 0)
    if codes.min() < 0 or codes.max() > 2 * ZERO - 1:
        raise DataError(f"{path}: KITTI's flow holds displacements of -512 to below 512 pixels")
    pixels = np.concatenate([codes, valid[..., None]], axis=-1).astype(">u2")
    height, width = valid.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # each row unfiltered
    head = struct.pack(">IIBBBBB", width, height, 16, _RGB, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(_SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks))


def _size(head: bytes) -> tuple[int, int]:
    if not head.startswith(_SIGNATURE):
        raise DataError(f"begins with {head[:8]!r}; a PNG begins with {_SIGNATURE!r}")
    if len(head) < _START.size:
        raise DataError(f"has {len(head)} bytes; the header alone takes {_START.size}")
    _, _, _, width, height, bits, colour = _START.unpack(head[: _START.size])
    if (bits, colour) != (16, _RGB):
        raise DataError(
            f"is a PNG of {bits} bits, colour type {colour}; KITTI's flow has 16 bits RGB (type 2)"
        )
    if not width or not height:
        raise DataError(f"says that it is {width} x {height} pixels")
    return height, width


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
