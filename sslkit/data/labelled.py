"""Batches of images with targets, in an order and with changes that are functions of (seed, epoch)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslkit.contracts import Content, LabelledBatch, LabelledSource, Meta, Skipped, Target
from sslkit.data.augment import Augment
from sslkit.data.decode.image import decode_image, fitting, read_header
from sslkit.data.oversampling import repeat_factors, repeated, repeated_length
from sslkit.data.warp import Placed, fit, fitted_side
from sslkit.errors import ConfigError, DataError, DecodeError
from sslkit.keyed_random import Keys, permutation

KEPT_BYTES = 2**30


class LabelledLoader:
    """Global batch b of an epoch is order[b * batch_size : (b + 1) * batch_size]; a rank reads its share.

    Canvases are of `size` (height, width). augment: None shows the whole image, shrunk to fit; then decoding
    gives pixels of the original, as `Meta` says. Otherwise `Meta.original` is what the canvas shows of it:
    a random window is a sample of its own. oversample: threshold of repeat factors (`oversampling`), 0 for
    none; a repeat is augmented anew.

    shuffle: in the source's own order where it has one, else the keyed permutation of (seed, epoch). Without
    shuffle and drop_last every id comes once over all ranks.

    Decoded images and targets are kept in memory up to `kept_bytes`; of those no file is read again. threads:
    samples made ready at a time. ahead: make the next batch ready while this one is used, which pays where
    the steps run on an accelerator. Raises ConfigError for sizes that cannot work.
    """

    def __init__(
        self,
        source: LabelledSource,
        *,
        size: tuple[int, int],
        batch_size: int,
        channels: int = 3,
        augment: Augment | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        drop_last: bool = True,
        threads: int = 1,
        ahead: bool = False,
        oversample: float = 0.0,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        if min(size) < 1 or batch_size < 1 or channels < 1 or threads < 1:
            given = f"size={size}, batch_size={batch_size}, channels={channels}, threads={threads}"
            raise ConfigError(f"{given}: use numbers >= 1")
        if not 0 <= rank < world:
            raise ConfigError(f"rank={rank}, world={world}: ranks are 0..world-1")
        if oversample and not shuffle:
            raise ConfigError(
                f"oversample={oversample} repeats samples while training; without shuffle use 0"
            )
        self.source, self.size, self.batch_size, self.seed = source, size, batch_size, seed
        self.rank, self.world, self.shuffle, self.drop_last = rank, world, shuffle, drop_last
        self.threads, self.ahead = threads, ahead
        self._factors = repeat_factors(source.class_counts(), oversample) if oversample else None
        self._count = len(source) if self._factors is None else repeated_length(self._factors)
        self._samples = _Samples(source, size, channels, augment, kept_bytes)
        if drop_last and not world <= batch_size <= self._count:
            raise ConfigError(
                f"batch_size={batch_size} for {self._count} samples and {world} ranks: use {world} to "
                f"{self._count}, or drop_last=False"
            )

    def __len__(self) -> int:
        """Batches of an epoch, the same on every rank."""
        batches = self._count / self.batch_size
        return math.floor(batches) if self.drop_last else math.ceil(batches)

    def epoch(self, number: int, start: int = 0) -> Iterator[LabelledBatch]:
        """This rank's share of global batches start, start + 1, ... of an epoch.

        What cannot be decoded is left out of its batch and listed in `skipped`. With drop_last DataError is
        raised where nothing is left of a share, since a step needs samples; without, the batch is empty, as
        is the share of a rank for which a last small batch has no sample. Annotations that cannot be used
        raise the source's DataError.
        """
        if not 0 <= start <= len(self):
            raise ConfigError(f"start={start}: an epoch has {len(self)} batches")
        return self._batches(self._shares(number, start), number)

    def shares(self, number: int, start: int = 0) -> list[list[int]]:
        """The ids of each of those batches."""
        return [ids.tolist() for ids, _ in self._shares(number, start)]

    def _shares(self, number: int, start: int) -> list[tuple[np.ndarray, np.ndarray]]:
        ids, views = self.order(number)
        bounds = [(b * self.batch_size, (b + 1) * self.batch_size) for b in range(start, len(self))]
        shares = [_share(np.arange(*bound)[: len(ids) - bound[0]], self.rank, self.world) for bound in bounds]
        return [(ids[share], views[share]) for share in shares]

    def order(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids of an epoch in the order read, int64, and which repeat of its id within the epoch each is."""
        if not self.shuffle:
            ids = np.arange(len(self.source))
        elif self._factors is not None:
            chosen = repeated(self._factors, seed=self.seed, epoch=number)
            ids = chosen[permutation(len(chosen), seed=self.seed, epoch=number).numpy()]
        elif (own := getattr(self.source, "order", None)) is not None:
            ids = np.asarray(own(self.seed, number), np.int64)
        else:
            ids = permutation(len(self.source), seed=self.seed, epoch=number).numpy()
        return ids, _repeats(ids)

    def _batches(self, shares: list[tuple[np.ndarray, np.ndarray]], drawn: int) -> Iterator[LabelledBatch]:
        with ThreadPoolExecutor(self.threads) as pool, ThreadPoolExecutor(1) as reader:
            spread: Callable[..., Any] = pool.map if self.threads > 1 else map
            shared = [(ids, views, Keys(self.seed, drawn, torch.from_numpy(ids))) for ids, views in shares]
            coming = None
            for place, share in enumerate(shared):
                batch = self._read(share, spread) if coming is None else coming.result()
                if self.ahead and place + 1 < len(shared):
                    coming = reader.submit(self._read, shared[place + 1], spread)
                if self.drop_last and not len(batch):
                    raise DataError(_nothing_left(batch))
                yield batch

    def _read(self, share: tuple[np.ndarray, np.ndarray, Keys], spread: Callable[..., Any]) -> LabelledBatch:
        ids, views, keys = share
        numbers, seen = ids.tolist(), views.tolist()

        def one(row: int) -> _Shown | Skipped:
            key = Keys(keys.seed, keys.epoch, keys.ids[row : row + 1])
            try:
                return self._samples.show(numbers[row], key, seen[row])
            except DecodeError as error:
                return Skipped(numbers[row], self.source[numbers[row]].name, str(error))

        found = list(spread(one, range(len(numbers))))
        kept = [one for one in found if isinstance(one, _Shown)]
        blank = torch.zeros((0, self._samples.channels, *self.size), dtype=torch.uint8)
        return LabelledBatch(
            torch.tensor([one.meta.id for one in kept], dtype=torch.int64),
            torch.stack([one.pixels for one in kept]) if kept else blank,
            tuple(one.meta for one in kept),
            tuple(one.target for one in kept),
            tuple(one for one in found if isinstance(one, Skipped)),
        )


