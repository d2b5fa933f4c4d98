"""What a data set holds, before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from sslkit.contracts import Content, Frames, LabelledSource, Moment, Painter, Skipped, Source
from sslkit.data.clips import Clips
from sslkit.data.decode.frames_folder import list_frames
from sslkit.data.decode.image import decode_image, read_header
from sslkit.data.decode.moment import decode_moment
from sslkit.data.decode.video import probe_video
from sslkit.errors import DecodeError

Number = TypeVar("Number", int, float)

_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
_CANVAS = 32  # unreadable files show at any size; a small canvas lets JPEG skip most of the work


@dataclass(frozen=True)
class Annotations:
    """What the annotations of a whole source hold.

    target: the kind of its targets. class_images: how many images show each class. class_objects: how many
    objects, or pixels, of each class there are. imbalance: the largest of `class_objects` by the smallest
    that is not 0; 1.0 for less than two classes. empty_images: those that hold nothing. problems: as the
    source tells them.
    """

    target: str
    class_images: Mapping[str, int]
    class_objects: Mapping[str, int]
    imbalance: float
    empty_images: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """Counts of a whole source, and what decoding `sampled` of its items showed.

    classes: samples by class name. formats: decoded items by format and mode, such as "JPEG RGB", those of
    video by container and codec, such as "avi mpeg4", or "folder JPEG RGB".
    widths, heights: quantiles in pixels, by name ("minimum", "5 %", "median", "95 %", "maximum").
    videos: different videos among the items sampled. durations: quantiles of theirs in seconds.
    annotations: of a source with targets, else None.
    """

    count: int
    fingerprint: str
    classes: Mapping[str, int]
    sampled: int
    formats: Mapping[str, int]
    widths: Mapping[str, int]
    heights: Mapping[str, int]
    unreadable: tuple[Skipped, ...]
    videos: int = 0
    durations: Mapping[str, float] = field(default_factory=dict)
    annotations: Annotations | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values that JSON can write; what is told of annotations stands among them.

        Targets without classes, such as flow, have no counts by class.
        """
        plain = asdict(self)
        told = plain.pop("annotations") or {}
        if told and not told["class_images"]:
            told = {name: told[name] for name in ("target", "problems")}
        return plain | told


def inspect_source(source: Source, *, sample: int | None = 1000, channels: int = 3) -> Inspection:
    """Count a source and decode `sample` evenly spread items, or all of them when it is None.

    Of a video one frame is decoded, in the middle of the moment. channels: as a recipe's data.channels.
    """
    count = len(source)
    wanted = count if sample is None else min(max(0, sample), count)
    ids = np.arange(wanted, dtype=np.int64) * count // max(1, wanted)
    formats: Counter[str] = Counter()
    sizes: list[tuple[int, int]] = []
    unreadable: list[Skipped] = []
    videos: dict[Path | Painter, _Seen] = {}
    durations: dict[Path | Painter, float] = {}
    for id in ids.tolist():
        item = source[id]
        try:
            seen = _seen(item.content, videos, channels)
        except DecodeError as error:
            unreadable.append(Skipped(id, item.name, str(error)))
            continue
        formats[seen.format] += 1
        sizes.append((seen.width, seen.height))
        if isinstance(item.content, Moment):
            durations[item.content.path] = item.content.duration
    return Inspection(
        count=count,
        fingerprint=source.fingerprint,
        classes=_class_counts(source),
        sampled=wanted,
        formats=dict(formats.most_common()),
        widths=_quantiles([width for width, _ in sizes]),
        heights=_quantiles([height for _, height in sizes]),
        unreadable=tuple(unreadable),
        videos=len(durations),
        durations=_quantiles([round(seconds, 3) for seconds in durations.values()]),
        annotations=inspect_annotations(source) if isinstance(source, LabelledSource) else None,
    )


def inspect_annotations(source: LabelledSource) -> Annotations:
    """Count the targets of a source, and list what is wrong with them."""
    counts = source.class_counts()
    totals = counts.sum(axis=0)
    met = totals[totals > 0]
    return Annotations(
        target=source.target_kind,
        class_images=dict(zip(source.classes, (counts > 0).sum(axis=0).tolist(), strict=True)),
        class_objects=dict(zip(source.classes, totals.tolist(), strict=True)),
        imbalance=round(float(met.max() / met.min()), 2) if len(met) else 1.0,
        empty_images=int((counts.sum(axis=1) == 0).sum()),
        problems=tuple(source.problems()),
    )


class _Seen(NamedTuple):
    format: str
    width: int
    height: int


def _seen(content: Content, videos: dict[Path | Painter, _Seen], channels: int) -> _Seen:
    """Decode content; raises DecodeError. Headers of `videos` are read once."""
    if isinstance(content, Moment):
        decode_moment(content, Clips().still(content), canvas=_CANVAS)
        if content.path not in videos:
            videos[content.path] = _video_seen(content.path)
        return videos[content.path]
    if isinstance(content, Frames):
        *others, last = (_seen(image, videos, channels) for image in content.images)
        for other in others:
            if other[1:] != last[1:]:
                raise DecodeError(f"its frames have {other[1]}x{other[2]} and {last[1]}x{last[2]} pixels")
        return _Seen(f"{len(content.images)} x {last.format}", last.width, last.height)
    header = read_header(content, channels=channels)
    decode_image(content, canvas=_CANVAS, channels=channels)
    return _Seen(f"{header.format} {header.mode}", header.width, header.height)


def _video_seen(path: Path | Painter) -> _Seen:
    if not isinstance(path, Path):
        height, width = path(np.zeros(1)).shape[1:3]
        return _Seen("painted RGB", width, height)
    if path.is_dir():
        frame = read_header(list_frames(path)[0])
        return _Seen(f"folder {frame.format} {frame.mode}", frame.width, frame.height)
    header = probe_video(path)
    container = header.format.partition(",")[0]  # one of the names of a family
    return _Seen(f"{container} {header.codec}", header.width, header.height)


def _class_counts(source: Source) -> dict[str, int]:
    if source.labels is None:
        return {}
    counts = np.bincount(source.labels, minlength=len(source.classes)).tolist()
    return dict(zip(source.classes, counts, strict=True))


def _quantiles(values: list[Number]) -> dict[str, Number]:
    names = ("minimum", "5 %", "median", "95 %", "maximum")
    if not values:
        return {}
    found = np.quantile(values, _QUANTILES, method="nearest")
    return dict(zip(names, found.tolist(), strict=True))
