"""Batches of clips: which frames, which part of them, alike in all frames, and the same wherever read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslkit.contracts import Frames, LabelledBatch, Moment
from sslkit.data.augment import Augment, Elastic
from sslkit.data.clip_sampling import ClipSampling
from sslkit.data.decode.encode import write_video
from sslkit.data.labelled import LabelledLoader
from sslkit.errors import DataError
from tests.data.painted import RATE, Contents, Counter, folder_of_frames, shown_frames, video

SIZE = (24, 32)
FULL = Augment(flip=0.5, scale=(0.7, 1.5), elastic=Elastic(1.5, 6, 0.5), colour=0.3)
DRAWN = ClipSampling(4, 2, drawn=True)


def loader(source: Any = None, **given: Any) -> LabelledLoader:
    source = source or Contents(*(video(20 + id) for id in range(10)))
    return LabelledLoader(source, **{"size": SIZE, "batch_size": 4, "clip": DRAWN, **given})


def rows(batches: Any) -> dict[tuple[int, int], torch.Tensor]:
    """The pixels of every row by (id, view)."""
    found = {}
    for batch in batches:
        for meta, pixels in zip(batch.metas, batch.pixels, strict=True):
            assert (meta.id, meta.view) not in found
            found[meta.id, meta.view] = pixels
    return found


def same(one: LabelledBatch, other: LabelledBatch) -> bool:
    return torch.equal(one.pixels, other.pixels) and one.metas == other.metas and one.targets == other.targets


def test_a_drawn_clip_has_the_frames_it_asks_for_and_each_epoch_others() -> None:
    starts = []
    for epoch in range(6):
        for pixels in rows(loader(drop_last=False).epoch(epoch)).values():
            assert pixels.shape == (4, 3, *SIZE)
            shown = shown_frames(pixels)
            assert shown == [shown[0] + step for step in (0, 2, 4, 6)]
            starts.append(shown[0])
    assert len(set(starts)) > 8
    assert min(starts) == 0
    assert max(starts) > 15


@pytest.mark.parametrize("augment", [None, FULL])
def test_a_row_is_the_same_in_every_batch_thread_and_rank(augment: Augment | None) -> None:
    given: dict[str, Any] = {"augment": augment, "drop_last": False, "seed": 5}
    whole = rows(loader(**given).epoch(3))
    others = [
        loader(**given, batch_size=3, threads=3).epoch(3),
        loader(**given, ahead=True, threads=2).epoch(3),
        [batch for rank in range(3) for batch in loader(**given, rank=rank, world=3).epoch(3)],
    ]
    for other in map(rows, others):
        assert other.keys() == whole.keys()
        assert all(torch.equal(other[key], whole[key]) for key in whole)
    assert not any(torch.equal(pixels, whole[key]) for key, pixels in rows(loader(**given).epoch(4)).items())


def test_an_epoch_goes_on_where_it_was_left_to_the_bit() -> None:
    whole = list(loader(augment=FULL).epoch(2))
    again = loader(augment=FULL, threads=2, ahead=True)
    list(again.epoch(0))
    for start in range(len(whole) + 1):
        rest = list(again.epoch(2, start=start))
        assert all(same(one, other) for one, other in zip(rest, whole[start:], strict=True))


def test_a_file_and_a_folder_show_the_frames_of_the_painter(tmp_path: Path) -> None:
    length = 30 / RATE
    write_video(tmp_path / "walk.mp4", Counter(32, 48)(np.arange(30) / RATE), RATE)
    file = Moment(tmp_path / "walk.mp4", 0.0, length, length, RATE)
    folder = folder_of_frames(tmp_path / "frames", 30, height=32, width=48)
    images = Frames(tuple(folder.path / f"{number}.png" for number in range(30)))  # type: ignore[operator]
    painted = video(30, height=32, width=48)
    for clip in (DRAWN, ClipSampling(5, 3, views=3)):
        shown = [
            rows(loader(Contents(content), clip=clip, batch_size=1).epoch(1))
            for content in (painted, file, folder, images)
        ]
        expected = [shown_frames(pixels) for pixels in shown[0].values()]
        for others in shown[1:]:
            assert [shown_frames(pixels) for pixels in others.values()] == expected
    (batch,) = loader(Contents(file), batch_size=1).epoch(0)
    assert (batch.metas[0].original, batch.metas[0].valid) == ((32, 48), (21, 32))


def test_the_views_of_a_test_are_rows_that_lie_together() -> None:
    clip = ClipSampling(4, 2, views=2, crops=3)
    batches = list(loader(clip=clip, shuffle=False, drop_last=False, batch_size=15).epoch(0))
    assert [len(batch) for batch in batches] == [12] * 5
    for number, batch in enumerate(batches):
        ids = [2 * number] * 6 + [2 * number + 1] * 6
        assert batch.ids.tolist() == ids
        assert [meta.id for meta in batch.metas] == ids
        assert [meta.view for meta in batch.metas] == [*range(6)] * 2
        assert [target.label for target in batch.targets] == [id % 3 for id in ids]  # type: ignore[attr-defined]
    first = [shown_frames(pixels) for pixels in batches[0].pixels[:6]]
    assert first == [[0, 2, 4, 6]] * 3 + [[13, 15, 17, 19]] * 3  # of 20 frames


@pytest.mark.parametrize("turned", [False, True])
def test_three_crops_are_the_beginning_middle_and_end_of_the_longer_side(turned: bool) -> None:
    @dataclass(frozen=True)
    class Noise:
        def __call__(self, seconds: np.ndarray) -> np.ndarray:
            noise = np.random.default_rng(0).integers(0, 256, (1, 20, 44, 3), dtype=np.uint8)
            frames = noise.repeat(len(seconds), axis=0)
            return frames.transpose(0, 2, 1, 3) if turned else frames

    source = Contents(Moment(Noise(), 0.0, 1.0, 1.0, RATE))
    clip = ClipSampling(2, crops=3)
    (batch,) = loader(source, clip=clip, size=(20, 20), batch_size=1, shuffle=False).epoch(0)
    image = torch.from_numpy(Noise()(np.zeros(1))).permute(0, 3, 1, 2)[0]
    for pixels, begin in zip(batch.pixels, (0, 12, 24), strict=True):
        window = image[:, begin : begin + 20] if turned else image[:, :, begin : begin + 20]
        assert torch.equal(pixels[0], window)
        assert torch.equal(pixels[1], window)
    assert {meta.valid for meta in batch.metas} == {(20, 20)}


def test_large_videos_are_cropped_after_they_are_shrunk() -> None:
    source = Contents(video(4, height=60, width=200, ramp=True))
    (batch,) = loader(
        source, clip=ClipSampling(2, crops=3), size=(30, 30), batch_size=1, shuffle=False
    ).epoch(0)
    assert batch.pixels.shape == (3, 2, 3, 30, 30)
    means = batch.pixels.float().mean(dim=(1, 2, 3, 4))
    assert means.tolist() == pytest.approx([29.5, 99.5, 169.5], abs=1)  # columns 0..59, 70..129, 140..199


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_ranks_share_whole_videos_and_together_see_what_one_sees(world: int) -> None:
    clip = ClipSampling(4, 2, views=3, crops=3)
    given: dict[str, Any] = {"clip": clip, "shuffle": False, "drop_last": False, "batch_size": 4}
    alone = rows(loader(**given).epoch(0))
    assert len(alone) == 10 * 9
    ranks = [list(loader(**given, rank=rank, world=world).epoch(0)) for rank in range(world)]
    assert len({len(own) for own in ranks}) == 1
    owners: dict[int, set[int]] = {}
    for rank, own in enumerate(ranks):
        for id, _ in rows(own):
            owners.setdefault(id, set()).add(rank)
    assert all(len(owner) == 1 for owner in owners.values())
    together = rows(batch for own in ranks for batch in own)
    assert together.keys() == alone.keys()
    assert all(torch.equal(together[key], alone[key]) for key in alone)
    assert all(batch.pixels.shape[1:] == (4, 3, *SIZE) for own in ranks for batch in own)


def test_frames_of_a_clip_lie_and_are_coloured_alike() -> None:
    source = Contents(*(video(12, ramp=True) for _ in range(20)))  # every frame is the same
    plain = Augment(FULL.flip, FULL.scale, FULL.elastic, colour=0.0)
    shown = [rows(loader(source, augment=augment, batch_size=20).epoch(0)) for augment in (plain, FULL)]
    for key in shown[0]:
        for pixels in (shown[0][key], shown[1][key]):
            assert all(torch.equal(frame, pixels[0]) for frame in pixels)
        assert not torch.equal(shown[0][key], shown[1][key])
    assert len({pixels.numpy().tobytes() for pixels in shown[0].values()}) == 20


class Counted(Contents):
    def __init__(self, *contents: Any) -> None:
        super().__init__(*contents)
        self.read = 0

    def __getitem__(self, id: int) -> Any:
        self.read += 1
        return super().__getitem__(id)


def test_views_of_a_test_are_kept_as_far_as_they_fit_and_drawn_clips_are_not() -> None:
    clip = ClipSampling(4, 2, views=2)
    cost = 2 * 4 * 3 * 24 * 32
    for room, reads in ((2**30, 10), (0, 30), (4 * cost, 4 + 3 * 6)):
        source = Counted(*(video(20) for _ in range(10)))
        test = loader(source, clip=clip, shuffle=False, drop_last=False, kept_bytes=room)
        seen = [rows(test.epoch(number)) for number in range(3)]
        assert source.read == reads
        assert all(torch.equal(seen[0][key], other[key]) for other in seen for key in other)
    source = Counted(*(video(20) for _ in range(8)))
    training = loader(source)
    for epoch in range(3):
        list(training.epoch(epoch))
    assert source.read == 24


def test_a_short_video_repeats_its_last_frame_or_is_left_out_by_name() -> None:
    source = Contents(video(3), video(20), np.zeros((24, 32, 3), np.uint8))
    (batch,) = loader(source, drop_last=False).epoch(0)
    assert batch.ids.tolist() == [1]
    reasons = {one.name: one.reason for one in batch.skipped}
    assert "video 0: 3 frames, and 4 at stride 2 span 7; use a shorter clip" in reasons["video 0"]
    assert "1 frames" in reasons["video 2"]
    clip = ClipSampling(4, 2, short="repeat", drawn=True)
    found = rows(loader(source, clip=clip, drop_last=False).epoch(0))
    assert shown_frames(found[0, 0]) == [0, 2, 2, 2]
    assert torch.equal(found[2, 0], torch.zeros(4, 3, *SIZE, dtype=torch.uint8))


def test_frames_of_unequal_size_and_damaged_files_are_named(tmp_path: Path) -> None:
    source = Contents(folder_of_frames(tmp_path / "odd", 8), video(8), tmp_path / "gone.png")
    folder_of_frames(tmp_path / "large", 1, height=48, width=32)
    (tmp_path / "large" / "0.png").replace(tmp_path / "odd" / "2.png")
    broken = folder_of_frames(tmp_path / "broken", 8)
    (tmp_path / "broken" / "2.png").write_bytes(b"no picture")
    source.contents.append(broken)
    source.labels = np.arange(4) % 3
    clip = ClipSampling(4, 2, short="repeat")
    (batch,) = loader(source, clip=clip, shuffle=False, drop_last=False).epoch(0)
    assert batch.ids.tolist() == [1]
    reasons = [one.reason for one in batch.skipped]
    assert "2.png" in reasons[0]
    assert "frames of one video have one shape" in reasons[0]
    assert "no such file" in reasons[1]
    assert "2.png" in reasons[2]


def test_a_painter_that_paints_something_else_is_named() -> None:
    @dataclass(frozen=True)
    class Floats:
        def __call__(self, seconds: np.ndarray) -> np.ndarray:
            return np.zeros((len(seconds), 8, 8, 3))

    source = Contents(Moment(Floats(), 0.0, 2.0, 2.0, RATE))
    with pytest.raises(DataError, match=r"Floats\(\) painted float64 \(1, 8, 8, 3\) at 1 times; uint8"):
        next(loader(source, batch_size=1).epoch(0))


@pytest.mark.parametrize("augment", [None, FULL])
def test_an_image_head_is_told_that_videos_are_no_images(augment: Augment | None) -> None:
    (batch,) = loader(Contents(video(20)), clip=None, drop_last=False, augment=augment).epoch(0)
    assert "videos are read by the clip reader" in batch.skipped[0].reason
