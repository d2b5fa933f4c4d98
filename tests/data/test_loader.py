"""The order of samples is a function of (seed, epoch); ranks, workers and resume change nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.contracts import Batch, Item
from sslkit.data.loader import Loader, choose_canvas, choose_workers
from sslkit.data.sources.folder import ImageFolderSource
from sslkit.data.sources.shapes import ShapesSource
from sslkit.errors import ConfigError, DataError
from sslkit.keyed_random import permutation

COUNT = 23


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> ImageFolderSource:
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(COUNT):
        path = root / f"{number % 3}" / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (7 + number % 4, 9, 3), dtype=np.uint8)).save(path)
    return ImageFolderSource(root)


@pytest.fixture
def damaged(photos: ImageFolderSource, tmp_path: Path) -> ImageFolderSource:
    """The same photos, the first three of them empty files."""
    for number in range(COUNT):
        name = photos[number].name
        (tmp_path / name).parent.mkdir(exist_ok=True)
        content = photos[number].content
        assert isinstance(content, Path)
        (tmp_path / name).write_bytes(b"" if number < 3 else content.read_bytes())
    return ImageFolderSource(tmp_path)


def same(one: Iterable[Batch], other: Iterable[Batch]) -> bool:
    pairs = list(zip(one, other, strict=True))
    assert pairs
    return all(
        torch.equal(a.ids, b.ids)
        and torch.equal(a.pixels, b.pixels)
        and torch.equal(a.rectangles, b.rectangles)
        and torch.equal(a.labels, b.labels)
        and a.skipped == b.skipped
        for a, b in pairs
    )


def joined(shares: Iterable[Batch]) -> Batch:
    batches = list(shares)
    return Batch(
        torch.cat([batch.ids for batch in batches]),
        torch.cat([batch.pixels for batch in batches]),
        torch.cat([batch.rectangles for batch in batches]),
        torch.cat([batch.labels for batch in batches]),
        torch.cat([batch.groups for batch in batches]),
        tuple(one for batch in batches for one in batch.skipped),
    )


def test_batches_follow_the_keyed_permutation(photos: ImageFolderSource) -> None:
    loader = Loader(photos, batch_size=5, canvas=12, seed=3)
    order = permutation(COUNT, seed=3, epoch=2)
    batches = list(loader.epoch(2))
    assert len(batches) == len(loader) == 4
    assert torch.cat([batch.ids for batch in batches]).tolist() == order[:20].tolist()
    assert photos.labels is not None
    assert all(batch.labels.tolist() == photos.labels[batch.ids].tolist() for batch in batches)


def test_every_sample_comes_once_when_nothing_is_dropped(photos: ImageFolderSource) -> None:
    loader = Loader(photos, batch_size=5, canvas=12, seed=0, drop_last=False)
    assert len(loader) == 5
    ids = torch.cat([batch.ids for batch in loader.epoch(0)])
    assert ids.tolist() != sorted(ids.tolist())
    assert sorted(ids.tolist()) == list(range(COUNT))
    still = Loader(photos, batch_size=5, canvas=12, seed=0, shuffle=False, drop_last=False)
    assert torch.cat([batch.ids for batch in still.epoch(0)]).tolist() == list(range(COUNT))


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("batch_size", [9, 10])
@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_together_read_the_batch_of_one_process(
    damaged: ImageFolderSource, world: int, batch_size: int, drop_last: bool
) -> None:
    options: dict[str, Any] = {"batch_size": batch_size, "canvas": 12, "seed": 1, "drop_last": drop_last}
    alone = Loader(damaged, **options).epoch(4)
    ranks = [Loader(damaged, **options, rank=rank, world=world).epoch(4) for rank in range(world)]
    shares = list(zip(*ranks, strict=True))
    sizes = [len(share) + len(share.skipped) for share in shares[0]]
    assert max(sizes) - min(sizes) <= 1
    assert same(map(joined, shares), alone)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("start", [0, 2])
def test_an_order_of_the_caller_takes_the_place_of_the_keyed_one(
    photos: ImageFolderSource, shuffle: bool, start: int
) -> None:
    order = permutation(COUNT, seed=77, epoch=77)
    loader = Loader(photos, batch_size=5, canvas=8, seed=0, shuffle=shuffle)
    ids = torch.cat([batch.ids for batch in loader.epoch(0, start=start, order=order)])
    assert ids.tolist() == order[start * 5 : 20].tolist()
    assert not torch.equal(torch.cat([batch.ids for batch in loader.epoch(0)]), order[:20])


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("workers", [0, 1])
def test_ranks_share_the_batches_of_a_given_order(
    damaged: ImageFolderSource, world: int, workers: int
) -> None:
    options: dict[str, Any] = {"batch_size": 10, "canvas": 12, "seed": 1, "drop_last": False}
    order = torch.arange(COUNT).flip(0)
    alone = Loader(damaged, **options).epoch(4, order=order)
    ranks = [Loader(damaged, **options, rank=rank, world=world, workers=workers) for rank in range(world)]
    shares = zip(*(rank.epoch(4, order=order) for rank in ranks), strict=True)
    assert same(map(joined, shares), alone)
    for rank in ranks:
        rank.close()


@pytest.mark.parametrize(
    ("order", "named"),
    [
        (torch.arange(COUNT - 1), r"int64 \(23,\); this one is int64 \(22,\)"),
        (torch.arange(COUNT, dtype=torch.int32), r"this one is int32 \(23,\)"),
        (torch.arange(COUNT) + 1, "every id of 0..22 once; this one holds 23 ids from 1 to 23"),
        (torch.arange(COUNT) // 2, "this one holds 12 ids from 0 to 11"),
    ],
)
def test_an_order_that_is_no_permutation_is_refused_at_once(
    photos: ImageFolderSource, order: torch.Tensor, named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        Loader(photos, batch_size=5, canvas=8, seed=0).epoch(0, order=order)


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_reads_the_tail_of_the_epoch(photos: ImageFolderSource, workers: int) -> None:
    with Loader(photos, batch_size=4, canvas=12, seed=0, workers=workers) as loader:
        whole = list(loader.epoch(1))
        assert same(loader.epoch(1, start=3), whole[3:])
        assert list(loader.epoch(1, start=len(loader))) == []


def test_workers_read_the_same_batches_in_every_epoch(damaged: ImageFolderSource) -> None:
    alone = Loader(damaged, batch_size=6, canvas=8, seed=0)
    with Loader(damaged, batch_size=6, canvas=8, seed=0, workers=2) as loader:
        for epoch in range(3):
            assert same(loader.epoch(epoch), alone.epoch(epoch))


def test_an_epoch_left_half_way_does_not_leak_into_the_next(photos: ImageFolderSource) -> None:
    with Loader(photos, batch_size=4, canvas=8, seed=0, workers=2) as loader:
        next(loader.epoch(0))
        assert same(loader.epoch(1), Loader(photos, batch_size=4, canvas=8, seed=0).epoch(1))


def worker_ids(loader: Loader) -> list[int]:
    assert loader._workers is not None
    return [worker.pid for worker in loader._workers._iterator._workers]  # type: ignore[union-attr]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_live_from_first_epoch_to_close(photos: ImageFolderSource) -> None:
    with Loader(photos, batch_size=4, canvas=8, seed=0, workers=2) as loader:
        list(loader.epoch(0))
        first = worker_ids(loader)
        list(loader.epoch(1))
        assert worker_ids(loader) == first
        assert all(alive(process) for process in first)
    assert not any(alive(process) for process in first)


def test_signals_to_the_whole_group_leave_workers_to_the_main_process(photos: ImageFolderSource) -> None:
    with Loader(photos, batch_size=4, canvas=8, seed=0, workers=1) as loader:
        batches = loader.epoch(0)
        next(batches)
        for process in worker_ids(loader):
            os.kill(process, signal.SIGTERM)
            os.kill(process, signal.SIGINT)
        assert len(list(batches)) == len(loader) - 1
        assert all(alive(process) for process in worker_ids(loader))


def test_a_program_that_forgets_to_close_still_ends(photos: ImageFolderSource) -> None:
    program = f"""
        from sslkit.data.loader import Loader
        from sslkit.data.sources.folder import ImageFolderSource
        loader = Loader(ImageFolderSource({str(photos.path)!r}), batch_size=4, canvas=8, seed=0, workers=1)
        batches = loader.epoch(0)
        next(batches)
        print(loader._workers._iterator._workers[0].pid)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert not alive(int(ended.stdout))


