"""Files that are no videos, damaged or cut off: DecodeError that says why, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.data.decode.video import decode_clips, probe_video
from sslkit.errors import DecodeError
from tests.data.decode.video_files import CLOSED, number, sound_only, video

SOON = np.array([[0.0, 0.2]])


def refusal(content: Path | bytes, times: np.ndarray = SOON) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_clips(content, times, canvas=96)
    return str(caught.value)


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am a text " * 40, "not a video"),
        (png(), "not a video"),
        (bytes(5000), "not a video"),
    ],
    ids=["empty", "text", "image", "zeros"],
)
def test_what_is_no_video_is_named_so(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert reason in refusal(path)
    assert str(path) in refusal(path)
    assert reason in refusal(content)
    with pytest.raises(DecodeError, match=reason):
        probe_video(path)


def test_sound_alone_is_no_video() -> None:
    assert "only audio" in refusal(sound_only())


def test_sound_beside_the_video_does_not_disturb() -> None:
    pixels, _ = decode_clips(video(audio=True), np.array([[0.4]]), canvas=96)
    assert number(pixels[0, 0][:, :64]) == 10


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "gone.mp4")
    assert "a folder" in refusal(tmp_path)


def test_a_playlist_renamed_to_mp4_opens_no_other_file(tmp_path: Path) -> None:
    real = tmp_path / "real.mp4"
    real.write_bytes(video())
    for text in ("ffconcat version 1.0\nfile real.mp4\n", f"#EXTM3U\n#EXTINF:1,\n{real}\n#EXT-X-ENDLIST\n"):
        path = tmp_path / "list.mp4"
        path.write_text(text)
        assert "not a video" in refusal(path)


def test_a_name_with_a_colon_is_a_file_and_no_protocol(tmp_path: Path) -> None:
    path = tmp_path / "data:clip, take 2.mp4"
    path.write_bytes(video())
    assert decode_clips(path, SOON, canvas=96)[0].shape == (1, 2, 3, 96, 96)


def test_an_mp4_without_its_index_is_called_cut_off() -> None:
    content = video()
    assert "moov" in refusal(content[: len(content) * 2 // 3])


@pytest.mark.parametrize(
    "content",
    [
        video("libx264", "matroska", count=100, options=CLOSED),
        video("libx264", "mp4", count=100, options=CLOSED, container_options={"movflags": "faststart"}),
        video("mpeg4", "mov", count=100, b_frames=2, container_options={"movflags": "faststart"}),
    ],
    ids=["mkv", "mp4", "mov"],
)
def test_of_a_truncated_file_the_readable_part_can_be_used(content: bytes, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(content[: len(content) * 3 // 4])
    pixels, _ = decode_clips(cut, np.array([[0.0, 0.12, 0.4]]), canvas=96)
    assert [number(frame[:, :64]) for frame in pixels[0]] == [0, 3, 10]
    assert "truncated" in refusal(cut, np.array([[0.0, 3.98]]))
    assert "of 4.00 s" in refusal(cut, np.array([[0.0, 9.0]]))


def test_a_truncated_avi_is_as_long_as_what_is_there() -> None:
    content = video("mpeg4", "avi", count=100)
    cut = content[: len(content) * 3 // 4]
    assert 2.5 < probe_video(cut).duration < 3.5
    pixels, _ = decode_clips(cut, np.array([[0.4, 2.6]]), canvas=96)
    assert [number(frame[:, :64]) for frame in pixels[0]] == [10, 65 % 64]


def bomb() -> bytes:
    """An AVI of JPEGs whose headers say 15000 x 15000."""
    content = video("mjpeg", "avi", count=2)
    size, huge = (np.array(pair, "<u4").tobytes() for pair in ((96, 64), (15000, 15000)))
    assert content.count(size) >= 2
    content = content.replace(size, huge)
    return content.replace(b"\x00\x11\x08\x00\x40\x00\x60", b"\x00\x11\x08\x3a\x98\x3a\x98")


def test_absurd_dimensions_are_refused_before_memory_is_asked_for() -> None:
    assert "178,956,970 pixels" in refusal(bomb())


def test_flipped_bytes_give_frames_or_a_decode_error() -> None:
    random = np.random.default_rng(3)
    whole = [
        np.frombuffer(video("mpeg4", "avi", count=16, size=(48, 32)), np.uint8),
        np.frombuffer(video("libx264", "mp4", count=16, size=(48, 32), options=CLOSED), np.uint8),
        np.frombuffer(video("libx264", "matroska", count=16, size=(48, 32), options=CLOSED), np.uint8),
        np.frombuffer(video("mpeg2video", "mpeg", count=16, size=(48, 32)), np.uint8),
    ]
    refused = 0
    for trial in range(200):
        damaged = whole[trial % len(whole)].copy()
        places = random.integers(0, len(damaged), random.integers(1, 30))
        damaged[places] = random.integers(0, 256, len(places))
        try:
            pixels, _ = decode_clips(damaged.tobytes(), SOON, canvas=48)
        except DecodeError:
            refused += 1
        else:
            assert pixels.shape == (1, 2, 3, 48, 48)
    assert 10 < refused < 190  # both ways were taken
