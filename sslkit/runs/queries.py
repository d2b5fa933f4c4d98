"""What one searches by: a picture, a part of it, or a moment of a video; and its embedding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslkit.contracts import Item, Moment
from sslkit.data.decode.image import Still, decode_image, read_header
from sslkit.data.decode.moment import decode_moment, moment_size
from sslkit.data.loader import choose_canvas
from sslkit.data.pictures import picture
from sslkit.errors import ConfigError, DataError, DecodeError, SslkitError
from sslkit.retrieval.times import told_span
from sslkit.runs.embedder import Embedder
from sslkit.runs.reading import cores_of_a_rank

_PEEK = 32  # side at which queries are read to see whether they can be; JPEG then skips most of its work
_NAMED = 5  # of the queries that cannot be used, which are all counted


class Box(NamedTuple):
    """A part of an image in pixels of the original as it stands upright; x, y: its corner at the top left."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Query:
    """Something to search by. name: what a person calls it; box: the part that counts, else all of it."""

    name: str
    content: Still | Moment
    box: Box | None = None

    @property
    def times(self) -> tuple[float, float] | None:
        """Seconds from and to of a moment of a video; None for a still."""
        if not isinstance(self.content, Moment):
            return None
        return self.content.start, self.content.start + self.content.length

    @property
    def note(self) -> str:
        """The part of the file that counts, in words; nothing where that is all of an image."""
        parts = []
        if isinstance(self.content, Moment):
            whole = self.content.length == self.content.duration
            parts.append(
                told_span(*self.times or (0.0, 0.0)) + (", all of it as one moment" if whole else "")
            )
        if self.box is not None:
            parts.append(f"box {','.join(map(str, self.box))}")
        return ", ".join(parts)

    def size(self, *, channels: int = 3) -> tuple[int, int]:
        """(width, height) of the whole image in pixels, upright; decodes it. Raises DecodeError."""
        if isinstance(self.content, Moment):
            height, width = moment_size(self.content)
        else:
            _, height, width = _whole(self.content, channels).shape
        return width, height

    def shares(self, *, channels: int = 3) -> tuple[float, float, float, float] | None:
        """The box as shares of width and height, 0..1: left, top, width, height; None for all of it."""
        if self.box is None:
            return None
        width, height = self.size(channels=channels)
        return (
            self.box.x / width,
            self.box.y / height,
            self.box.width / width,
            self.box.height / height,
        )

    def item(self, *, canvas: int, channels: int = 3) -> Item:
        """What a network or a person is to see of it; a part of a still has at most `canvas` pixels a side.

        Raises ConfigError for a box that is not inside the image, DecodeError.
        """
        content = self.content
        if self.box is None:
            return Item(content, self.name)
        if isinstance(content, Moment):
            width, height = self.size()
        else:
            pixels = _whole(content, channels)
            _, height, width = pixels.shape
        rows, columns = self._inside(self.box, width, height)
        if self.box == (0, 0, width, height):  # to the bit what it is without a box
            return Item(content, self.name)
        if isinstance(content, Moment):
            part = _Part(content, (rows, columns), max(width, height))
            return Item(replace(content, path=part), self.name)
        cut = _channels_last(pixels[:, rows, columns])
        small, (_, _, height, width) = decode_image(cut, canvas=canvas, channels=channels)
        return Item(_channels_last(small[:, :height, :width]), self.name)

    def _inside(self, box: Box, width: int, height: int) -> tuple[slice, slice]:
        if box.x + box.width > width or box.y + box.height > height:
            raise ConfigError(
                f"{self.name}: the box {','.join(map(str, box))} reaches to {box.x + box.width},"
                f"{box.y + box.height}, beyond the image of {width}x{height} pixels; give "
                "x,y,width,height in pixels of the original"
            )
        return slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)