def test_reading_leaves_the_global_generator_alone(photos: ImageFolderSource) -> None:
    with Loader(photos, batch_size=4, canvas=8, seed=0, workers=1) as loader:
        before = torch.get_rng_state()
        list(loader.epoch(0))
        list(loader.epoch(1))
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_samples_are_skipped_and_reported(damaged: ImageFolderSource, workers: int) -> None:
    with Loader(damaged, batch_size=8, canvas=8, seed=0, workers=workers, drop_last=False) as loader:
        batches = list(loader.epoch(0))
    skipped = [one for batch in batches for one in batch.skipped]
    assert sorted(one.id for one in skipped) == [0, 1, 2]
    assert sum(map(len, batches)) == COUNT - 3
    assert {one.name for one in skipped} == {damaged[id].name for id in range(3)}
    assert all("empty (0 bytes)" in one.reason for one in skipped)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_of_nothing_but_damage_is_an_error_with_reasons(
    damaged: ImageFolderSource, workers: int
) -> None:
    with Loader(damaged, batch_size=3, canvas=8, seed=0, workers=workers, shuffle=False) as loader:
        batches = loader.epoch(0)
        with pytest.raises(DataError, match=r"none of the 3 samples .*00\.png: the file is empty") as caught:
            next(batches)
    assert "Traceback" not in str(caught.value)


