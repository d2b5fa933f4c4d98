"""What is in train and in test at once, so that a figure would tell of memory instead of skill."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Hashable, Iterator
from pathlib import Path

import numpy as np

from sslkit.contracts import Content, Frames, Item, Moment, Painter, Source

_BLOCK = 1 << 20  # bytes of a file hashed in one go


def leaks(train: Source, test: Source) -> list[str]:
    """Lines that name every group and every sample of `test` that is in `train` too; none where all is well.

    Groups are compared by name, where both sources have `group_names` (group k is called group_names[k]):
    scenes, films, people. Samples are the same where they are one file or one painter, and where two files
    are copies: videos by content alone, images by name and content. Only files whose sizes agree are read.
    Samples that are no files, such as arrays or those of shards, are not looked at, nor are copies of pairs.
    """
    groups = _shared_groups(train, test)
    told = {id for _, ids in groups for id in ids}
    samples = [line for line, id in _shared_samples(train, test) if id not in told]
    return [line for line, _ in groups] + samples


def _shared_groups(train: Source, test: Source) -> list[tuple[str, list[int]]]:
    """Lines, and the ids in test that each speaks of."""
    here, there = _by_group(train), _by_group(test)
    found = []
    for name in sorted(here.keys() & there.keys()):
        counts = f"{len(here[name])} samples of train, {len(there[name])} of test"
        shown = f"{train[here[name][0]].name} and {test[there[name][0]].name}"
        found.append((f"group '{name}' is in both: {counts}, such as {shown}", there[name]))
    return found


def _by_group(source: Source) -> dict[str, list[int]]:
    names, groups = getattr(source, "group_names", ()), getattr(source, "groups", None)
    ids: dict[str, list[int]] = defaultdict(list)
    if groups is not None and len(names):
        for id, group in enumerate(groups.tolist()):
            ids[names[group]].append(id)
    return ids


def _shared_samples(train: Source, test: Source) -> Iterator[tuple[str, int]]:
    """Lines, and the id in test of each; a video that is cut into moments is told once."""
    ids: dict[Hashable, int] = {}
    looks: dict[Hashable, list[int]] = defaultdict(list)
    for id, item in _stored(test):
        place = _place(item)
        if place not in ids:
            ids[place] = id
            if (look := _look(item)) is not None:
                looks[look].append(id)
    seen: set[Hashable] = set()
    digests: dict[Path, bytes] = {}
    for _, item in _stored(train) if ids else ():
        place = _place(item)
        if place in seen:
            continue
        seen.add(place)
        if place in ids:
            yield f"{item.name} is in both", ids[place]
            continue
        for id in looks.get(_look(item), ()):
            if _digest(_path(item), digests) == _digest(_path(test[id]), digests):
                yield f"{item.name} of train and {test[id].name} of test are copies of one file", id


def _stored(source: Source) -> Iterator[tuple[int, Item]]:
    """The items of a source that are files or painted; none are asked for where the first one is pixels."""
    if source.native_side is not None or not len(source) or isinstance(source[0].content, bytes | np.ndarray):
        return
    for id in range(len(source)):
        item = source[id]
        if _place(item) is not None:
            yield id, item


def _place(item: Item) -> Hashable | None:
    """What is equal for the same files, or for the same painter."""
    content: Content | Painter = item.content
    if isinstance(content, Moment):
        content = content.path
    if isinstance(content, Frames):
        places = tuple(os.path.abspath(image) for image in content.images if isinstance(image, Path))  # noqa: PTH100 - far cheaper for millions
        return places if len(places) == len(content.images) else None
    if isinstance(content, Path):
        return os.path.abspath(content)  # noqa: PTH100
    return content if callable(content) else None


def _path(item: Item) -> Path:
    path = item.content.path if isinstance(item.content, Moment) else item.content
    assert isinstance(path, Path)
    return path


def _look(item: Item) -> Hashable | None:
    """What copies have in common, told without reading them; None for what is not one file."""
    content = item.content
    path = content.path if isinstance(content, Moment) else content
    try:
        if not isinstance(path, Path) or not path.is_file():
            return None
        size = path.stat().st_size
    except OSError:
        return None
    return size if isinstance(content, Moment) else (path.name, size)


def _digest(path: Path, known: dict[Path, bytes]) -> bytes:
    if path not in known:
        digest = hashlib.blake2b(digest_size=16)
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
        except OSError:  # like no other
            digest.update(str(path).encode(errors="surrogateescape"))
        known[path] = digest.digest()
    return known[path]
