"""Batches of images, pairs and clips with targets; order and changes are functions of (seed, epoch)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from sslkit.contracts import LabelledBatch, LabelledSource, Skipped
from sslkit.data.augment import Augment
from sslkit.data.clip_sampling import ClipSampling
from sslkit.data.labelled_clips import ClipSamples
from sslkit.data.labelled_samples import Kept, Shown, StillSamples
from sslkit.data.oversampling import repeat_factors, repeated, repeated_length
from sslkit.errors import ConfigError, DataError, DecodeError
from sslkit.keyed_random import Keys, permutation

KEPT_BYTES = 2**30


class LabelledLoader:
    """Global batch b of an epoch is order[b * batch_size : (b + 1) * batch_size]; a rank reads its share.

    Canvases are of `size` (height, width). augment: None shows the whole image, shrunk to fit; then decoding
    gives pixels of the original, as `Meta` says. Otherwise `Meta.original` is what the canvas shows of it:
    a random window is a sample of its own. oversample: threshold of repeat factors (`oversampling`), 0 for
    none; a repeat is augmented anew.

    pairs: samples are two images, which change alike, (N, 2, C, H, W). clip: samples are videos, or several
    images, of which clips are taken, (N, T, C, H, W). Where it asks for several views of a sample, each is a
    row, those of one id lie together on one rank, and a batch has as many ids as make `batch_size` rows, but
    one a rank at least.

    shuffle: in the source's own order where it has one, else the keyed permutation of (seed, epoch). Without
    shuffle and drop_last every id comes once over all ranks.

    Decoded images, views of a test and targets are kept in memory up to `kept_bytes`; of those no file is
    read again. threads: samples made ready at a time. ahead: make the next batch ready while this one is
    used, which pays where the steps run on an accelerator. Raises ConfigError for sizes that cannot work.
    """

    def __init__(
        self,
        source: LabelledSource,
        *,
        size: tuple[int, int],
        batch_size: int,
        channels: int = 3,
        pairs: bool = False,
        clip: ClipSampling | None = None,
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
        rows = clip.rows if clip is not None else 1
        self.source, self.size, self.seed = source, size, seed
        self.batch_size = batch_size if rows == 1 else max(world, batch_size // rows)
        self.rank, self.world, self.shuffle, self.drop_last = rank, world, shuffle, drop_last
        self.threads, self.ahead = threads, ahead
        self._factors = repeat_factors(source.class_counts(), oversample) if oversample else None
        self._count = len(source) if self._factors is None else repeated_length(self._factors)
        self._samples: StillSamples | ClipSamples = StillSamples(
            source, size, channels, augment, Kept(kept_bytes), pairs
        )
        if clip is not None:
            self._samples = ClipSamples(source, size, channels, augment, Kept(kept_bytes), clip)
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

        def one(row: int) -> list[Shown] | Skipped:
            key = Keys(keys.seed, keys.epoch, keys.ids[row : row + 1])
            try:
                return self._samples.show(numbers[row], key, seen[row])
            except DecodeError as error:
                return Skipped(numbers[row], self.source[numbers[row]].name, str(error))

        found = list(spread(one, range(len(numbers))))
        kept = [row for views in found if not isinstance(views, Skipped) for row in views]
        blank = torch.zeros((0, *self._samples.shape), dtype=torch.uint8)
        return LabelledBatch(
            torch.tensor([one.meta.id for one in kept], dtype=torch.int64),
            torch.stack([one.pixels for one in kept]) if kept else blank,
            tuple(one.meta for one in kept),
            tuple(one.target for one in kept),
            tuple(one for one in found if isinstance(one, Skipped)),
        )


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


def _nothing_left(batch: LabelledBatch) -> str:
    shown = "; ".join(skipped.reason for skipped in batch.skipped[:3])
    more = f" (and {len(batch.skipped) - 3} more)" if len(batch.skipped) > 3 else ""
    mend = "`sslkit data inspect` lists all unreadable files; mend or remove them"
    return f"none of the {len(batch.skipped)} samples of a batch can be decoded: {shown}{more}; {mend}"
