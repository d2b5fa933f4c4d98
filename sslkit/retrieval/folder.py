"""A folder that appears whole or not at all, and its JSON description."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sslkit.errors import ArtifactError, ConfigError

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)


@contextmanager
def written_aside(out: Path, files: tuple[str, ...], *, overwrite: bool) -> Iterator[Path]:
    """A hidden folder beside `out` to write `files` into; it becomes `out` when the block ends without error.

    Everything is flushed to the disk before the rename. When the block fails nothing is left and an old `out`
    is untouched. Only a folder that holds nothing but `files`, names or patterns, is ever overwritten.

    Raises ConfigError when `out` exists (and may not be overwritten) or the place cannot be written to.
    """
    _refuse(out, files, overwrite)
    aside = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"cannot write in {out.parent}: {error.strerror}; choose another folder") from error
    try:
        yield aside
        for file in aside.iterdir():
            flush(file)
        flush(aside)
        _refuse(out, files, overwrite)  # it may have appeared in the meantime
        _swap(aside, out)
        flush(out.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_description(path: Path, kind: str, newest: int, keys: dict[str, type]) -> dict[str, Any]:
    """The JSON object of a folder, checked for its format number and for keys of the right type.

    Raises ArtifactError when the file is missing, damaged, or written by a newer sslkit.
    """
    try:
        described = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path.parent} is no {kind} folder: it has no {path.name}; write it again or correct the path"
        ) from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}; write the {kind} again") from error
    if not isinstance(described, dict) or not isinstance(described.get("format"), int):
        raise ArtifactError(f"{path} has no format number, so it is damaged; write the {kind} again")
    if described["format"] > newest:
        raise ArtifactError(
            f"{path} has format {described['format']}, this sslkit reads up to {newest}; update it"
        )
    for key, kind_of_value in keys.items():
        if not isinstance(described.get(key), kind_of_value):
            raise ArtifactError(f"{path} has no valid '{key}', so it is damaged; write the {kind} again")
    return described


def write_description(path: Path, described: dict[str, Any]) -> None:
    """Write a JSON object, keys in the order given."""
    path.write_text(json.dumps(described, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _refuse(out: Path, files: tuple[str, ...], overwrite: bool) -> None:
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise ConfigError(f"{out} exists and would be lost; choose another folder or ask to overwrite it")
    there = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else []
    strange = [name for name in there if not any(fnmatchcase(name, pattern) for pattern in files)]
    if strange or not out.is_dir() or out.is_symlink():
        what = f"it also holds {strange[0]!r}" if strange else "it is no plain folder"
        raise ConfigError(f"{out} is not overwritten: {what}; choose another folder or remove it yourself")


def _swap(aside: Path, out: Path) -> None:
    if not out.exists():
        aside.rename(out)
        return
    if _exchanged(aside, out):
        return
    # Two renames: between them, for an instant, the old folder has only its hidden name.
    old = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.old")
    out.rename(old)
    try:
        aside.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old)


def _exchanged(first: Path, second: Path) -> bool:
    """Whether two folders have changed places, in one step; Linux can, on most file systems."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    names = (os.fsencode(first.absolute()), os.fsencode(second.absolute()))
    return bool(rename(0, names[0], 0, names[1], _EXCHANGE) == 0)


def flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows cannot flush a folder
        return
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
