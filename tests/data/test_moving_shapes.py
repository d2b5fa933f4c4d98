"""Procedural videos: the same ones every time, of shapes that move as they are said to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslkit.contracts import Moment
from sslkit.data.decode.moment import decode_moment
from sslkit.data.decode.video import probe_video
from sslkit.data.moving_shapes import draw_frames, write_videos
from sslkit.data.outlines import CLASSES
from sslkit.data.sources.video import VideoSource
from sslkit.errors import ConfigError
from sslkit.testing.source_kit import check_source


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))


def test_files_are_a_labelled_source_of_the_length_and_size_asked_for(tmp_path: Path) -> None:
    paths = write_videos(tmp_path / "set", videos=11, seconds=1.5, size=32, rate=10.0)
    assert [path.relative_to(tmp_path / "set").as_posix() for path in paths[::10]] == [
        "arrow/0000.mp4",
        "arrow/0010.mp4",
    ]
    source = VideoSource(tmp_path / "set")
    check_source(source)
    assert source.classes == CLASSES
    assert len(source) == 22
    header = probe_video(paths[3])
    assert (header.width, header.height, header.rate, header.duration) == (32, 32, 10.0, 1.5)


def test_files_hold_the_frames_that_were_drawn(tmp_path: Path) -> None:
    (path,) = write_videos(tmp_path, videos=1, seconds=1.0, size=64, rate=8.0, seed=3)
    times = np.arange(8) / 8
    drawn = draw_frames(0, times, size=64, seed=3)
    read, _ = decode_moment(Moment(path, 0.0, 1.0, 1.0, 8.0), times[None], canvas=64)
    # Thinned colours blur where the shape ends, so most pixels are near and not all.
    away = np.abs(read[0].transpose(0, 2, 3, 1).astype(int) - drawn)
    assert np.median(away) <= 6
    assert away.mean() < 0.5 * np.abs(np.diff(drawn.astype(int), axis=0)).mean()


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    options = {"videos": 2, "seconds": 0.5, "size": 32, "rate": 8.0}
    here, there, other = (
        write_videos(tmp_path / place, seed=seed, **options)  # type: ignore[arg-type]
        for place, seed in (("here", 0), ("there", 0), ("other", 1))
    )
    assert [path.read_bytes() for path in here] == [path.read_bytes() for path in there]
    assert here[0].read_bytes() != other[0].read_bytes()


def test_a_video_does_not_depend_on_its_length_or_its_rate() -> None:
    whole = draw_frames(4, np.arange(12) / 4, size=32)
    assert np.array_equal(draw_frames(4, np.array([0.5, 2.0]), size=32), whole[[2, 8]])


def test_shapes_move_without_leaps_and_stay_in_sight() -> None:
    for number in range(10):
        still = draw_frames(number, np.array([0.0]), size=48)[0].astype(int)
        frames = draw_frames(number, np.arange(50) / 25, size=48).astype(int)
        steps = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
        assert steps.min() > 0.1
        assert steps.max() < 0.5 * np.abs(frames[-1] - still).mean() + 10
        assert frames.reshape(50, -1, 3).std(1).min() > 8


def test_shapes_of_a_class_differ_in_look() -> None:
    first, second = draw_frames(0, np.zeros(1), size=32), draw_frames(10, np.zeros(1), size=32)
    assert np.abs(first.astype(int) - second).mean() > 10


@pytest.mark.parametrize(
    "options", [{"videos": 0}, {"size": 15}, {"size": 33}, {"rate": 0.0}, {"seconds": 0.01}]
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="even side >= 16"):
        write_videos(tmp_path, **options)  # type: ignore[arg-type]
