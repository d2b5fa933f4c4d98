"""Batches in an order that is a function of (seed, epoch), whatever the ranks, workers or point of resume."""

from __future__ import annotations

import atexit
import math
import signal
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sslkit.contracts import Batch, Source, Views
from sslkit.data.clips import Clips
from sslkit.data.decoded_cache import DecodedCache
from sslkit.data.reader import BatchReader
from sslkit.errors import ConfigError, DataError
from sslkit.keyed_random import permutation

_PREFETCH_BYTES = 512 * 2**20  # what all workers together may have decoded ahead
_MOST_WORKERS = 16  # beyond this many, batches wait for the main process to take them
_CANVAS_FACTOR = 1.5  # a random crop of a view rarely needs more pixels than this many times its own


class Loader:
    """Global batch b of an epoch is order[b * batch_size : (b + 1) * batch_size]; a rank reads its share.

    The order is the source's own, else the keyed permutation of (seed, epoch), the ids themselves without
    shuffle, or the caller's. Shares are contiguous and differ by at most one sample, so that the shares of
    ranks 0, 1, ... together are the batch of a single process. `workers` processes decode ahead and live
    until `close`, over all epochs; 0 reads in this process, `threads` samples at a time. clips, still, cache
    and views are the reader's. One epoch is read at a time. Raises ConfigError for sizes that cannot work.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        canvas: int,
        channels: int = 3,
        seed: int = 0,
        workers: int = 0,
        threads: int = 1,
        clips: Clips | None = None,
        still: bool = False,
        cache: DecodedCache | None = None,
        views: Views | None = None,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        drop_last: bool = True,
        pin_memory: bool = False,
    ) -> None:
        count = len(source)
        if batch_size < 1 or canvas < 1 or workers < 0 or channels < 1 or threads < 1:
            given = f"batch_size={batch_size}, canvas={canvas}, channels={channels}, threads={threads}"
            raise ConfigError(f"{given}, workers={workers}: use numbers >= 1, and workers >= 0")
        if not 0 <= rank < world:
            raise ConfigError(f"rank={rank}, world={world}: ranks are 0..world-1")
        if drop_last and batch_size > count:
            mend = f"use batch_size <= {count} or drop_last=False"
            raise ConfigError(
                f"batch_size={batch_size} is larger than the data set of {count} samples; {mend}"
            )
        if drop_last and batch_size < world:
            raise ConfigError(
                f"batch_size={batch_size} cannot be shared by {world} ranks; use at least {world}"
            )
        self.source, self.batch_size, self.seed, self.workers = source, batch_size, seed, workers
        self.canvas, self.channels, self.shuffle, self.drop_last = canvas, channels, shuffle, drop_last
        self.rank, self.world = rank, world
        self._reader = BatchReader(
            source,
            canvas,
            channels,
            clips=clips,
            seed=seed,
            still=still,
            cache=cache,
            threads=1 if workers else threads,
            views=views,
        )
        self._pin_memory = pin_memory
        self._plan = _Plan()
        self._workers: DataLoader[Batch] | None = None

    def __len__(self) -> int:
        """Batches of an epoch."""
        count = len(self.source)
        return count // self.batch_size if self.drop_last else math.ceil(count / self.batch_size)

    def epoch(self, epoch: int, *, start: int = 0, order: Tensor | None = None) -> Iterator[Batch]:
        """This rank's share of global batches start, start + 1, ... of an epoch.

        order: int64 (len(source),), every id once, instead of the loader's own; the same on every rank.
        Raises ConfigError where it is something else, and for a start beyond the epoch.

        Samples that cannot be decoded are left out of their batch and listed in `Batch.skipped`. When nothing
        of a share is left, DataError is raised, since a training step needs rows; with drop_last=False, where
        every sample counts and the last share may be a single one, an empty batch is given.
        """
        if not 0 <= start <= len(self):
            raise ConfigError(f"start={start}: an epoch has {len(self)} batches")
        shares = self._shares(self._order(epoch) if order is None else self._checked(order), start)
        return self._batches(shares, epoch)

    def _batches(self, shares: list[Tensor], epoch: int) -> Iterator[Batch]:
        here = (self._read_here(share, epoch) for share in shares)
        for batch in self._ahead(shares, epoch) if self.workers else here:
            if self.drop_last and not len(batch):
                raise DataError(_nothing_left(batch))
            yield batch

    def close(self) -> None:
        """Stop the worker processes; a later epoch starts new ones."""
        if self._workers is not None and self._workers._iterator is not None:
            # DataLoader has no public way to stop persistent workers before it is garbage-collected.
            self._workers._iterator._shutdown_workers()  # type: ignore[attr-defined]
        self._workers = None
        _WITH_WORKERS.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _order(self, epoch: int) -> Tensor:
        count = len(self.source)
        if not self.shuffle:
            return torch.arange(count)
        own = getattr(self.source, "order", None)
        if own is not None:
            return torch.from_numpy(own(self.seed, epoch))
        return permutation(count, seed=self.seed, epoch=epoch)

    def _checked(self, order: Tensor) -> Tensor:
        count = len(self.source)
        if order.dtype != torch.int64 or order.shape != (count,):
            given = f"{str(order.dtype).removeprefix('torch.')} {tuple(order.shape)}"
            raise ConfigError(f"an order of {count} samples is int64 ({count},); this one is {given}")
        order = order.cpu()
        if not torch.equal(order.sort().values, torch.arange(count)):
            low, high, kinds = int(order.min()), int(order.max()), len(set(order.tolist()))
            raise ConfigError(
                f"an order holds every id of 0..{count - 1} once; "
                f"this one holds {kinds} ids from {low} to {high}"
            )
        return order

    def _shares(self, order: Tensor, start: int) -> list[Tensor]:
        batches = (order[b * self.batch_size : (b + 1) * self.batch_size] for b in range(start, len(self)))
        return [batch.tensor_split(self.world)[self.rank] for batch in batches]

    def _read_here(self, share: Tensor, epoch: int) -> Batch:
        batch = self._reader.read(share, epoch)
        return batch.pin_memory() if self._pin_memory else batch

    def _ahead(self, shares: list[Tensor], epoch: int) -> Iterator[Batch]:
        self._plan.shares, self._plan.epoch = shares, epoch
        if self._workers is None:
            self._workers = DataLoader(
                self._reader,  # type: ignore[arg-type]  # torch asks for __getitems__ alone, its type for more
                batch_sampler=self._plan,
                num_workers=self.workers,
                collate_fn=_as_it_is,
                worker_init_fn=_start_worker,
                prefetch_factor=self._prefetch(),
                persistent_workers=True,
                pin_memory=self._pin_memory,
                generator=torch.Generator(),  # else each epoch would advance the generator of the run itself
            )
            _WITH_WORKERS.add(self)
        return iter(self._workers)

    def _prefetch(self) -> int:
        share = math.ceil(self.batch_size / self.world)
        batch_bytes = share * self._reader.sample_bytes
        return max(1, min(4, _PREFETCH_BYTES // (batch_bytes * self.workers)))


class _Plan:
    """The epoch and ids of the batches to come; the DataLoader asks anew at the start of every epoch."""

    def __init__(self) -> None:
        self.shares: list[Tensor] = []
        self.epoch = 0

    def __iter__(self) -> Iterator[list[int]]:
        return ([self.epoch, *share.tolist()] for share in self.shares)

    def __len__(self) -> int:
        return len(self.shares)


def choose_workers(source: Source, cores: int, device: str = "cpu") -> int:
    """Worker processes for a rank that has `cores` to itself and computes on a device of this type.

    None for arrays in memory, where a batch costs less than handing it over; and none on a CPU, where workers
    would take the cores from the computation, whose threads wait for each other: reading between the steps,
    with all cores, is faster. For files and an accelerator all cores but one, and at least one.
    """
    if source.native_side is not None or device == "cpu":
        return 0
    return max(1, min(_MOST_WORKERS, cores - 1))


def choose_canvas(source: Source, view_size: int) -> int:
    """Canvas side in pixels for views of side `view_size`: images in memory stay as they are."""
    return source.native_side if source.native_side is not None else math.ceil(_CANVAS_FACTOR * view_size)


def _start_worker(worker: int) -> None:
    torch.set_num_threads(1)  # each worker is one core's work
    # Ctrl-C and a scheduler's SIGTERM reach the whole process group. They are for the main process: it saves
    # a checkpoint, which a dying worker would break off, and then stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _as_it_is(batch: Any) -> Any:
    return batch


# Workers that ignore SIGTERM would be waited for without end when the interpreter stops them by it; functions
# registered last run first, and multiprocessing is imported above.
_WITH_WORKERS: weakref.WeakSet[Loader] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for loader in list(_WITH_WORKERS):
        loader.close()


def _nothing_left(batch: Batch) -> str:
    shown = "; ".join(skipped.reason for skipped in batch.skipped[:3])
    more = f" (and {len(batch.skipped) - 3} more)" if len(batch.skipped) > 3 else ""
    mend = "`sslkit data inspect` lists all unreadable files; mend or remove them"
    return f"none of the {len(batch.skipped)} samples of a batch can be decoded: {shown}{more}; {mend}"
