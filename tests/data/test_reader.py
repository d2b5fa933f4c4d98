"""Ids become canvases, the same by either way of reading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from sslkit.contracts import Frames, Item
from sslkit.data.clips import Clips
from sslkit.data.decode.image import decode_image
from sslkit.data.decode.moment import decode_moment
from sslkit.data.decoded_cache import DecodedCache
from sslkit.data.reader import BatchReader
from sslkit.data.sources.video import VideoSource
from sslkit.data.views.policy import build_views
from sslkit.keyed_random import Keys


class Pictures:
    """Random arrays; `read_many` can be taken away."""

    classes: Sequence[str] = ("even", "odd")
    fingerprint = "pictures"
    native_side: int | None = 9

    def __init__(self, channels: int) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (6, 9, 7, channels), dtype=np.uint8)
        self.labels: np.ndarray | None = np.arange(6) % 2
        self.many_reads = 0

    def __len__(self) -> int:
        return 6

    def __getitem__(self, id: int) -> Item:
        return Item(self.images[id], f"picture {id}", id % 2)

    def read_many(self, ids: np.ndarray) -> np.ndarray:
        self.many_reads += 1
        many: np.ndarray = self.images[ids]
        return many


@pytest.mark.parametrize(("channels", "depth"), [(3, 3), (3, 1), (1, 1), (1, 3)])
@pytest.mark.parametrize("canvas", [9, 12, 6])
def test_reading_many_equals_decoding_each(channels: int, depth: int, canvas: int) -> None:
    source = Pictures(depth)
    ids = torch.tensor([4, 1, 5])
    batch = BatchReader(source, canvas, channels).read(ids)
    for row, id in enumerate(ids.tolist()):
        pixels, rectangle = decode_image(source.images[id], canvas=canvas, channels=channels)
        assert np.array_equal(batch.pixels[row].numpy(), pixels)
        assert tuple(batch.rectangles[row].tolist()) == rectangle
    assert batch.ids.tolist() == [4, 1, 5]
    assert batch.labels.tolist() == [0, 1, 1]
    assert source.many_reads == int(canvas >= 9)


def test_unknown_labels_are_minus_one() -> None:
    source = Pictures(3)
    source.labels = None
    assert BatchReader(source, 9).read(torch.tensor([0, 3])).labels.tolist() == [-1, -1]


def test_what_cannot_be_decoded_has_a_reason_and_no_row() -> None:
    class Damaged(Pictures):
        native_side: int | None = None

        def __getitem__(self, id: int) -> Item:
            return Item(b"no image" if id in (0, 2) else self.images[id], f"picture {id}", id % 2)

    batch = BatchReader(Damaged(3), 9).read(torch.tensor([0, 1, 2, 3]))
    assert batch.ids.tolist() == [1, 3]
    assert batch.labels.tolist() == [1, 1]
    assert len(batch.pixels) == len(batch.rectangles) == 2
    assert [(one.id, one.name) for one in batch.skipped] == [(0, "picture 0"), (2, "picture 2")]
    assert all("not an image" in one.reason for one in batch.skipped)


def test_moments_of_video_are_read_with_the_keys_of_the_epoch(videos: Path) -> None:
    source = VideoSource(videos)
    clips = Clips(frames=2, positives="both", max_gap=0.5)
    reader = BatchReader(source, 32, clips=clips, seed=3)
    ids = torch.tensor([0, 5, 3])
    batch = reader.read(ids, epoch=4)
    assert batch.pixels.shape == (3, 2, 2, 3, 32, 32)
    assert torch.equal(batch.pixels, reader.read(ids, epoch=4).pixels)
    assert not torch.equal(batch.pixels, reader.read(ids, epoch=5).pixels)
    alone = reader.read(ids[1:2], epoch=4)
    assert torch.equal(alone.pixels[0], batch.pixels[1])
    moment = source[5].content
    expected, rectangle = decode_moment(moment, clips.times(moment, 3, 4, 5), canvas=32)
    assert np.array_equal(batch.pixels[1].numpy(), expected)
    assert tuple(batch.rectangles[1].tolist()) == rectangle


def test_evaluation_looks_at_the_middle_once(videos: Path) -> None:
    reader = BatchReader(VideoSource(videos), 32, clips=Clips(positives="both"), still=True)
    first, second = (reader.read(torch.arange(2), epoch=epoch) for epoch in (0, 1))
    assert first.pixels.shape == (2, 1, 1, 3, 32, 32)
    assert torch.equal(first.pixels, second.pixels)


def test_a_still_image_among_videos_is_repeated() -> None:
    source = Pictures(3)
    batch = BatchReader(source, 12, clips=Clips(frames=3, positives="temporal")).read(torch.tensor([4]))
    plain = BatchReader(source, 12).read(torch.tensor([4]))
    assert batch.pixels.shape == (1, 2, 3, 3, 12, 12)
    assert (batch.pixels == plain.pixels[:, None, None]).all()


class Pairs(Pictures):
    """Pairs of images of one size, but for the last, whose second one is turned."""

    native_side: int | None = None

    def __getitem__(self, id: int) -> Item:
        first = np.full((6, 10, 3), 10 * id, np.uint8)
        second = first + 5
        return Item(Frames((first, second.transpose(1, 0, 2) if id == 5 else second)), f"pair {id}", id % 2)


def test_of_images_that_belong_together_the_first_is_read() -> None:
    batch = BatchReader(Pairs(3), 12).read(torch.arange(6))
    assert batch.rectangles.tolist() == [[0, 0, 6, 10]] * 6
    assert batch.pixels[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]


def test_with_clips_they_are_a_video_of_one_frame_a_second() -> None:
    batch = BatchReader(Pairs(3), 12, clips=Clips(frames=3, positives="crop"), still=True).read(
        torch.arange(6)
    )
    assert batch.pixels.shape == (5, 1, 3, 3, 12, 12)
    assert batch.pixels[4, 0, :, 0, 0, 0].tolist() == [40, 45, 45]  # it ends on its last one
    assert batch.rectangles[4].tolist() == [0, 0, 6, 10]
    (skipped,) = batch.skipped
    assert (skipped.id, skipped.reason) == (
        5,
        "frame 1: 6x10 where frame 0 is 10x6; frames of one video have one shape",
    )
    drawn = [
        BatchReader(Pairs(3), 12, clips=Clips(frames=1), seed=1).read(torch.tensor([2]), epoch).pixels.max()
        for epoch in range(12)
    ]
    assert {int(one) for one in drawn} == {20, 25}


def test_video_without_clips_is_skipped_and_says_how_to_read_it(videos: Path) -> None:
    batch = BatchReader(VideoSource(videos), 32).read(torch.tensor([0]))
    assert len(batch) == 0
    assert "data.clip" in batch.skipped[0].reason


def test_threads_give_the_same_batch_and_keep_what_is_skipped_in_order() -> None:
    class Damaged(Pictures):
        def __getitem__(self, id: int) -> Item:
            return Item(b"damaged", f"picture {id}") if id in (1, 4) else super().__getitem__(id)

    source = Damaged(3)
    source.native_side = None
    one, many = (BatchReader(source, 12, threads=threads).read(torch.arange(6)) for threads in (1, 4))
    assert one.ids.tolist() == many.ids.tolist() == [0, 2, 3, 5]
    assert torch.equal(one.pixels, many.pixels)
    assert [s.id for s in many.skipped] == [1, 4]


def test_a_cache_is_filled_once_and_read_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Pictures(3)
    source.native_side = None
    cache = DecodedCache(tmp_path, fingerprint=source.fingerprint, count=6, canvas=12, channels=3)
    reader = BatchReader(source, 12, cache=cache)
    first = reader.read(torch.arange(6))
    monkeypatch.setattr("sslkit.data.reader.decode_image", None)  # from here on only the cache knows
    second = reader.read(torch.arange(6))
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.rectangles, second.rectangles)
    assert first.pixels.any()


def test_views_made_where_the_batch_is_read_are_those_of_the_device() -> None:
    views = build_views("simclr_small", size=8, mean=(0.5,) * 3, std=(0.2,) * 3)
    plain = BatchReader(Pictures(3), 12, seed=2).read(torch.arange(4), epoch=1)
    made = BatchReader(Pictures(3), 12, seed=2, views=views).read(torch.arange(4), epoch=1)
    expected = views(plain.pixels, plain.rectangles, Keys(2, 1, plain.ids))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(made.views, expected, strict=True))
    assert made.pixels.numel() == 0
    assert [len(part) for part in made.split(2)] == [2, 2]
    assert torch.equal(made.split(2)[1].views[0], made.views[0][2:])


def test_a_source_that_reads_many_items_at_once_is_asked_once() -> None:
    asked: list[list[int]] = []

    class Many(Pictures):
        def items(self, ids: np.ndarray) -> list[Item]:
            asked.append(ids.tolist())
            return [self[int(id)] for id in ids]

    source = Many(3)
    source.native_side = None
    batch = BatchReader(source, 12).read(torch.tensor([3, 1]))
    assert asked == [[3, 1]]
    assert batch.ids.tolist() == [3, 1]


def test_the_decoder_asked_for_reads_the_videos(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(*_: object, decoder: str, canvas: int, channels: int) -> object:
        asked.append(decoder)
        return np.zeros((1, 1, channels, canvas, canvas), np.uint8), (0, 0, canvas, canvas)

    monkeypatch.setattr("sslkit.data.reader.decode_moment", note)
    BatchReader(VideoSource(videos), 32, clips=Clips(decoder="torchcodec")).read(torch.tensor([0]))
    assert asked == ["torchcodec"]
