"""A folder of frames is a video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.data.decode.frames_folder import decode_frames, decode_frames_folder, list_frames
from sslkit.errors import ConfigError, DecodeError
from tests.data.decode.video_files import number, numbered


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(12):  # frame_10 comes after frame_9, not after frame_1
        Image.fromarray(numbered(index, 96, 64)).save(tmp_path / f"frame_{index}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    return tmp_path


def test_frames_are_in_natural_order(folder: Path) -> None:
    assert [file.stem for file in list_frames(folder)] == [f"frame_{index}" for index in range(12)]


def test_each_time_shows_its_frame(folder: Path) -> None:
    times = np.array([[0.0, 0.1, 0.15, 1.0], [0.3 - 1e-9, 1.1, -3.0, 99.0]])
    pixels, rectangle = decode_frames_folder(folder, times, 10.0, canvas=96)
    assert rectangle == (0, 0, 64, 96)
    assert pixels.shape == (2, 4, 3, 96, 96)
    shown = [[number(frame[:, :64]) for frame in clip] for clip in pixels]
    assert shown == [[0, 1, 1, 10], [3, 11, 0, 11]]


def test_grey_frames_have_one_channel(folder: Path) -> None:
    pixels, rectangle = decode_frames_folder(folder, np.zeros((1, 2)), 10.0, canvas=48, channels=1)
    assert pixels.shape == (1, 2, 1, 48, 48)
    assert rectangle == (0, 0, 32, 48)


def test_frames_of_two_shapes_are_no_video(folder: Path) -> None:
    Image.fromarray(numbered(3, 64, 96)).save(folder / "frame_3.png")
    with pytest.raises(DecodeError, match=r"frame_3\.png: 64x96 .* frame_0\.png is 96x64"):
        decode_frames_folder(folder, np.array([[0.0, 0.3]]), 10.0, canvas=48)


def test_images_one_by_one_are_a_video_too(folder: Path) -> None:
    images = [numbered(4, 96, 64), folder / "frame_7.png", (folder / "frame_9.png").read_bytes()]
    pixels, rectangle = decode_frames(images, np.array([[2.5, 1.0, 0.9, 7.0]]), 1.0, canvas=96)
    assert rectangle == (0, 0, 64, 96)
    assert [number(frame[:, :64]) for frame in pixels[0]] == [9, 7, 4, 9]
    images[1] = numbered(7, 96, 60)
    with pytest.raises(DecodeError, match=r"^frame 1: 96x60 where frame 0 is 96x64"):
        decode_frames(images, np.array([[0.0, 1.0]]), 1.0, canvas=96)


def test_a_damaged_frame_is_named_and_only_when_it_is_wanted(folder: Path) -> None:
    (folder / "frame_5.png").write_bytes(b"broken")
    decode_frames_folder(folder, np.array([[0.4, 0.6]]), 10.0, canvas=96)
    with pytest.raises(DecodeError, match=r"frame_5\.png"):
        decode_frames_folder(folder, np.array([[0.5]]), 10.0, canvas=96)


def test_a_folder_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="no frames in it"):
        decode_frames_folder(tmp_path, np.zeros((1, 1)), 10.0, canvas=96)
    with pytest.raises(DecodeError, match="not a folder"):
        decode_frames_folder(tmp_path / "gone", np.zeros((1, 1)), 10.0, canvas=96)


@pytest.mark.parametrize(("times", "rate"), [(np.zeros((1, 1)), 0.0), (np.zeros(4), 25.0)])
def test_options_that_make_no_sense_are_refused(folder: Path, times: np.ndarray, rate: float) -> None:
    with pytest.raises(ConfigError, match="use "):
        decode_frames_folder(folder, times, rate, canvas=96)