@dataclass(frozen=True)
class _Shown:
    """A sample on its canvas."""

    pixels: Tensor
    meta: Meta
    target: Target


@dataclass(frozen=True)
class _Decoded:
    """A sample as it is kept: pixels (C, h, w), perhaps already shrunk; original: (height, width) upright."""

    name: str
    pixels: Tensor
    original: tuple[int, int]
    target: Target


class _Samples:
    """Reads samples, keeps what fits the memory, and puts them on canvases."""

    def __init__(
        self,
        source: LabelledSource,
        size: tuple[int, int],
        channels: int,
        augment: Augment | None,
        kept_bytes: int,
    ) -> None:
        self.source, self.size, self.channels, self.augment = source, size, channels, augment
        self._left = kept_bytes
        self._kept: dict[int, _Decoded] = {}
        self._adding = Lock()

    def show(self, id: int, key: Keys, view: int) -> _Shown:
        """A sample on its canvas; raises DecodeError, and DataError for its annotations."""
        sample = self._kept.get(id) or self._read(id)
        pixels = sample.pixels
        if self.augment is None:
            placed, target = fit(sample.original, self.size), sample.target
        else:
            placed = self.augment.draw(sample.original, self.size, key, view)
            pixels = self.augment.coloured(pixels, key, view)
            target = self._through(sample, placed, id)
        original = sample.original if self.augment is None else placed.valid
        meta = Meta(id, sample.name, original, placed.valid, self.size)
        return _Shown(placed.image(pixels), meta, target)

    def _read(self, id: int) -> _Decoded:
        item = self.source[id]
        pixels, original = self._decoded(item.content)
        sample = _Decoded(item.name, pixels, original, self.source.target(id))
        if self.augment is None:  # what is always shown alike is kept as shown
            target = self._through(sample, fit(original, self.size), id)
            sample = _Decoded(item.name, pixels, original, target)
        cost = pixels.nbytes + _bytes(sample.target)
        with self._adding:
            if cost <= self._left and id not in self._kept:
                self._left -= cost
                self._kept[id] = sample
        return sample

    def _through(self, sample: _Decoded, placed: Placed, id: int) -> Target:
        try:
            return sample.target.through(placed)
        except DataError as error:
            raise DataError(f"{sample.name} (id {id}): {error}") from error

    def _decoded(self, content: Content) -> tuple[Tensor, tuple[int, int]]:
        """Pixels (C, h, w), no larger than any canvas needs; the (height, width) of the whole, upright."""
        header = read_header(content, channels=self.channels)
        stored, turned = (header.height, header.width), (header.width, header.height)
        side = self._side(stored)
        pixels, (_, _, *shape) = decode_image(content, canvas=side, channels=self.channels)
        # An EXIF rotation shows in the sides; where shrinking made them equal, whole images tell.
        if stored != turned and fitting(stored, side) == fitting(turned, side):
            _, (_, _, *whole) = decode_image(content, canvas=max(stored), channels=self.channels)
            upright = tuple(whole) == stored
        else:
            upright = tuple(shape) == fitting(stored, side)
        if not upright:
            stored, side = turned, self._side(turned)
            pixels, (_, _, *shape) = decode_image(content, canvas=side, channels=self.channels)
        height, width = shape
        return torch.from_numpy(pixels[:, :height, :width].copy()), stored

    def _side(self, original: tuple[int, int]) -> int:
        """The longer side to decode an image to."""
        largest = 1.0 if self.augment is None else self.augment.scale[1]
        return min(max(original), math.ceil(fitted_side(original, self.size) * largest))