def box_of(box: str | Sequence[int]) -> Box:
    """The box of "x,y,width,height" or of four numbers; ConfigError for anything else."""
    try:
        numbers = [int(part) for part in (box.split(",") if isinstance(box, str) else box)]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 4 or min(numbers[:2]) < 0 or min(numbers[2:]) < 1:
        raise ConfigError(
            f"{box!r} is no box; write x,y,width,height in pixels of the image, from its top left corner, "
            "such as 120,40,200,160"
        )
    return Box(*numbers)


def refuse_unreadable(queries: Sequence[Query], *, channels: int = 3) -> None:
    """Read each query once, small; raises DecodeError or ConfigError naming those that cannot be used."""

    def trouble(query: Query) -> SslkitError | None:
        try:
            picture(query.item(canvas=_PEEK, channels=channels), side=_PEEK, channels=channels)
        except (DecodeError, ConfigError) as error:
            return error
        return None

    with ThreadPoolExecutor(cores_of_a_rank()) as threads:
        raise_together(filter(None, threads.map(trouble, queries)), len(queries))


def raise_together(troubles: Iterable[SslkitError], of: int) -> None:
    """Raise one error that counts all of some and says what the first are, of the kind of the first."""
    troubles = list(troubles)
    if len(troubles) == 1:
        raise troubles[0]
    if troubles:
        told = "; ".join(map(str, troubles[:_NAMED])) + ("; ..." if len(troubles) > _NAMED else "")
        raise type(troubles[0])(f"{len(troubles)} of {of} queries cannot be used: {told}")


def embed_queries(
    embedder: Embedder, queries: Sequence[Query], *, progress: bool = False
) -> NDArray[np.float32]:
    """Embeddings float32 (Q, D) of queries in their order; what stands beside one changes nothing in it.

    Of a moment of a video the model sees what it saw of the indexed ones: the frame or the clip in its
    middle. Raises DecodeError or ConfigError naming those that cannot be used.
    """
    parts = list[tuple[list[int], NDArray[np.float32]]]()
    for moving in (False, True):  # a still among videos would be seen as a clip of itself
        rows = [row for row, query in enumerate(queries) if isinstance(query.content, Moment) == moving]
        if rows:
            source = _QuerySource([queries[row] for row in rows], embedder)
            found = embedder.features(source, progress=progress and len(rows) > 1)
            raise_together((DecodeError(f"{one.name}: {one.reason}") for one in found.skipped), len(queries))
            parts.append((rows, found.embeddings.numpy()))
    if not parts:
        raise DataError("no query was given; name an image to search by")
    vectors = np.empty((len(queries), parts[0][1].shape[1]), np.float32)
    for rows, part in parts:
        vectors[rows] = part
    return vectors


class _QuerySource:
    """Queries as a data set: all of them stills, or all moments of videos."""

    def __init__(self, queries: Sequence[Query], embedder: Embedder) -> None:
        self.classes: Sequence[str] = ()
        self.labels: np.ndarray | None = None
        self.fingerprint = ""  # nothing made of queries is kept
        self.native_side: int | None = None
        self.splits: Sequence[str] = ()
        self.video = any(isinstance(query.content, Moment) for query in queries)
        self._queries, self._channels = queries, embedder.backbone.channels
        self._canvas = choose_canvas(self, embedder.size)

    def __len__(self) -> int:
        return len(self._queries)

    def __getitem__(self, id: int) -> Item:
        return self._queries[id].item(canvas=self._canvas, channels=self._channels)


@dataclass(frozen=True)
class _Part:
    """Paints a part of each frame of a video."""

    moment: Moment
    inside: tuple[slice, slice]
    side: int

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        frames, _ = decode_moment(self.moment, seconds[None], canvas=self.side)
        rows, columns = self.inside
        return np.ascontiguousarray(frames[0][:, :, rows, columns].transpose(0, 2, 3, 1))


def _whole(content: Still, channels: int) -> NDArray[np.uint8]:
    """All pixels of an image, upright, uint8 (C, H, W)."""
    header = read_header(content, channels=channels)
    pixels, (_, _, height, width) = decode_image(
        content, canvas=max(header.width, header.height), channels=channels
    )
    return pixels[:, :height, :width]


def _channels_last(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))
