"""A moment is decoded from where its frames lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.contracts import Moment
from sslkit.data.decode.encode import write_video
from sslkit.data.decode.moment import decode_moment
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


def test_what_is_gone_is_a_decode_error(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="no such file"):
        decode_moment(Moment(tmp_path / "walk.mp4", 0.0, 1.0, 1.0, 5.0), np.zeros((1, 1)), canvas=32)
