"""Batches with targets: an order, canvases and changes that are functions of (seed, epoch)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.contracts import Item, LabelledBatch, LabelledSource, SemanticMap, Target
from sslkit.data.augment import Augment, Elastic
from sslkit.data.decode.image import decode_image
from sslkit.data.labelled import LabelledLoader
from sslkit.data.oversampling import repeat_factors, repeated_length
from sslkit.data.warp import Placed
from sslkit.errors import ConfigError, DataError

SIZE = (24, 32)
FULL = Augment(flip=0.5, scale=(0.5, 2.0), elastic=Elastic(1.5, 6, 0.5), colour=0.3)


class Labelled:
    """Images of grey blocks whose label is the grey / 50, as arrays or PNG files of several sizes."""

    target_kind = "semantic"
    classes: Sequence[str] = ("a", "b", "c", "d")
    labels: np.ndarray | None = None
    fingerprint = "blocks"
    native_side: int | None = None
    splits: Sequence[str] = ()

    def __init__(self, folder: Path | None = None, count: int = 10) -> None:
        self.count, self.read = count, 0
        self.paths: list[Path] = []
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for id in range(count):
                self.paths.append(folder / f"{id}.png")
                Image.fromarray(self.pixels(id)).save(self.paths[-1])

    def map(self, id: int) -> np.ndarray:
        height, width = (20 + 3 * id, 60 - 4 * id)
        blocks = np.random.default_rng(id).integers(0, 4, (height // 5 + 1, width // 5 + 1), dtype=np.uint8)
        return blocks.repeat(5, axis=0).repeat(5, axis=1)[:height, :width]

    def pixels(self, id: int) -> np.ndarray:
        return np.stack([self.map(id) * 50 + 25] * 3, axis=-1)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, id: int) -> Item:
        self.read += 1
        return Item(self.paths[id] if self.paths else self.pixels(id), f"image {id}")

    def target(self, id: int) -> Target:
        return SemanticMap(torch.from_numpy(self.map(id)))

    def problems(self) -> list[str]:
        return []

    def class_counts(self) -> np.ndarray:
        counts = np.stack([np.bincount(self.map(id).ravel(), minlength=4) for id in range(self.count)])
        counts[1:, 3] = 0  # of the last class only in one image
        return counts.astype(np.int64)


def loader(source: LabelledSource | None = None, **given: Any) -> LabelledLoader:
    return LabelledLoader(source or Labelled(), **{"size": SIZE, "batch_size": 4, "augment": None, **given})


def same(one: LabelledBatch, other: LabelledBatch) -> bool:
    maps = zip(one.targets, other.targets, strict=True)
    return (
        torch.equal(one.ids, other.ids)
        and torch.equal(one.pixels, other.pixels)
        and one.metas == other.metas
        and one.skipped == other.skipped
        and all(torch.equal(a.labels, b.labels) for a, b in maps)  # type: ignore[attr-defined]
    )


def test_a_batch_without_augmentation_is_what_decoding_gives(tmp_path: Path) -> None:
    source = Labelled(tmp_path)
    batches = list(loader(source, shuffle=False, drop_last=False, size=(32, 32)).epoch(0))
    assert [batch.ids.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    for batch in batches:
        assert batch.pixels.dtype == torch.uint8
        for row, meta in enumerate(batch.metas):
            pixels, (_, _, *valid) = decode_image(source.paths[meta.id], canvas=32)
            assert np.array_equal(batch.pixels[row].numpy(), pixels)
            assert meta.valid == tuple(valid)
            assert meta.original == source.map(meta.id).shape
            assert (meta.canvas, meta.name) == ((32, 32), f"image {meta.id}")


@pytest.mark.parametrize("augment", [None, Augment(flip=1.0), Augment(scale=(0.5, 2.0)), FULL])
def test_targets_move_with_their_images(augment: Augment | None) -> None:
    if augment is not None:
        augment = Augment(augment.flip, augment.scale, augment.elastic, colour=0.0)
    agreeing = known = 0
    for batch in loader(augment=augment, shuffle=False, drop_last=False).epoch(1):
        for pixels, meta, target in zip(batch.pixels, batch.metas, batch.targets, strict=True):
            assert isinstance(target, SemanticMap)
            assert target.labels.shape == SIZE
            inside = target.labels != 255
            outside = torch.ones_like(inside)
            outside[: meta.valid[0], : meta.valid[1]] = False
            assert not (inside & outside).any()
            assert not pixels[:, outside].any()
            shown = ((pixels[0].float() - 25) / 50).round()
            agreeing += int((shown == target.labels)[inside].sum())
            known += int(inside.sum())
    assert agreeing / known > 0.72  # pixels on the borders between blocks show a mixture
    assert known > 3000


def test_augmented_samples_are_originals_of_their_own() -> None:
    for batch in loader(augment=Augment(scale=(2.0, 2.0))).epoch(0):
        assert [meta.original for meta in batch.metas] == [meta.valid for meta in batch.metas]


@pytest.mark.parametrize("oversample", [0.0, 0.5])
def test_an_epoch_goes_on_where_it_was_left_to_the_bit(oversample: float) -> None:
    whole = list(loader(augment=FULL, oversample=oversample, seed=3).epoch(2))
    again = loader(augment=FULL, oversample=oversample, seed=3, threads=2, ahead=True)
    list(again.epoch(0))  # what was read before does not matter
    for start in range(len(whole) + 1):
        rest = list(again.epoch(2, start=start))
        assert len(rest) == len(whole) - start
        assert all(same(one, other) for one, other in zip(rest, whole[start:], strict=True))


def test_epochs_and_seeds_differ_in_order_and_changes() -> None:
    def seen(seed: int, epoch: int) -> dict[int, torch.Tensor]:
        batches = loader(augment=FULL, seed=seed, drop_last=False).epoch(epoch)
        return {int(id): row for batch in batches for id, row in zip(batch.ids, batch.pixels, strict=True)}

    first, *others = seen(0, 0), seen(0, 1), seen(1, 0)
    for other in others:
        assert sorted(first) == sorted(other) == list(range(10))
        assert list(first) != list(other)
        assert not any(torch.equal(first[id], other[id]) for id in range(10))


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("drop_last", [True, False])
def test_the_shares_of_all_ranks_are_the_batch_of_one(world: int, drop_last: bool) -> None:
    given: dict[str, Any] = {"augment": FULL, "drop_last": drop_last, "oversample": 0.5}
    alone = list(loader(**given).epoch(1))
    ranks = [list(loader(**given, rank=rank, world=world).epoch(1)) for rank in range(world)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert torch.equal(torch.cat([part.ids for part in parts]), whole.ids)
        assert torch.equal(torch.cat([part.pixels for part in parts]), whole.pixels)
        assert sum((part.metas for part in parts), ()) == whole.metas
        assert max(len(part) for part in parts) - min(len(part) for part in parts) <= 1


@pytest.mark.parametrize("world", [1, 3, 4])
def test_evaluation_reads_every_sample_once_over_all_ranks(world: int) -> None:
    loaders = [
        loader(shuffle=False, drop_last=False, rank=rank, world=world, batch_size=3) for rank in range(world)
    ]
    assert len({len(one) for one in loaders}) == 1
    batches = [list(one.epoch(0)) for one in loaders]
    ids = [id for own in batches for batch in own for id in batch.ids.tolist()]
    assert sorted(ids) == list(range(10))
    assert [len(own) for own in batches] == [len(loaders[0])] * world
    assert all(batch.pixels.shape[1:] == (3, *SIZE) for own in batches for batch in own)


def test_rare_classes_are_read_more_often_and_never_alike() -> None:
    source = Labelled()
    factors = repeat_factors(source.class_counts(), 0.9)
    assert factors[0] == pytest.approx(3.0)
    oversampled = loader(source, augment=FULL, oversample=0.9, drop_last=False)
    assert len(oversampled) == -(-repeated_length(factors) // 4)
    shown = [
        row
        for batch in oversampled.epoch(0)
        for id, row in zip(batch.ids, batch.pixels, strict=True)
        if id == 0
    ]
    assert len(shown) >= 3
    assert not torch.equal(shown[0], shown[1])
    ids, repeats = oversampled.order(0)
    for id in range(10):
        assert repeats[ids == id].tolist() == list(range((ids == id).sum()))


class Mixture(Labelled):
    def __init__(self) -> None:
        super().__init__()

    def order(self, seed: int, epoch: int) -> np.ndarray:
        return (np.arange(10) * 3 + seed + epoch) % 10


def test_a_source_with_an_order_of_its_own_keeps_it() -> None:
    batches = list(loader(Mixture(), seed=1).epoch(4))
    assert [batch.ids.tolist() for batch in batches] == [[5, 8, 1, 4], [7, 0, 3, 6]]


def test_later_epochs_read_no_file(tmp_path: Path) -> None:
    source = Labelled(tmp_path)
    kept = loader(source, augment=FULL, drop_last=False)
    first = list(kept.epoch(0))
    for path in source.paths:
        path.unlink()
    assert source.read == 10
    assert sum(len(batch) for batch in kept.epoch(1)) == 10
    assert all(same(one, other) for one, other in zip(kept.epoch(0), first, strict=True))
    assert source.read == 10


def test_what_does_not_fit_the_memory_is_read_again_and_the_same() -> None:
    source = Labelled()
    nothing, some, all_kept = (loader(source, augment=FULL, kept_bytes=k) for k in (0, 15_000, 2**30))
    for epoch in (0, 1):
        batches = [list(one.epoch(epoch)) for one in (nothing, some, all_kept)]
        assert all(same(a, b) and same(b, c) for a, b, c in zip(*batches, strict=True))
    counts = []
    for one in (nothing, some, all_kept):
        source.read = 0
        list(one.epoch(0))
        counts.append(source.read)
    assert counts[0] == 8
    assert 0 < counts[1] < 8
    assert counts[2] <= 2  # those that both epochs before had left out


def test_damaged_files_are_skipped_and_named(tmp_path: Path) -> None:
    source = Labelled(tmp_path)
    source.paths[3].write_bytes(source.paths[3].read_bytes()[:60])
    source.paths[4].unlink()
    batches = list(loader(source, shuffle=False, drop_last=False).epoch(0))
    assert [batch.ids.tolist() for batch in batches] == [[0, 1, 2], [5, 6, 7], [8, 9]]
    skipped = [one for batch in batches for one in batch.skipped]
    assert [(one.id, one.name) for one in skipped] == [(3, "image 3"), (4, "image 4")]
    assert "no such file" in skipped[1].reason
    for path in source.paths:
        path.unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"none of the 4 samples of a batch can be decoded: .*no such file"):
        next(loader(source).epoch(0))
    empty = list(loader(source, shuffle=False, drop_last=False).epoch(0))
    assert [batch.pixels.shape for batch in empty] == [(0, 3, *SIZE)] * 3


def jpeg(height: int, width: int, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("augment", [None, Augment(scale=(0.9, 1.1))])
@pytest.mark.parametrize("stored", [(40, 90), (90, 40), (101, 100), (100, 101), (64, 64), (9, 8)])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_original_is_upright_to_the_pixel(
    stored: tuple[int, int], orientation: int, augment: Augment | None
) -> None:
    upright = stored[::-1] if orientation in (6, 8) else stored
    sizes = []

    class Seen:
        def through(self, warp: Placed) -> Seen:
            sizes.append(warp.source)
            return self

    class Turned(Labelled):
        def __getitem__(self, id: int) -> Item:
            return Item(jpeg(*stored, orientation), "turned")

        def target(self, id: int) -> Target:
            return Seen()

    (batch,) = loader(Turned(count=1), batch_size=1, augment=augment).epoch(0)
    assert sizes == [upright]
    if augment is None:
        assert batch.metas[0].original == upright
    wide, high = batch.metas[0].valid[1] / upright[1], batch.metas[0].valid[0] / upright[0]
    assert wide == pytest.approx(high, rel=0.15)


def test_a_map_of_another_size_names_the_sample() -> None:
    class Wrong(Labelled):
        def target(self, id: int) -> Target:
            return SemanticMap(torch.zeros(5, 5, dtype=torch.uint8))

    with pytest.raises(DataError, match=r"image \d \(id \d\): a map of 5x5 pixels belongs to an image of"):
        next(loader(Wrong()).epoch(0))


def test_large_images_are_decoded_no_larger_than_a_canvas_can_need() -> None:
    class Large(Labelled):
        def pixels(self, id: int) -> np.ndarray:
            return np.zeros((240, 320, 3), np.uint8)

        def map(self, id: int) -> np.ndarray:
            return np.zeros((240, 320), np.uint8)

    zoomed = loader(Large(), augment=Augment(scale=(0.5, 3.0)))
    next(zoomed.epoch(0))
    kept = zoomed._samples.kept.samples.values()
    assert {tuple(sample.pixels.shape) for sample in kept} == {(3, 72, 96)}
    assert {sample.original for sample in kept} == {(240, 320)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"size": (0, 8)}, r"size=\(0, 8\)"),
        ({"threads": 0}, "threads=0: use numbers >= 1"),
        ({"rank": 2, "world": 2}, r"ranks are 0\.\.world-1"),
        ({"batch_size": 11}, r"batch_size=11 for 10 samples and 1 ranks: use 1 to 10"),
        ({"batch_size": 2, "world": 3}, "batch_size=2 for 10 samples and 3 ranks: use 3 to 10"),
        ({"oversample": 0.5, "shuffle": False}, "without shuffle use 0"),
    ],
)
def test_sizes_that_cannot_work_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loader(**given)


def test_a_start_beyond_the_epoch_is_refused() -> None:
    with pytest.raises(ConfigError, match="start=3: an epoch has 2 batches"):
        loader().epoch(0, start=3)
