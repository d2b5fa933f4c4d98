"""A list file of chosen items: DATA for `sslkit pretrain` and `sslkit embed`; no image is touched."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sslkit.errors import ConfigError, DataError
from sslkit.registry import open_source
from sslkit.retrieval.items import IndexedItem
from sslkit.runs.origins import Origins

_SEPARATORS = "\t\n\r\0"


def check_place(path: Path, *, overwrite: bool) -> None:
    """Raise ConfigError where a list file would not be read as one, or would replace something."""
    if path.suffix.lower() not in (".txt", ".lst"):
        raise ConfigError(
            f"a list file {path}: its name must end in .txt, which is how DATA is known for a list"
        )
    if os.path.lexists(path) and not (overwrite and path.is_file() and not path.is_symlink()):
        raise ConfigError(f"{path} exists and would be lost; choose another name or ask to overwrite it")


def write_list(
    path: Path,
    items: Iterable[IndexedItem],
    classes: Sequence[str] | None,
    *,
    overwrite: bool = False,
) -> int:
    """Write the absolute path of each item's image, a line each, and return their number.

    classes: names of the class of each label, written behind a TAB where all items have one; None for no
    labels. The file appears whole or not at all, and is read again before it does.

    Raises:
        ConfigError: the place cannot be written to, or holds something already.
        DataError: there is no item, or one whose path, or the name of whose class, a list cannot hold.
    """
    check_place(path, overwrite=overwrite)
    origins = Origins()
    lines = [(_path(origins.file(item), item), item.label) for item in items]
    if not lines:
        raise DataError("nothing is left to list; loosen what is taken for a finding")
    with _aside(path) as aside:
        named = classes is not None and all(label is not None for _, label in lines)
        with aside.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for name, label in lines:
                known = named and classes is not None and label is not None
                file.write(f"{name}\t{_class_name(classes, label)}\n" if known else f"{name}\n")
            file.flush()
            os.fsync(file.fileno())
        read = len(open_source(str(aside)))
        if read != len(lines):
            raise DataError(f"the list {path} would be read as {read} images, not {len(lines)}; report this")
    return len(lines)


def _path(file: Path, item: IndexedItem) -> str:
    name = str(file.absolute())
    if any(mark in name for mark in _SEPARATORS):
        raise DataError(
            f"the path {name!r} of item {item.id} holds a TAB or the end of a line, which a list file "
            "cannot; rename it and index it again"
        )
    return name


def _class_name(classes: Sequence[str] | None, label: int | None) -> str:
    assert classes is not None
    assert label is not None
    name = classes[label] if label < len(classes) else str(label)
    if not name.strip() or name != name.strip() or any(mark in name for mark in (*_SEPARATORS, "|")):
        raise DataError(f"the class name {name!r} cannot stand in a list file; rename the class")
    return name


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    aside = path.with_name(f".{path.stem}.{uuid4().hex[:8]}.tmp.txt")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        aside.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; choose another place") from error
    finally:
        if aside.exists():
            aside.unlink()