def _share(places: np.ndarray, rank: int, world: int) -> np.ndarray:
    """Contiguous shares that differ by one at most, the larger first."""
    share: np.ndarray = np.array_split(places, world)[rank]
    return share


def _repeats(ids: np.ndarray) -> np.ndarray:
    """How many equal ids come before each."""
    by_id = np.argsort(ids, kind="stable")
    in_order = ids[by_id]
    firsts = np.flatnonzero(np.diff(in_order, prepend=-1))
    counts = np.diff(firsts, append=len(ids))
    repeats = np.empty_like(ids)
    repeats[by_id] = np.arange(len(ids)) - np.repeat(firsts, counts)
    return repeats


def _bytes(target: Target) -> int:
    """The memory of a target's tensors and arrays."""
    values = vars(target).values() if hasattr(target, "__dict__") else ()
    return sum(value.nbytes for value in values if isinstance(value, Tensor | np.ndarray))


def _nothing_left(batch: LabelledBatch) -> str:
    shown = "; ".join(skipped.reason for skipped in batch.skipped[:3])
    more = f" (and {len(batch.skipped) - 3} more)" if len(batch.skipped) > 3 else ""
    mend = "`sslkit data inspect` lists all unreadable files; mend or remove them"
    return f"none of the {len(batch.skipped)} samples of a batch can be decoded: {shown}{more}; {mend}"
