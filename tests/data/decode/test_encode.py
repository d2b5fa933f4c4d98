"""Frames written to files, and what cannot be written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sslkit.data.decode.encode import write_video
from sslkit.errors import ConfigError


def ramp(frames: int) -> np.ndarray:
    """Frame k is grey 10 k, 48 wide and 32 high."""
    grey = (10 * np.arange(frames)).astype(np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (frames, 32, 48, 3))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_come_back_at_their_times(
    tmp_path: Path, ending: str, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av, "codecs_available", {codec})
    path = tmp_path / f"1.{ending}"
    write_video(path, ramp(20), 12.5)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec.canonical_name == {"libx264": "h264"}.get(codec, codec)
        assert stream.average_rate == Fraction(25, 2)
        frames = list(container.decode(stream))
    times = np.array([frame.time for frame in frames])
    np.testing.assert_allclose(times - times[0], np.arange(20) / 12.5, atol=0.001)  # .avi begins with 1
    pixels = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    np.testing.assert_allclose(pixels, ramp(20), atol=6)


def test_colours_and_places_are_kept(tmp_path: Path) -> None:
    frames = np.zeros((3, 32, 48, 3), np.uint8)
    frames[:, :16, :24, 0] = frames[:, 16:, 24:, 1] = 200
    write_video(tmp_path / "1.mp4", frames, 25)
    with av.open(str(tmp_path / "1.mp4")) as container:
        last = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][-1]
    for row, column, colour in ((8, 12, (200, 0, 0)), (24, 36, (0, 200, 0)), (8, 36, (0, 0, 0))):
        np.testing.assert_allclose(last[row, column], colour, atol=6)


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("1.mp4", "2.mp4"):
        write_video(tmp_path / name, ramp(10), 30000 / 1001)
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "2.mp4").read_bytes()


@pytest.mark.parametrize(
    ("frames", "rate"),
    [
        (np.zeros((2, 32, 32, 3), np.float32), 25),
        (np.zeros((2, 32, 32), np.uint8), 25),
        (np.zeros((2, 31, 32, 3), np.uint8), 25),
        (np.zeros((2, 32, 31, 3), np.uint8), 25),
        (np.zeros((0, 32, 32, 3), np.uint8), 25),
        (np.zeros((2, 32, 32, 3), np.uint8), 0),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, frames: np.ndarray, rate: float) -> None:
    with pytest.raises(ConfigError, match=r"use uint8 \(T, H, W, 3\) with even sides"):
        write_video(tmp_path / "1.mp4", frames, rate)
    assert not (tmp_path / "1.mp4").exists()


@pytest.mark.parametrize("name", ["nowhere/1.mp4", "1.unknown"])
def test_a_place_or_an_ending_that_is_no_use_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="choose another place or ending"):
        write_video(tmp_path / name, ramp(2), 25)