def test_where_every_sample_counts_a_batch_may_be_empty(damaged: ImageFolderSource) -> None:
    options: dict[str, Any] = {"batch_size": 3, "canvas": 8, "seed": 0, "shuffle": False, "drop_last": False}
    batches = list(Loader(damaged, **options).epoch(0))
    assert [len(batch) for batch in batches[:2]] == [0, 3]
    assert len(batches[0].skipped) == 3
    assert batches[0].pixels.shape == (0, 3, 8, 8)


def test_arrays_in_memory_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ShapesSource(count=64, size=16)
    loader = Loader(source, batch_size=16, canvas=choose_canvas(source, 32), seed=0)
    expected = np.stack([np.asarray(source[id].content) for id in range(64)])

    def refuse(*_: object) -> Item:
        raise AssertionError("one item was read on its own")

    monkeypatch.setattr(ShapesSource, "__getitem__", refuse)
    for batch in loader.epoch(0):
        assert np.array_equal(batch.pixels.permute(0, 2, 3, 1).numpy(), expected[batch.ids.numpy()])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"batch_size": 24}, "batch_size=24 is larger than the data set of 23 samples; use batch_size <= 23"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2, "world": 3}, "cannot be shared by 3 ranks"),
        ({"batch_size": 2, "world": 2, "rank": 2}, "rank=2, world=2"),
        ({"batch_size": 2, "channels": 0}, "channels=0"),
        ({"batch_size": 2, "workers": -1}, "workers=-1"),
    ],
)
def test_impossible_sizes_are_refused(photos: ImageFolderSource, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Loader(photos, canvas=8, seed=0, **options)


def test_a_batch_larger_than_the_set_is_fine_when_nothing_is_dropped(photos: ImageFolderSource) -> None:
    loader = Loader(photos, batch_size=100, canvas=8, seed=0, drop_last=False)
    assert [len(batch) for batch in loader.epoch(0)] == [COUNT]


def test_start_beyond_the_epoch_is_refused_at_once(photos: ImageFolderSource) -> None:
    with pytest.raises(ConfigError, match="start=6: an epoch has 5 batches"):
        Loader(photos, batch_size=4, canvas=8, seed=0).epoch(0, start=6)


def test_choices_depend_on_where_the_samples_live(photos: ImageFolderSource) -> None:
    shapes = ShapesSource(count=10, size=16)
    assert [choose_workers(photos, cores, "cuda") for cores in (1, 2, 8, 128)] == [1, 1, 7, 16]
    assert choose_workers(shapes, 8, "cuda") == 0
    assert choose_workers(photos, 8, "cpu") == 0
    assert (choose_canvas(photos, 224), choose_canvas(shapes, 224)) == (336, 16)
