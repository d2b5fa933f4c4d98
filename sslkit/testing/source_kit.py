"""Conformance kit for sources: what the contract promises, checked on a real instance."""

from __future__ import annotations

import pickle

import numpy as np

from sslkit.contracts import Content, Frames, Item, LabelledSource, Moment, Refused, Source
from sslkit.data.clips import Clips
from sslkit.data.decode.image import decode_image, read_header
from sslkit.data.decode.moment import decode_moment
from sslkit.testing.targets import check_target, counted, equal

_ROUNDING = 1e-6  # seconds by which the last moment may pass the end of its video


def check_source(source: Source, *, sample: int = 16, channels: int = 3) -> None:
    """Raise AssertionError, saying what is wrong, unless `source` keeps the `Source` contract.

    Looks at `sample` items spread evenly, which must be decodable, but for some that the source itself may
    refuse: give it a small sound data set. Of a moment of a video the frames in its middle are decoded.
    """
    name = type(source).__name__
    _require(isinstance(source, Source), f"{name} lacks one of {sorted(Source.__annotations__)} or a method")
    count = len(source)
    _require(count > 0, f"{name} is empty; a source without samples should refuse to be built")
    _require(len(source) == count, f"{name}: len() changed between two calls")
    fingerprint = source.fingerprint
    _require(
        isinstance(fingerprint, str) and fingerprint != "", f"{name}.fingerprint is not a non-empty string"
    )
    _check_labels(source, name, count)
    _check_groups(source, name, count)
    ids = sorted({count * k // sample for k in range(sample)} | {count - 1})
    copy = pickle.loads(pickle.dumps(source))  # what a spawned worker process receives; our own bytes
    _require(len(copy) == count, f"{name}: a pickled copy has {len(copy)} samples, not {count}")
    _require(copy.fingerprint == fingerprint, f"{name}: a pickled copy has another fingerprint")
    items = [source[id] for id in ids]
    for id, item in zip(ids, items, strict=True):
        _require(isinstance(item, Item), f"{name}[{id}] is a {type(item).__name__}, not an Item")
        _require(_same(item, source[id]), f"{name}[{id}] gave another item the second time")
        _require(_same(item, copy[id]), f"{name}[{id}] differs in a pickled copy")
        _check_item(source, name, id, item, channels)
    refused = sum(isinstance(item.content, Refused) for item in items)
    _require(refused < len(items), f"{name} refuses all of its items; it should refuse to be built")
    _require(source.fingerprint == fingerprint, f"{name}.fingerprint changed after items were read")
    _check_read_many(source, name, ids)
    _check_items(source, name, ids)
    _check_order(source, name, count, copy)
    for outside in (count, -1):
        try:
            source[outside]
        except IndexError:
            continue
        raise AssertionError(f"{name}[{outside}] must raise IndexError: ids are 0..{count - 1}")


def _check_labels(source: Source, name: str, count: int) -> None:
    labels, classes = source.labels, source.classes
    if labels is None:  # classes may be those of the targets
        known = len(classes) == 0 or isinstance(source, LabelledSource)
        _require(known, f"{name} has {len(classes)} classes but no labels")
        return
    _require(labels.dtype == np.int64, f"{name}.labels is {labels.dtype}, not int64")
    _require(labels.shape == (count,), f"{name}.labels has shape {labels.shape}, not ({count},)")
    _require(
        all(isinstance(one, str) for one in classes), f"{name}.classes holds something else than strings"
    )
    _require(len(set(classes)) == len(classes), f"{name}.classes has a name twice")
    low, high = int(labels.min()), int(labels.max())
    _require(low >= 0 and high < len(classes), f"{name}.labels are {low}..{high} for {len(classes)} classes")


def _check_groups(source: Source, name: str, count: int) -> None:
    groups = getattr(source, "groups", None)
    if groups is None:
        return
    _require(isinstance(groups, np.ndarray), f"{name}.groups is a {type(groups).__name__}, not an array")
    _require(groups.dtype == np.int64, f"{name}.groups is {groups.dtype}, not int64")
    _require(groups.shape == (count,), f"{name}.groups has shape {groups.shape}, not ({count},)")


def _check_item(source: Source, name: str, id: int, item: Item, channels: int) -> None:
    expected = None if source.labels is None else int(source.labels[id])
    _require(item.label == expected, f"{name}[{id}].label is {item.label}, but labels[{id}] is {expected}")
    _require(item.name != "", f"{name}[{id}].name is empty")
    side = source.native_side
    if isinstance(item.content, Refused):
        _require(item.content.reason != "", f"{name}[{id}] is refused without a reason")
        return
    if isinstance(item.content, Moment):
        _check_moment(name, id, item.content)
        return
    if isinstance(item.content, Frames):
        _require(side is None, f"{name} has a native_side, so items must be arrays")
        headers = [read_header(image, channels=channels) for image in item.content.images]
        sizes = {(header.height, header.width) for header in headers}
        _require(len(sizes) == 1, f"{name}[{id}] holds images of {len(sizes)} sizes; frames are of one")
        for image in item.content.images:
            decode_image(image, canvas=64, channels=channels)
        return
    if side is not None:
        _require(isinstance(item.content, np.ndarray), f"{name} has a native_side, so items must be arrays")
    pixels, (top, left, height, width) = decode_image(item.content, canvas=side or 64, channels=channels)
    _require(height > 0 and width > 0, f"{name}[{id}] decodes to nothing")
    if isinstance(item.content, np.ndarray) and side is not None:
        largest = max(item.content.shape[:2])
        _require(largest <= side, f"{name}[{id}] has a side of {largest}, above native_side {side}")
        valid = pixels[:, top : top + height, left : left + width]
        _require(
            valid.shape[1:] == item.content.shape[:2], f"{name}[{id}] does not survive decoding unchanged"
        )


def _check_moment(name: str, id: int, moment: Moment) -> None:
    _require(moment.rate > 0, f"{name}[{id}] is of a video of {moment.rate} frames a second")
    inside = moment.start >= 0 and moment.start + moment.length <= moment.duration + _ROUNDING
    shown = f"{moment.start:g}..{moment.start + moment.length:g} s of 0..{moment.duration:g} s"
    _require(moment.length > 0 and inside, f"{name}[{id}] is no part of its video: {shown}")
    times = Clips(frames=2).still(moment)
    pixels, (_, _, height, width) = decode_moment(moment, times, canvas=64)
    _require(pixels.shape == (1, 2, 3, 64, 64), f"{name}[{id}] decodes to pixels of shape {pixels.shape}")
    _require(height > 0 and width > 0, f"{name}[{id}] decodes to nothing")


def _check_read_many(source: Source, name: str, ids: list[int]) -> None:
    read_many = getattr(source, "read_many", None)
    if read_many is None:
        return
    many = read_many(np.array(ids, dtype=np.int64))
    _require(many.dtype == np.uint8 and many.ndim == 4, f"{name}.read_many gave {many.dtype} {many.shape}")
    for row, id in zip(many, ids, strict=True):
        content = source[id].content
        _require(np.array_equal(row, np.asarray(content)), f"{name}.read_many differs from {name}[{id}]")


def _check_items(source: Source, name: str, ids: list[int]) -> None:
    items = getattr(source, "items", None)
    if items is None:
        return
    wanted = [*reversed(ids), ids[0]]  # in no order, one of them twice
    many = items(np.array(wanted, dtype=np.int64))
    _require(len(many) == len(wanted), f"{name}.items gave {len(many)} items for {len(wanted)} ids")
    for item, id in zip(many, wanted, strict=True):
        _require(_same(item, source[id]), f"{name}.items differs from {name}[{id}]")


def _check_order(source: Source, name: str, count: int, copy: Source) -> None:
    order = getattr(source, "order", None)
    if order is None:
        return
    first = order(0, 0)
    _require(isinstance(first, np.ndarray), f"{name}.order gave a {type(first).__name__}, not an array")
    _require(first.dtype == np.int64, f"{name}.order is {first.dtype}, not int64")
    _require(first.shape == (count,), f"{name}.order has shape {first.shape}, not ({count},)")
    low, high = int(first.min()), int(first.max())
    _require(low >= 0 and high < count, f"{name}.order holds ids {low}..{high}; they are 0..{count - 1}")
    for who, again in (("the second time", order), ("in a pickled copy", copy.order)):  # type: ignore[attr-defined]
        _require(np.array_equal(first, again(0, 0)), f"{name}.order(0, 0) is another {who}")
    for what, others in (("epoch", [(0, 1), (0, 2)]), ("seed", [(1, 0), (2, 0)])):
        other = any(
            not np.array_equal(first, order(*one)) for one in others
        )  # few samples may meet by chance
        _require(count < 4 or other, f"{name}.order is the same whatever the {what}")


def check_labelled_source(source: LabelledSource, *, sample: int = 16, channels: int = 3) -> None:
    """`check_source`, and raise AssertionError unless the targets keep the `LabelledSource` contract.

    Give it a small sound data set: `problems` must find nothing, and no item may be refused. Targets are
    held against the pixels of their images and against `class_counts`. Targets of a plugin's own kind must
    follow a warp; more is not known of them.
    """
    name = type(source).__name__
    missing = f"{name} lacks one of target_kind, target, problems, class_counts"
    _require(isinstance(source, LabelledSource), missing)
    check_source(source, sample=sample, channels=channels)
    kind, count = source.target_kind, len(source)
    _require(isinstance(kind, str) and kind != "", f"{name}.target_kind is not a non-empty string")
    problems = source.problems()
    _require(isinstance(problems, list), f"{name}.problems() gave a {type(problems).__name__}, not a list")
    _require(problems == [], f"{name} finds problems in what should be sound: {problems[:3]}")
    counts = source.class_counts()
    _require(counts.dtype == np.int64, f"{name}.class_counts() is {counts.dtype}, not int64")
    shape = (count, len(source.classes))
    _require(counts.shape == shape, f"{name}.class_counts() has shape {counts.shape}, not {shape}")
    copy = pickle.loads(pickle.dumps(source))
    for id in sorted({count * k // sample for k in range(sample)} | {count - 1}):
        target = source.target(id)
        for who, again in (("the second time", source.target(id)), ("in a pickled copy", copy.target(id))):
            _require(equal(target, again), f"{name}.target({id}) is another {who}")
        content = source[id].content
        header = read_header(content.images[0] if isinstance(content, Frames) else content, channels=channels)
        check_target(target, kind, (header.height, header.width), len(source.classes), f"{name}.target({id})")
        found = counted(target, len(source.classes))
        agree = found is None or any(np.array_equal(counts[id], one) for one in found)
        _require(agree, f"{name}.class_counts()[{id}] is {counts[id].tolist()}, its target holds {found}")
    for outside in (count, -1):
        try:
            source.target(outside)
        except IndexError:
            continue
        raise AssertionError(f"{name}.target({outside}) must raise IndexError: ids are 0..{count - 1}")


def _same(one: Item, other: Item) -> bool:
    same = _same_content(one.content, other.content)
    return same and one.name == other.name and one.label == other.label


def _same_content(one: Content, other: Content) -> bool:
    if isinstance(one, Frames) and isinstance(other, Frames):
        same = len(one.images) == len(other.images)
        return same and all(map(_same_content, one.images, other.images))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
