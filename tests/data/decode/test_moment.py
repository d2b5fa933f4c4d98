"""A moment is decoded from where its frames lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.contracts import Moment
from sslkit.data.decode.encode import write_video
from sslkit.data.decode.moment import decode_moment, moment_size
from sslkit.errors import DecodeError


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_and_a_folder_of_its_frames_are_the_same_video(
    tmp_path: Path, kind: str, channels: int
) -> None:
    grey = (20 * np.arange(10)).astype(np.uint8)
    frames = np.broadcast_to(grey[:, None, None, None], (10, 16, 32, 3))
    path = tmp_path / "walk.mp4"
    if kind == "file":
        write_video(path, frames, 5.0)
    else:
        path.mkdir()
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(path / f"{number}.png")
    times = np.array([[0.0, 0.3, 1.9], [1.0, 5.0, 0.99]])
    pixels, rectangle = decode_moment(Moment(path, 0.0, 1.0, 2.0, 5.0), times, canvas=32, channels=channels)
    assert rectangle == (0, 0, 16, 32)
    assert pixels.shape == (2, 3, channels, 32, 32)
    assert not pixels[..., 16:, :].any()
    np.testing.assert_allclose(pixels[..., :16, :].mean((2, 3, 4)), [[0, 20, 180], [100, 180, 80]], atol=4)


@dataclass(frozen=True)
class Painter:
    """Frames whose left half tells the second in fifths, counting how often it is asked."""

    height: int = 40
    width: int = 80

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        frames = np.zeros((len(seconds), self.height, self.width, 3), np.uint8)
        frames[:, :, : self.width // 2] = (20 * seconds[:, None, None, None] * 5).round().astype(np.uint8)
        return frames


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_painted_is_shown_as_a_video_is(channels: int) -> None:
    times = np.array([[0.0, 0.2, 1.0], [1.0, 0.2, 0.4]])
    moment = Moment(Painter(), 0.0, 2.0, 2.0, 5.0)
    pixels, rectangle = decode_moment(moment, times, canvas=40, channels=channels)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (2, 3, channels, 40, 40)
    assert rectangle == (0, 0, 20, 40)
    assert pixels[..., :20, :16].std((2, 3, 4)).max() == 0
    assert pixels[:, :, 0, 5, 5].tolist() == [[0, 20, 100], [100, 20, 40]]
    assert not pixels[..., :20, 24:].any()
    assert not pixels[..., 20:, :].any()


def test_a_painter_that_paints_no_pixels_is_named() -> None:
    moment = Moment(lambda seconds: np.zeros((1, 4, 4, 3), np.uint8), 0.0, 2.0, 2.0, 5.0)
    with pytest.raises(DecodeError, match=r"painted uint8 \(1, 4, 4, 3\) at 2 times; uint8 \(2, height"):
        decode_moment(moment, np.array([[0.0, 1.0]]), canvas=8)


def test_the_size_of_a_video_is_that_of_its_frames_upright(tmp_path: Path) -> None:
    write_video(tmp_path / "walk.mp4", np.zeros((4, 48, 64, 3), np.uint8), 5.0)
    folder = tmp_path / "turned"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(folder / "1.jpg", exif=exif)
    sizes = {tmp_path / "walk.mp4": (48, 64), folder: (30, 20), Painter(7, 9): (7, 9)}
    for path, size in sizes.items():
        assert moment_size(Moment(path, 0.0, 1.0, 1.0, 5.0)) == size
        assert moment_size(Moment(path, 0.0, 1.0, 1.0, 5.0), channels=1) == size
    with pytest.raises(DecodeError, match="no such file"):
        moment_size(Moment(tmp_path / "gone.mp4", 0.0, 1.0, 1.0, 5.0))


def test_what_is_gone_is_a_decode_error(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="no such file"):
        decode_moment(Moment(tmp_path / "walk.mp4", 0.0, 1.0, 1.0, 5.0), np.zeros((1, 1)), canvas=32)
