"""Tar shards by their address, on a disk or wherever fsspec reads, each with its index made once."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec
import numpy as np

from sslkit.atomic import replace_text
from sslkit.data.cache_folder import cache_folder
from sslkit.data.tar_index import TarIndex, read_index
from sslkit.errors import ConfigError, DataError

_VERSION = 1  # of the text in the cache
_WORTH_CACHING = 1000  # samples; headers of fewer, on a disk, are read in milliseconds
_MOST_SHARDS = 1_000_000
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class ShardFile:
    """A shard as it was found.

    place: absolute path or URL. size: bytes. stamp: another one when the file was changed.
    """

    place: str
    size: int
    stamp: str

    @property
    def name(self) -> str:
        return self.place.rpartition("/")[2]

    @property
    def remote(self) -> bool:
        return "://" in self.place

    def open(self) -> IO[bytes]:
        """Open for reading; raises OSError."""
        if not self.remote:
            return Path(self.place).open("rb")
        file: IO[bytes] = fsspec.open(self.place, "rb").open()
        return file


def find_shards(address: str) -> list[ShardFile]:
    """The shards of a .tar file, a folder of them, or a pattern such as photos-{000..012}.tar, in order.

    Each may be a path or a URL of fsspec. Raises DataError where there is none, or a pattern's is missing.
    """
    shards = [shard for place in _expanded(address) for shard in _at(place)]
    if not shards:
        raise DataError(
            f"{address}: no .tar file is in this folder; name a folder, a file or a pattern of shards"
        )
    return shards


def index_of(shard: ShardFile) -> TarIndex:
    """The samples of a shard, from the cache folder where its headers were read before.

    Raises DataError when it cannot be read or is no tar archive.
    """
    key = hashlib.sha256(os.fsencode(shard.place)).hexdigest()[:32]
    cached = cache_folder() / "shards" / f"{key}.json"
    try:
        return _from_text(cached.read_text(encoding="utf-8"), shard)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never made, of another version or state of the shard, or damaged: made anew
    try:
        with shard.open() as file:
            index = read_index(file, shard.size, shard.place)
    except DataError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise DataError(f"cannot read the shard {shard.place}: {error}") from error
    if shard.remote or len(index.names) > _WORTH_CACHING:
        with suppress(ConfigError):  # a full disk costs the next run some seconds
            replace_text(cached, _to_text(index, shard))
    return index


def beside(shard: ShardFile, name: str) -> bytes | None:
    """The content of a file in the shard's folder, None where there is none."""
    place = f"{shard.place.rpartition('/')[0]}/{name}"
    try:
        with ShardFile(place, 0, "").open() as file:
            return file.read()
    except OSError:
        return None


def _expanded(address: str) -> Iterator[str]:
    """The address for each number of its {first..last}, with as many digits as the first has."""
    found = _RANGE.search(address)
    if found is None:
        yield address
        return
    first, last = int(found[1]), int(found[2])
    if not first <= last < first + _MOST_SHARDS:
        raise DataError(f"{address}: {found[0]} must count upwards, to at most {_MOST_SHARDS} shards")
    for number in range(first, last + 1):
        text = f"{number:0{len(found[1])}}"
        yield from _expanded(address[: found.start()] + text + address[found.end() :])


def _at(place: str) -> list[ShardFile]:
    if "://" in place:
        protocol, _, rest = place.partition("://")
        if protocol not in ("file", "local"):
            return _remote(place)
        place = rest
    path = Path(place).expanduser().absolute()
    try:
        if path.is_dir():
            with os.scandir(path) as entries:
                files = [entry.path for entry in entries if _is_shard(entry.name)]
            return [_local(file) for file in sorted(files)]
        return [_local(str(path))]
    except FileNotFoundError as error:
        raise DataError(
            f"there is no shard {error.filename}; write the address as it is on the disk"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read the shards in {path}: {error.strerror}") from error


def _local(path: str) -> ShardFile:
    status = os.stat(path)  # noqa: PTH116 - its error names the file
    return ShardFile(path, status.st_size, str(status.st_mtime_ns))


def _is_shard(name: str) -> bool:
    return name.endswith(".tar") and not name.startswith(".")


def _remote(url: str) -> list[ShardFile]:
    try:
        files, path = fsspec.core.url_to_fs(url)
        info = files.info(path)
        if info["type"] != "directory":
            return [_described(url, info)]
        listed = {str(one["name"]).rpartition("/")[2]: one for one in files.ls(path, detail=True)}
    except FileNotFoundError as error:
        raise DataError(f"there is no shard {url}") from error
    except Exception as error:  # an unknown protocol, a missing package, no network, no permission, ...
        raise DataError(f"cannot read the shards at {url}: {error}") from error
    return [
        _described(f"{url.rstrip('/')}/{name}", listed[name]) for name in sorted(listed) if _is_shard(name)
    ]


def _described(url: str, info: dict[str, Any]) -> ShardFile:
    if info.get("size") is None:
        raise DataError(f"{url}: the server does not tell its size; copy the shard to a disk")
    # All that is known of a file, such as its time and ETag: what fsspec itself takes for `ukey`.
    stamp = hashlib.sha256(repr(sorted((key, str(info[key])) for key in info)).encode()).hexdigest()[:32]
    return ShardFile(url, int(info["size"]), stamp)


def _to_text(index: TarIndex, shard: ShardFile) -> str:
    body = json.dumps(
        {
            "of": [_VERSION, shard.place, shard.size, shard.stamp],
            "names": index.names,
            "offsets": _packed(index.offsets),
            "sizes": _packed(index.sizes),
            "texts": index.texts,
            "labels": _packed(index.labels),
            "refused": list(index.refused.items()),
        }
    )
    return f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}"


def _from_text(text: str, shard: ShardFile) -> TarIndex:
    """Raises ValueError, KeyError or TypeError for what `_to_text` did not write of this very shard."""
    digest, _, body = text.partition("\n")
    if hashlib.sha256(body.encode()).hexdigest() != digest:
        raise ValueError("damaged")
    fields = json.loads(body)
    if fields["of"] != [_VERSION, shard.place, shard.size, shard.stamp]:
        raise ValueError("of another version, or of the shard as it was before")
    return TarIndex(
        fields["names"],
        np.frombuffer(base64.b64decode(fields["offsets"]), "<i8"),
        np.frombuffer(base64.b64decode(fields["sizes"]), "<i4"),
        fields["texts"],
        np.frombuffer(base64.b64decode(fields["labels"]), "<i4"),
        {int(position): reason for position, reason in fields["refused"]},
    )


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
