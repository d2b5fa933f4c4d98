"""The file of a search structure: what FAISS writes, and a trailer that says what it is.

FAISS reads from the front and stops before the trailer, so its own `read_index` opens the file too. The
trailer is JSON of the plan, its factory, the count and the CRC-32 of all before it, and where it begins.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import faiss

from sslkit.errors import ArtifactError

_FORMAT = 1
_END = struct.Struct("<QI8s")  # bytes before the trailer, bytes of its JSON, the mark
_MARK = b"sslkitNN"
_KEYS = {"format": int, "plan": dict, "factory": str, "count": int, "crc32": int}
_BLOCK = 1 << 20
_faiss: Any = faiss  # its type information lacks some names and all keyword arguments

Write = Callable[[Any], object]


def write_structure_file(path: Path, described: dict[str, Any], payload: Callable[[Write], None]) -> None:
    """Write what `payload` hands to its argument, then the trailer; on the disk when this returns.

    Raises ArtifactError when the file cannot be written; none is left then.
    """
    length, check = 0, 0
    try:
        with path.open("wb") as file:

            def write(data: Any) -> int:
                nonlocal length, check
                file.write(data)
                length, check = length + len(data), zlib.crc32(data, check)
                return len(data)

            payload(write)
            text = json.dumps({"format": _FORMAT, **described, "crc32": check}).encode()
            file.write(text + _END.pack(length, len(text), _MARK))
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        with suppress(OSError):  # a folder on the way may be a file: then there is nothing to remove
            path.unlink()
        if isinstance(error, OSError):
            raise ArtifactError(f"the search structure cannot be written to {path}: {error}") from error
        raise


def faiss_payload(index: Any, flags: int = 0) -> Callable[[Write], None]:
    """FAISS's bytes of an index, as a payload."""

    def payload(write: Write) -> None:
        writer = _faiss.PyCallbackIOWriter(write)
        faiss.write_index(index, writer, flags)

    return payload


def read_description(path: Path, *, checked: bool = False) -> dict[str, Any]:
    """What the trailer says, and the `length` of what FAISS wrote before it.

    checked: read every byte and compare its CRC-32.

    Raises ArtifactError when the file is missing, cut short, changed, or nothing sslkit wrote.
    """
    if not path.is_file():
        raise ArtifactError(f"no search structure at {path}; build the index again or correct the path")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - _END.size, 0))
            end = file.read()
            length, width, mark = _END.unpack(end) if len(end) == _END.size else (0, 0, b"")
            if mark != _MARK or length + width + _END.size != size:
                raise ValueError("it is cut short or no search structure")
            file.seek(length)
            described = json.loads(file.read(width))
            _check_keys(described)
            if checked:
                file.seek(0)
                _check_bytes(file, length, described["crc32"])
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: {error}; build the index again") from error
    return {**described, "length": length}


def _check_keys(described: Any) -> None:
    if not isinstance(described, dict) or any(
        not isinstance(described.get(key), kind) for key, kind in _KEYS.items()
    ):
        raise ValueError("its trailer is not one")
    if described["format"] > _FORMAT:
        raise ValueError(f"it has format {described['format']}, which a newer sslkit wrote")


def _check_bytes(file: Any, length: int, expected: int) -> None:
    check = 0
    while length > 0:
        part = file.read(min(_BLOCK, length))
        check, length = zlib.crc32(part, check), length - len(part)
    if check != expected:
        raise ValueError("its bytes have changed since they were written")
