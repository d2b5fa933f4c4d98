"""Pictures that a person drops on the page: bounded, and kept in memory only."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

from sslkit.contracts import Item
from sslkit.data.decode.image import read_header
from sslkit.data.pictures import picture
from sslkit.errors import ConfigError, DataError
from sslkit.runs.serving.tiles import WHOLE, encoded

MOST_BYTES = 32 * 2**20
MOST_PIXELS = 64 * 10**6  # 200 MB once decoded

_KEPT = 12  # pictures; one more pushes the oldest out


@dataclass(frozen=True)
class Uploaded:
    """A picture by which someone searches. content: its file; shown: a JPEG of a bounded size."""

    key: str
    content: bytes
    shown: bytes


class Uploads:
    """The latest pictures, by keys that cannot be guessed; gone when the process ends."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._kept: OrderedDict[str, Uploaded] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, content: bytes) -> Uploaded:
        """Check a picture and keep it.

        Raises DecodeError when it is no picture of the kinds that are read, DataError when it is too large.
        """
        if len(content) > MOST_BYTES:
            raise DataError(f"the picture has {len(content)} bytes; at most {MOST_BYTES} are taken")
        header = read_header(content, channels=self._channels)
        if header.width * header.height > MOST_PIXELS:
            raise DataError(
                f"the picture has {header.width} x {header.height} pixels; at most {MOST_PIXELS} are taken: "
                "make it smaller"
            )
        pixels = picture(Item(content, "the picture"), side=WHOLE, channels=self._channels)
        uploaded = Uploaded(secrets.token_urlsafe(12), content, encoded(pixels))
        with self._lock:
            self._kept[uploaded.key] = uploaded
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return uploaded

    def get(self, key: str) -> Uploaded:
        """A kept picture; ConfigError when it is no longer there."""
        with self._lock:
            if key not in self._kept:
                raise ConfigError("that picture is no longer kept; choose it again")
            self._kept.move_to_end(key)
            return self._kept[key]
