"""Decoded canvases kept on disk from the first epoch on, so that later epochs need no decoding.

One file for each source, canvas, channels and decoder, named by their hash, so that nothing out of date is
read: a header, then for each id a record and its pixels. A row is written before its record, and the checksum
in the record covers both: what a killed process or a power cut left unfinished is found, and decoded again.
Each row carries a stamp of what it was decoded from, so an image that was replaced is decoded again, too.

The page cache of the system is the memory of this cache. Rows are read straight into the batch and not mapped
into memory, where a full disk or a file cut short would kill the process instead of raising an error.
sslkit never removes these files: delete the folder to get the space back.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import struct
import uuid
import warnings
import weakref
import zlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from sslkit.contracts import Content, Source
from sslkit.data.decode.image import DECODER, Rectangle
from sslkit.errors import ConfigError

GONE = -1
"""The stamp of content that is never kept: files that are not there, parts of videos."""

_VERSION = 1
_HEADER = 4096
_STOPPED_AT = _HEADER - 16  # at the end of the header: the run that was the last to find the disk full
_RECORD = struct.Struct("<q4iI")  # stamp, rectangle, checksum; all zero where there is no row
_NOTHING = bytes(_RECORD.size)
_DISK_SHARE, _MEMORY_SHARE = 1 / 4, 1 / 2


class DecodedCache:
    """Canvases of one source by id: uint8 (channels, canvas, canvas) and their rectangles.

    Any number of processes and threads may fill and read it at once. The file is opened at the first use; the
    object survives fork, and is small when pickled. A checksum is compared at the first reading of a row in
    each process, then the row is trusted. Where the folder cannot be written to or the disk gets full, a
    warning is given once, and images are decoded as if there were no cache; `read` and `put` raise nothing.
    """

    def __init__(self, folder: Path, *, fingerprint: str, count: int, canvas: int, channels: int) -> None:
        self._key = json.dumps([_VERSION, DECODER, fingerprint, count, canvas, channels]).encode()
        self.path = folder / f"{hashlib.sha256(self._key).hexdigest()[:32]}.canvases"
        self.shape, self.count = (channels, canvas, canvas), count
        self._row = _RECORD.size + channels * canvas**2
        self._run = uuid.uuid4().bytes  # the same in all workers
        self._stopped = False  # nothing more is written
        self._file: int | None = None
        self._trusted: np.ndarray | None = None  # uint32 (count,), checksums that were found right
        self._close: weakref.finalize[Any, Any] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the whole file; on disk it takes only what has been put."""
        return _HEADER + self.count * self._row

    def open(self) -> None:
        """Open the file, making it where it is missing or damaged; raises OSError where that cannot be."""
        if self._file is not None:
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # one process makes it
            if os.fstat(file).st_size != self.nbytes or os.pread(file, len(self._key), 0) != self._key:
                os.ftruncate(file, 0)
                os.ftruncate(file, self.nbytes)  # a hole, filled row by row
                _write(file, self._key, 0)
            fcntl.flock(file, fcntl.LOCK_UN)
        except OSError:
            os.close(file)
            raise
        self._trusted = np.zeros(self.count, np.uint32)
        self._close = weakref.finalize(self, os.close, file)
        self._close.atexit = False
        self._file = file  # the last, for other threads

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        if self._close is not None:
            self._close()
        self._file = self._trusted = self._close = None

    def read(self, id: int, stamp: int, out: np.ndarray) -> Rectangle | None:
        """Fill `out`, contiguous uint8 (channels, canvas, canvas), and give the rectangle.

        None if no row was put for the id with this stamp, or it is damaged; `out` may then hold anything.
        """
        file = self._opened()
        if file is None or stamp == GONE:
            return None
        start = _HEADER + id * self._row
        try:
            record = os.pread(file, _RECORD.size, start)
            if len(record) < _RECORD.size or record == _NOTHING:
                return None
            kept, top, left, height, width, checksum = _RECORD.unpack(record)
            if kept != stamp:
                return None
            if os.preadv(file, [out.data], start + _RECORD.size) != out.nbytes:
                return None
            if os.pread(file, _RECORD.size, start) != record:  # another process is replacing the row
                return None
        except OSError:  # the disk fails
            return None
        assert self._trusted is not None
        if self._trusted[id] != checksum:
            if _checksum(record, id, out) != checksum:
                return None
            self._trusted[id] = checksum
        return top, left, height, width

    def put(self, id: int, stamp: int, pixels: np.ndarray, rectangle: Rectangle) -> None:
        """Keep a decoded canvas; `stamp` is that of its content before it was decoded."""
        file = self._opened()
        if file is None or stamp == GONE or self._stopped:
            return
        pixels = np.ascontiguousarray(pixels)
        record = _RECORD.pack(stamp, *rectangle, 0)
        checksum = _checksum(record, id, pixels)
        start = _HEADER + id * self._row
        try:
            _write(file, _NOTHING, start)  # nobody takes a row that is being replaced
            _write(file, pixels.data, start + _RECORD.size)
            _write(file, _RECORD.pack(stamp, *rectangle, checksum), start)
        except OSError as error:
            self._stop(file, error)
            return
        assert self._trusted is not None
        self._trusted[id] = checksum

    def _opened(self) -> int | None:
        if self._file is None and not self._stopped:
            try:
                self.open()
            except OSError as error:
                self._stop(None, error)
        return self._file

    def _stop(self, file: int | None, error: OSError) -> None:
        self._stopped = True
        if file is not None:
            try:
                if os.pread(file, len(self._run), _STOPPED_AT) == self._run:
                    return  # another worker of this run has said it
                os.pwrite(file, self._run, _STOPPED_AT)
            except OSError:
                pass
        warnings.warn(
            f"no more decoded images are kept in {self.path} ({error.strerror}); the run goes on, decoding "
            "in every epoch. Make room, or set data.cache=off",
            stacklevel=3,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_trusted": None, "_close": None}


def stamp_of(content: Content) -> int:
    """63 bits that change with the content: of a file its path, size and times, else the bytes themselves."""
    if isinstance(content, Path):
        try:
            status = content.stat()
        except OSError:
            return GONE
        seen = struct.pack("<3q", status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        digest = hashlib.blake2b(os.fsencode(content) + seen, digest_size=8)
    elif isinstance(content, bytes):
        digest = hashlib.blake2b(content, digest_size=8)
    elif isinstance(content, np.ndarray):
        digest = hashlib.blake2b(np.ascontiguousarray(content).data, digest_size=8)
        digest.update(f"{content.dtype} {content.shape}".encode())
    else:
        return GONE
    return int.from_bytes(digest.digest(), "little") >> 1


class CacheChoice(NamedTuple):
    """The cache of a run, or None, and a sentence for its log."""

    cache: DecodedCache | None
    reason: str


def choose_cache(
    source: Source,
    *,
    canvas: int,
    channels: int,
    epochs: int,
    folder: Path,
    setting: Literal["auto", "on", "off"],
) -> CacheChoice:
    """Keep decoded images of files in `folder` where that pays and they fit.

    "auto": if there is more than one epoch, and they take at most a quarter of the free disk and half of the
    memory, so that they are read from there. "on": in any case; raises ConfigError where that cannot be.
    Arrays in memory are never kept: they need no decoding.
    """
    if setting == "off":
        return CacheChoice(None, "images are decoded in every epoch: data.cache=off")
    if source.native_side is not None:
        return CacheChoice(None, "images are in memory and need no decoding")
    cache = DecodedCache(
        folder, fingerprint=source.fingerprint, count=len(source), canvas=canvas, channels=channels
    )
    obstacle = "one epoch reads each of them once" if setting == "auto" and epochs < 2 else None
    obstacle = obstacle or _obstacle(source, cache, sparing=setting == "auto")
    if obstacle is None:
        return CacheChoice(cache, f"decoded images are kept in {cache.path}, {_size(cache.nbytes)} in all")
    if setting == "on":
        raise ConfigError(f"data.cache=on cannot be done: {obstacle}; use data.cache=auto or off")
    return CacheChoice(None, f"images are decoded in every epoch: {obstacle}")


def _obstacle(source: Source, cache: DecodedCache, *, sparing: bool) -> str | None:
    """Why there is no cache; with None it is open. sparing: leave most of the disk and memory to others."""
    if getattr(source, "video", False):
        return "video is not kept decoded"
    folder = cache.path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = cache.path.stat().st_blocks * 512 if cache.path.exists() else 0
        needed, free = cache.nbytes - taken, shutil.disk_usage(folder).free
        if needed > free * (_DISK_SHARE if sparing else 1):
            share = "a quarter of " if sparing else ""
            return f"decoded they take {_size(needed)}, more than {share}the {_size(free)} free in {folder}"
        if sparing and cache.nbytes > _memory() * _MEMORY_SHARE:
            return f"decoded they take {_size(cache.nbytes)}, more than half of the memory"
        cache.open()
    except OSError as error:
        return f"{error.strerror}: {error.filename or cache.path}"
    return None


def _memory() -> int:
    """Bytes of memory of the machine, or of the control group that holds this process if it has a limit."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return whole
    return min(whole, int(limit)) if limit.isdigit() else whole


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _checksum(record: bytes, id: int, pixels: np.ndarray) -> int:
    """CRC-32 of the stamp, the rectangle, the id and the pixels of a row."""
    return zlib.crc32(pixels.data, zlib.crc32(struct.pack("<q", id), zlib.crc32(record[:-4])))


def _write(file: int, data: bytes | memoryview, start: int) -> None:
    left = memoryview(data).cast("B")
    while left:  # a disk that is nearly full takes a part
        written = os.pwrite(file, left, start)
        left, start = left[written:], start + written
