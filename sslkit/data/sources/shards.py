"""Tar shards as WebDataset writes them, read at random."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from sslkit.contracts import Content, Item, Refused
from sslkit.data.byte_ranges import ByteRanges, Part
from sslkit.data.class_folders import available_splits, chosen_split
from sslkit.data.decode.suffixes import EXTENSIONS
from sslkit.data.packed import PackedNames
from sslkit.data.shard_files import ShardFile, beside, find_shards, index_of
from sslkit.data.tar_index import TarIndex
from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit.keyed_random import hashed, permutation, word

_MOST_CLASSES = 1_000_000  # a number beyond is no class but an identity
_CLASSES = "classes.txt"


class ShardsSource:
    """Images in tar shards: a .tar file, a folder of them, a pattern photos-{000..012}.tar or a URL of these.

    Members of one key (path up to the first dot of the file name) are one sample: its first image, and a
    label in `cls`, `cls.txt` or, in `json`, "label" or "cls". Labels are class numbers or names; a text
    `classes.txt` beside the shards or above the split gives the names in order, one a line. Every sample has
    a label or none has; `labels=False` leaves them unread. A local folder with folders train and val, valid,
    validation or test has these splits.

    `order` reads shards in turn through a buffer of `buffer` samples. Since it is a function, and a batch a
    slice of it, ranks and workers read disjoint samples and a run resumes at any batch; no state is kept.

    Headers are read once and remembered in the cache folder until a shard's size or time changes. A sample
    that cannot be trusted or is no longer there is `Refused`, so that the run skips and counts it: a link, a
    path that leads out, one cut by the end of its shard, any of a shard that was changed meanwhile. Such a
    sample counts as class 0 where its label was lost. Raises DataError for an address without shards, a file
    that is no plain tar archive, shards without images, or labels that are not of one kind.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        split: str | None = None,
        buffer: int = 4096,
        labels: bool = True,
    ) -> None:
        if buffer < 1:
            raise ConfigError(f"buffer={buffer}: the shuffle buffer holds at least 1 sample")
        address = os.path.expanduser(path)  # noqa: PTH111 - a Path would take a slash out of a URL
        self.splits: Sequence[str] = available_splits(address) if os.path.isdir(address) else ()  # noqa: PTH112
        if split is not None and not self.splits:
            raise UnknownNameError("split", split, (), f"{address} is one set; name the shards of one split.")
        self.split = chosen_split(split, self.splits, Path(address))
        self.buffer = buffer
        files = find_shards(f"{address}/{self.split}" if self.split else address)
        indexes: list[TarIndex] = []
        self._names = PackedNames(_named(files, indexes))
        if not len(self._names):
            known = " ".join(sorted(EXTENSIONS))
            raise DataError(f"{address}: no images in {len(files)} shards; images end in {known}")
        self._ranges = ByteRanges(files)
        self._firsts = np.cumsum(
            [0, *(len(index.sizes) for index in indexes)]
        )  # id of each shard's first sample
        self._offsets = np.concatenate([index.offsets for index in indexes])
        self._sizes = np.concatenate([index.sizes for index in indexes])
        self._refused = {
            int(first) + position: reason
            for first, index in zip(self._firsts, indexes, strict=False)
            for position, reason in index.refused.items()
        }
        if len(self._refused) == len(self._names):
            raise DataError(f"{address}: no image can be read; {self._refused[0]}")
        self.classes: Sequence[str] = ()
        self.labels: np.ndarray | None = None
        if labels and any(index.texts for index in indexes):
            given = _given_classes(files[0], self.split is not None)
            others = () if given else [one for one in self.splits if one != self.split]
            elsewhere = {
                text
                for one in others
                for file in find_shards(f"{address}/{one}")
                for text in index_of(file).texts
            }
            self.classes, self.labels = self._labelled(indexes, elsewhere, given)
        digest = hashlib.sha256(self._names.fingerprint(self.labels, self.classes).encode())
        digest.update(self._offsets.tobytes())
        digest.update(self._sizes.tobytes())
        self.fingerprint = digest.hexdigest()[:32]
        self.native_side: int | None = None

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, id: int) -> Item:
        return self.items([id])[0]

    def items(self, ids: Sequence[int] | np.ndarray) -> list[Item]:
        """Many items at once, their content as bytes; neighbours in a shard are read together."""
        asked = [int(id) for id in ids]
        names = [self._names[id] for id in asked]  # raises IndexError
        sound = [id for id in asked if id not in self._refused]
        shards = np.searchsorted(self._firsts, sound, side="right") - 1
        parts = map(Part, shards.tolist(), self._offsets[sound].tolist(), self._sizes[sound].tolist())
        contents: dict[int, Content] = {id: Refused(self._refused[id]) for id in asked if id in self._refused}
        contents.update(zip(sound, self._ranges.read(list(parts)), strict=True))
        return [
            Item(contents[id], name, None if self.labels is None else int(self.labels[id]))
            for id, name in zip(asked, names, strict=True)
        ]

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Every id once, int64 (len,): shards permuted, each read from its start, then a shuffle buffer.

        The buffer is filled first; then one of its samples is drawn and the next one read takes its place;
        at the end the rest comes in a random order. A function of its arguments and of `buffer`.
        """
        shards = permutation(len(self._firsts) - 1, seed=seed, epoch=epoch).numpy()
        counts = np.diff(self._firsts)[shards]
        begins = np.cumsum(counts) - counts
        read = np.repeat(self._firsts[shards] - begins, counts) + np.arange(len(self))
        held = min(self.buffer, len(self))
        steps = len(self) - held
        # What a slot gives is what was put there when it was drawn before: the steps sorted by slot tell it.
        slots = _draws(seed, epoch, steps, held)
        by_slot = np.argsort(slots, kind="stable")
        same = slots[by_slot[1:]] == slots[by_slot[:-1]]  # as the draw before, in this sorting
        given = slots.astype(np.int64)  # the first draw of a slot gives what filled it
        given[by_slot[1:][same]] = held + by_slot[:-1][same]
        rest = np.arange(held)
        final = by_slot[np.append(~same, True)[:steps]]  # the last draw of each slot
        rest[slots[final]] = held + final
        last = torch.argsort(
            hashed(seed, epoch, word("end of shuffle buffer"), torch.arange(held)), stable=True
        )
        order: np.ndarray = read[np.concatenate([given, rest[last.numpy()]])]
        return order

    def _labelled(
        self, indexes: Sequence[TarIndex], elsewhere: set[str], given: tuple[str, ...]
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """Class names and int64 labels, of the texts in the samples."""
        number: dict[str, int] = {}
        codes = np.concatenate(
            [
                np.array([*(number.setdefault(text, len(number)) for text in index.texts), -1])[index.labels]
                for index in indexes  # a code of -1 takes the last of these, -1
            ]
        )
        lacking = np.flatnonzero((codes < 0) & (self._sizes >= 0))
        if len(lacking):
            shown = f"{self._names[int(lacking[0])]} has no label though others have"
            raise DataError(f"{shown}; label every sample (cls or json) or none, or open with labels=false")
        classes, label_of = _classes({*number, *elsewhere}, given)
        labels = np.array([*(label_of[text] for text in number), 0], np.int64)[codes]
        return classes, labels


def _named(files: Sequence[ShardFile], indexes: list[TarIndex]) -> Iterator[str]:
    """The samples' names; the indexes are appended without them, which as objects take ten times more."""
    for file in files:
        index = index_of(file)
        indexes.append(index._replace(names=[]))
        yield from (f"{file.name}/{name}" for name in index.names)


