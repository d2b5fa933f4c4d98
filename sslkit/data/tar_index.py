"""What a tar shard holds: the place of every sample, found by reading its headers once.

A shard has the layout of WebDataset (Aizman, Maltby and Breuel, "High performance I/O for large scale deep
learning", 2019): members that follow each other and share a key, their path up to the first dot of the file
name, are one sample.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

import numpy as np

from sslkit.data.decode.suffixes import EXTENSIONS
from sslkit.errors import DataError

LARGEST = 2**30  # bytes an image may claim; the largest photos have a tenth of it
_LABELS = ("cls", "cls.txt", "json")  # the first of them that a sample has is its label
_LARGEST_LABEL = 2**20
_LARGEST_HEADER = 2**20  # of long names and the like; a forged one would be read into memory whole
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"PK\x03\x04": "zip",
}
# What damaged headers make tarfile raise, besides its own errors.
_DAMAGE = (tarfile.TarError, ValueError, IndexError, OverflowError, RecursionError)


class TarIndex(NamedTuple):
    """The samples of one shard in their order.

    names: of the image members. offsets: int64 (N,), where the image's bytes start in the shard. sizes: int32
    (N,), how many there are; -1 for a refused sample, whose reason is in `refused` under its position.
    texts: the different labels, as written; labels: int32 (N,), positions in `texts`, -1 where there is none.
    """

    names: list[str]
    offsets: np.ndarray
    sizes: np.ndarray
    texts: list[str]
    labels: np.ndarray
    refused: dict[int, str]


def read_index(file: IO[bytes], size: int, shown: str) -> TarIndex:
    """Index an open shard of `size` bytes; `shown` is what messages call it.

    Nothing is extracted, and nothing a header claims is believed: a sample whose image is a link or a device,
    has an absolute path or one with "..", claims more than 1 GiB or ends after the shard is refused, with the
    reason. After a damaged header nothing can be found any more, and a last refused sample says so. Hidden
    members are left out. Raises DataError for what is no tar archive, is empty or is compressed.
    """
    samples = _Samples(shown)
    try:
        for member in _members(file, size, shown):
            samples.add(member, file)
        samples.close()
    except _DamageError as damage:
        samples.break_off(damage)
    return samples.index()


def _members(file: IO[bytes], size: int, shown: str) -> Iterator[tarfile.TarInfo]:
    """Every member whose bytes are all there; _DamageError where the archive breaks off."""
    try:
        headers: Any = _Headers(file, size)
        archive = tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    except _DAMAGE as error:
        raise DataError(_no_archive(file, size, shown)) from error
    before = -1
    while True:
        try:
            member = archive.next()
        except _DAMAGE as error:
            raise _DamageError(_lost("damaged", archive.offset)) from error
        if member is None:
            break
        archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all: a gigabyte for a million
        if member.offset <= before or member.size < 0:  # a forged size leads back, and round in circles
            raise _DamageError(_lost("damaged", member.offset))
        before = member.offset
        end = member.offset_data + member.size
        if member.isreg() and not member.issparse() and end > size:
            cut = f"is truncated: it ends at byte {end}, the shard at {size}; copy the shard again"
            raise _DamageError(cut, member.name)
        yield member
        if archive.offset >= size:  # some writers leave out the mark of the end, none the padding before it
            raise _DamageError(_lost("truncated", size), perhaps=archive.offset == size)
    # tarfile takes a header that it cannot read for the end of the archive; at the true one there are zeros.
    file.seek(archive.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if block.strip(b"\0"):
        raise _DamageError(
            _lost("truncated" if len(block) < tarfile.BLOCKSIZE else "damaged", archive.offset)
        )


def _lost(what: str, position: int) -> str:
    return f"is lost: the shard is {what} at byte {position}; copy or write it again"


@dataclass
class _Sample:
    key: str
    image: str = ""
    offset: int = 0
    size: int = -1
    refusal: str = ""
    exact: bool = False
    label: str | None = None
    rank: int = len(_LABELS)


@dataclass
class _Samples:
    """Gathers members into samples."""

    shown: str
    names: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    texts: dict[str, int] = field(default_factory=dict)
    labels: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    current: _Sample = field(default_factory=lambda: _Sample(""))

    def add(self, member: tarfile.TarInfo, file: IO[bytes]) -> None:
        name = _inside(member.name)
        if member.isdir() or _hidden(name):
            return
        key, extension = _key(name)
        if key != self.current.key:
            self.close()
            self.current = _Sample(key)
        sample = self.current
        if f".{extension.rpartition('.')[2]}" in EXTENSIONS:
            exact = f".{extension}" in EXTENSIONS  # "jpg" is the image rather than "thumbnail.jpg"
            if not sample.image or (exact and not sample.exact):
                sample.image, sample.exact, sample.refusal = name, exact, _refusal(member, name)
                sample.offset, sample.size = member.offset_data, member.size
        elif extension in _LABELS and member.isreg() and member.size <= _LARGEST_LABEL:
            rank = _LABELS.index(extension)
            if rank < sample.rank:
                file.seek(member.offset_data)
                sample.label, sample.rank = _label(extension, file.read(member.size)), rank

    def close(self) -> None:
        """Keep the current sample, if it has an image."""
        sample, self.current = self.current, _Sample("")
        if not sample.image:
            return
        if sample.refusal:
            self.refused[len(self.names)] = f"{self.shown}: {sample.image} {sample.refusal}"
        self.names.append(sample.image.replace("\0", "?"))  # tarfile lets a NUL pass in pax headers
        self.offsets.append(sample.offset)
        self.sizes.append(-1 if sample.refusal else sample.size)
        text = sample.label
        self.labels.append(-1 if text is None else self.texts.setdefault(text, len(self.texts)))

    def break_off(self, damage: _DamageError) -> None:
        """The shard ends too early: one refused sample says so."""
        sample, cut = self.current, _inside(damage.name)
        if cut:
            unfinished = _key(cut)[0] == sample.key
        else:  # its label may have come next
            unfinished = bool(sample.image and self.texts and sample.label is None)
        if not unfinished:
            self.close()
        if unfinished or not damage.perhaps:
            name = (sample.image if unfinished else "") or cut or "(what follows)"
            self.current = _Sample("", image=name, refusal=str(damage))
            self.close()

    def index(self) -> TarIndex:
        return TarIndex(
            self.names,
            np.array(self.offsets, np.int64),
            np.array(self.sizes, np.int32),
            list(self.texts),
            np.array(self.labels, np.int32),
            self.refused,
        )


def _inside(name: str) -> str:
    """A member's path without the "./" that `tar .` puts before it."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def _key(name: str) -> tuple[str, str]:
    """What a sample's members share, and the rest of the name after the first dot, in small letters."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


def _hidden(name: str) -> bool:
    return any(part[:1] == "." and part not in (".", "..") for part in name.split("/"))


def _refusal(member: tarfile.TarInfo, name: str) -> str:
    """Why an image member must not be read; empty where it may."""
    if not member.isreg():
        kind = "a symbolic link" if member.issym() else "a hard link" if member.islnk() else "no plain file"
        return f"is {kind}; write the image itself into the shard"
    if member.issparse():
        return "is stored as a sparse file; write it as a plain one"
    if name.startswith("/") or ".." in name.split("/"):
        return "has a path that leads out of the shard; write it with a relative one"
    if member.size > LARGEST:
        return f"claims {member.size} bytes; an image may have {LARGEST}"
    return ""


def _label(extension: str, content: bytes) -> str | None:
    """The label in a member: the text itself, or in JSON the value of "label" or "cls"; None for neither."""
    if extension != "json":
        return content.decode("utf-8", errors="replace").strip() or None
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return None
    values = [fields[key] for key in ("label", "cls") if key in fields] if isinstance(fields, dict) else []
    if not values or isinstance(values[0], bool) or not isinstance(values[0], str | int):
        return None
    return str(values[0]).encode(errors="replace").decode().strip() or None  # lone surrogates go


def _no_archive(file: IO[bytes], size: int, shown: str) -> str:
    file.seek(0)
    start = file.read(8)
    for magic, kind in _COMPRESSED.items():
        if start.startswith(magic):
            return (
                f"{shown} is compressed ({kind}), so samples cannot be read singly; unpack it to a plain tar"
            )
    return f"{shown} is {'empty' if not size else 'no tar archive'}; write one with tar or webdataset"


class _Headers:
    """The shard as tarfile sees it: no seek beyond its end, no read larger than a header can need."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size

    def read(self, count: int) -> bytes:
        if not 0 <= count <= _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {count} bytes")
        return self._file.read(count)

    def seek(self, position: int) -> None:
        if not 0 <= position <= self._size:
            raise tarfile.ReadError(f"a member at byte {position}")
        self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()


class _DamageError(Exception):
    """The archive breaks off, in the member `name` where that is known; `perhaps`, if this may be its end."""

    def __init__(self, reason: str, name: str = "", perhaps: bool = False) -> None:
        super().__init__(reason)
        self.name, self.perhaps = name, perhaps