def _draws(seed: int, epoch: int, steps: int, held: int) -> np.ndarray:
    """Which slot of `held` is drawn at each step: unsigned integers (steps,)."""
    bits = hashed(seed, epoch, word("shuffle buffer"), torch.arange(steps)) >> 11 & 2**53 - 1
    small = np.uint16 if held <= 2**16 else np.uint32  # numpy sorts 16 bits three times as fast
    return (bits % held).numpy().astype(small)


def _given_classes(first: ShardFile, in_split: bool) -> tuple[str, ...]:
    text = beside(first, _CLASSES) or (beside(first, f"../{_CLASSES}") if in_split else None) or b""
    lines = text.decode("utf-8-sig", errors="replace").splitlines()
    classes = tuple(line.strip() for line in lines if line.strip())
    if len(set(classes)) < len(classes):
        raise DataError(f"{_CLASSES} beside {first.place} names a class twice; write each once, one a line")
    return classes


def _classes(texts: set[str], given: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names and the label each text stands for: a number itself, else a place among the names."""
    if all(text.isascii() and text.isdecimal() and len(text) < 10 for text in texts):
        highest = max(map(int, texts))
        if given and highest >= len(given):
            raise DataError(
                f"label {highest}, but {_CLASSES} names {len(given)} classes; labels count from 0"
            )
        if highest >= _MOST_CLASSES:
            raise DataError(
                f"label {highest}: labels are classes 0, 1, ...; open with labels=false to ignore them"
            )
        return given or tuple(map(str, range(highest + 1))), {text: int(text) for text in texts}
    unknown = sorted(texts - set(given)) if given else []
    if unknown:
        raise DataError(
            f"label {unknown[0]!r} is not in {_CLASSES} beside the shards; add it, or remove the file"
        )
    classes = given or tuple(sorted(texts))
    return classes, {name: label for label, name in enumerate(classes)}
