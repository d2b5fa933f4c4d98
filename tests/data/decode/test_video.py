"""Clips show the frames of the asked times, whatever the codec, container and order of decoding."""

from __future__ import annotations

import gc
import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from sslkit.data.decode.encode import write_video
from sslkit.data.decode.image import decode_image
from sslkit.data.decode.packets import Plan, plan
from sslkit.data.decode.suffixes import VIDEO_EXTENSIONS
from sslkit.data.decode.video import decode_clips, probe_video
from sslkit.errors import ConfigError
from tests.data.decode.video_files import CLOSED, OPEN, number, video

COUNT, RATE = 40, 25
ENCODINGS: dict[str, dict[str, Any]] = {
    "mp4 h264, B frames": {"codec": "libx264", "options": CLOSED},
    "mp4 h264, open groups": {"codec": "libx264", "options": OPEN},
    "mkv h264": {"codec": "libx264", "format": "matroska", "options": CLOSED},
    "mkv h264, open groups": {"codec": "libx264", "format": "matroska", "options": OPEN},
    "mkv without a length": {"format": "matroska", "container_options": {"live": "1"}},
    "ts h264": {"codec": "libx264", "format": "mpegts", "options": CLOSED},
    "ts h264, open groups": {"codec": "libx264", "format": "mpegts", "options": OPEN},
    "mpg mpeg2, B frames": {"codec": "mpeg2video", "format": "mpeg", "b_frames": 2},
    "avi mpeg4": {"format": "avi"},
    "avi mpeg4, B frames": {"format": "avi", "b_frames": 2},
    "avi h264, B frames": {"codec": "libx264", "format": "avi", "options": CLOSED},
    "avi of JPEGs": {"codec": "mjpeg", "format": "avi"},
    "mov mpeg4, B frames": {"format": "mov", "b_frames": 2},
    "raw mpeg4": {"format": "m4v", "b_frames": 2},
    "webm vp8": {"codec": "libvpx", "format": "webm", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "mkv ffv1": {"codec": "ffv1", "format": "matroska", "gop": 1},
}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: video(count=COUNT, rate=RATE, **given) for name, given in ENCODINGS.items()}


def numbers(content: Path | bytes, times: Any, **options: Any) -> list[int]:
    """The numbers of the frames shown at a row of times."""
    pixels, (_, _, height, width) = decode_clips(
        content, np.asarray([times], float), **{"canvas": 96, **options}
    )
    return [number(frame[:, :height, :width]) for frame in pixels[0]]


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_frame_is_found_at_its_own_time_and_until_the_next(name: str, files: dict[str, bytes]) -> None:
    every = np.arange(COUNT)
    assert numbers(files[name], every / RATE) == every.tolist()
    assert numbers(files[name], (every + 0.95) / RATE) == every.tolist()


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_few_frames_alone_are_the_same_as_among_all(name: str, files: dict[str, bytes]) -> None:
    random = np.random.default_rng(7)
    for _ in range(6):
        wanted = random.integers(0, COUNT, 3)
        assert numbers(files[name], wanted / RATE) == wanted.tolist()


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_header_tells_the_length_even_where_the_container_does_not(
    name: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "clip"
    path.write_bytes(files[name])
    header = probe_video(path)
    assert (header.width, header.height, header.rotation) == (96, 64, 0)
    assert header.duration == pytest.approx(COUNT / RATE, abs=0.002)
    assert header.rate == pytest.approx(RATE, rel=0.01)
    assert header.frames in (None, COUNT)
    assert header == probe_video(files[name])


def test_clips_keep_their_order_and_repetitions(files: dict[str, bytes]) -> None:
    wanted = np.array([[30, 29, 28], [2, 2, 30]])
    pixels, _ = decode_clips(files["mp4 h264, B frames"], wanted / RATE, canvas=96)
    assert pixels.shape == (2, 3, 3, 96, 96)
    assert pixels.dtype == np.uint8
    assert [[number(frame[:, :64]) for frame in clip] for clip in pixels] == wanted.tolist()


def test_times_outside_are_those_of_the_first_and_last_frame(files: dict[str, bytes]) -> None:
    for content in files.values():
        assert numbers(content, [-5.0, 0.0, 1.7, 1000.0]) == [0, 0, COUNT - 1, COUNT - 1]


def slow_twin(content: bytes, times: list[float]) -> list[int]:
    """Decode everything in order; of the frames that began by a time take the last."""
    with av.open(io.BytesIO(content)) as container:
        frames = list(container.decode(video=0))
    shown = []
    for second in times:
        index = 0
        for place, frame in enumerate(frames):
            if float((frame.pts - frames[0].pts) * frame.time_base) <= second + 0.0005:
                index = place
        shown.append(number(frames[index].to_ndarray(format="rgb24").transpose(2, 0, 1)))
    return shown


@pytest.mark.parametrize(("codec", "format"), [("libx264", "mp4"), ("libx264", "matroska"), ("mpeg4", "mov")])
@pytest.mark.parametrize("start", [0, 2000])
def test_a_varying_rate_goes_by_the_times_of_the_frames(codec: str, format: str, start: int) -> None:
    random = np.random.default_rng(start)
    steps = random.choice([10, 20, 40, 300], COUNT)
    times = (start + np.cumsum(steps) - steps[0]).tolist()
    options = CLOSED if codec == "libx264" else {}
    content = video(codec, format, times=times, options=options)
    asked = random.uniform(0, (times[-1] - start) / 1000 + 0.1, 20).tolist()
    assert numbers(content, asked) == slow_twin(content, asked)
    assert probe_video(content).duration == pytest.approx((times[-1] - start) / 1000, abs=0.35)


def test_frames_that_an_edit_list_hides_are_not_shown() -> None:
    content = video("libx264", times=[40 * index - 200 for index in range(COUNT)], options=CLOSED)
    assert numbers(content, [0.0, 0.04, 1.0]) == [5, 6, 30]
    assert slow_twin(content, [0.0, 0.04, 1.0]) == [5, 6, 30]


# ------------------------------------------------------------------------------------ what is decoded


def planned(content: bytes, seconds: list[float]) -> Plan:
    with av.open(io.BytesIO(content)) as container:
        return plan(container, container.streams.video[0], seconds)


def decoded(content: bytes, frames: list[int]) -> list[list[int]]:
    """Numbers of the frames in each run."""
    found = planned(content, [frame / RATE for frame in frames])
    with av.open(io.BytesIO(content)) as container:
        tick = float(container.streams.video[0].time_base or 1)
    return [sorted(round(((p.pts or 0) - found.first) * tick * RATE) for p in run) for run in found.runs]


def test_only_the_groups_that_hold_wanted_frames_are_decoded(files: dict[str, bytes]) -> None:
    content = files["avi mpeg4"]  # groups begin at 0, 12, 24, 36
    assert decoded(content, [14, 15]) == [[12, 13, 14, 15]]
    assert decoded(content, [1, 25]) == [[0, 1], [24, 25]]
    assert decoded(content, [10, 13]) == [[*range(11)], [12, 13]]
    assert decoded(content, [11, 13]) == [[*range(14)]]
    assert decoded(files["avi of JPEGs"], [3, 30]) == [[3], [30]]


def test_pictures_that_lead_a_keyframe_bring_the_group_before_it(files: dict[str, bytes]) -> None:
    content = files["mp4 h264, open groups"]
    with av.open(io.BytesIO(content)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    keys = [place for place, packet in enumerate(packets) if packet.is_keyframe]
    tick = packets[0].time_base
    leading = packets[keys[1] + 1]
    assert leading.pts < packets[keys[1]].pts
    frame = round(leading.pts * tick * RATE)
    runs = decoded(content, [frame])
    assert len(runs) == 1
    assert runs[0][0] == 0
    assert numbers(content, [frame / RATE]) == [frame]


def test_no_frame_is_decoded_twice_though_times_are_far_apart() -> None:
    long = video("mpeg4", "matroska", count=300, rate=10, gop=100, size=(48, 32))  # thirty seconds
    found = planned(long, [1.0, 8.5, 9.0, 25.0])
    order = [packet.pts for run in found.runs for packet in run]
    assert len(order) == len(set(order))
    assert [len(run) for run in found.runs] == [91, 51]
    assert numbers(long, [25.0, 1.0, 9.0, 8.5]) == [250 % 64, 10, 90 % 64, 85 % 64]


# ------------------------------------------------------------------------------------- how frames lie


def flat(red: int, green: int, blue: int) -> Any:
    return lambda index, width, height: np.full((height, width, 3), (red, green, blue), np.uint8)


def smooth(index: int, width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, 127 + 90 * np.sin(9 * x / width)], -1).astype(
        np.uint8
    )


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((192, 108), (64, 36)), ((108, 192), (36, 64)), ((300, 40), (64, 9)), ((64, 48), (64, 48))],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_frames_fit_the_canvas_as_images_do(
    size: tuple[int, int], fitted: tuple[int, int], channels: int
) -> None:
    content = video("ffv1", "matroska", count=1, size=size, picture=smooth)
    pixels, rectangle = decode_clips(content, np.zeros((1, 1)), canvas=64, channels=channels)
    image, expected = decode_image(smooth(0, *size), canvas=64, channels=channels)
    assert rectangle == expected == (0, 0, fitted[1], fitted[0])
    assert pixels.shape == (1, 1, channels, 64, 64)
    assert np.abs(pixels[0, 0].astype(int) - image).mean() < 2.0
    assert pixels[..., rectangle[2] :, :].max(initial=0) == 0
    assert pixels[..., rectangle[3] :].max(initial=0) == 0


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    checks = np.repeat((np.indices((256, 256)).sum(0) % 2 * 255)[..., None], 3, 2).astype(np.uint8)
    content = video("ffv1", "matroska", count=1, size=(256, 256), picture=lambda *_: checks)
    pixels, _ = decode_clips(content, np.zeros((1, 1)), canvas=32)
    assert np.abs(pixels.astype(int) - 127).max() <= 4


@pytest.mark.parametrize(("standard", "name"), [(1, "ITU709"), (5, "ITU601")])
def test_colours_go_by_the_standard_that_the_file_names(standard: int, name: str) -> None:
    rgb = (200, 60, 30)
    picture = av.VideoFrame.from_ndarray(flat(*rgb)(0, 64, 48), format="rgb24")
    wanted = picture.reformat(format="yuv420p", dst_colorspace=name, dst_color_range="MPEG")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = standard, 1
        container.mux(stream.encode(wanted))
        container.mux(stream.encode(None))
    pixels, _ = decode_clips(buffer.getvalue(), np.zeros((1, 1)), canvas=64)
    assert np.abs(pixels[0, 0, :, 24, 32].astype(int) - rgb).max() <= 4


@pytest.mark.parametrize(("level", "shown"), [(0, 0), (255, 255), (128, 128)])
def test_grey_covers_the_whole_range(level: int, shown: int) -> None:
    content = video("ffv1", "matroska", count=1, picture=flat(level, level, level))
    pixels, _ = decode_clips(content, np.zeros((1, 1)), canvas=96, channels=1)
    assert abs(int(pixels[0, 0, 0, 30, 40]) - shown) <= 2


# QuickTime's matrices: a point (x, y), y downwards, is shown at (a x + c y, b x + d y).
MATRICES: dict[str, tuple[tuple[int, int, int, int], Image.Transpose | None]] = {
    "as it lies": ((1, 0, 0, 1), None),
    "clockwise": ((0, 1, -1, 0), Image.Transpose.ROTATE_270),
    "upside down": ((-1, 0, 0, -1), Image.Transpose.ROTATE_180),
    "counterclockwise": ((0, -1, 1, 0), Image.Transpose.ROTATE_90),
    "mirrored": ((-1, 0, 0, 1), Image.Transpose.FLIP_LEFT_RIGHT),
    "mirrored and turned": ((0, 1, 1, 0), Image.Transpose.TRANSPOSE),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_telephone_video_stands_upright(name: str) -> None:
    (a, b, c, d), transpose = MATRICES[name]
    one = 1 << 16
    matrix = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]
    content = video(
        "mpeg4", "mov", count=2, size=(160, 96), picture=smooth, change=lambda s: s.set_display_matrix(matrix)
    )
    upright = Image.fromarray(smooth(0, 160, 96))
    expected = upright if transpose is None else upright.transpose(transpose)
    image, rectangle = decode_image(np.asarray(expected), canvas=80)
    pixels, found = decode_clips(content, np.zeros((1, 1)), canvas=80)
    assert found == rectangle
    assert np.abs(pixels[0, 0].astype(int) - image).mean() < 4.0
    header = probe_video(content)
    assert (header.width, header.height) == expected.size


@pytest.mark.parametrize(("aspect", "size"), [(2, (96, 32)), (Fraction(1, 2), (48, 64)), (1, (96, 64))])
def test_wide_pixels_become_square_and_no_side_grows(aspect: Fraction, size: tuple[int, int]) -> None:
    def stretch(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)

    content = video("mpeg4", "mp4", count=2, change=stretch)
    header = probe_video(content)
    assert (header.width, header.height) == size
    _, rectangle = decode_clips(content, np.zeros((1, 1)), canvas=200)
    assert rectangle == (0, 0, size[1], size[0])


# ---------------------------------------------------------------------------------------- and the rest


@pytest.mark.parametrize(
    ("times", "options"),
    [
        (np.zeros(3), {}),
        (np.zeros((0, 4)), {}),
        (np.array([[np.nan]]), {}),
        (np.zeros((1, 1)), {"canvas": 0}),
        (np.zeros((1, 1)), {"channels": 4}),
    ],
)
def test_options_that_make_no_sense_are_refused(times: np.ndarray, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="use "):
        decode_clips(b"", times, **{"canvas": 96, **options})


def test_extensions_are_lower_case_and_no_image_is_among_them() -> None:
    assert {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts"} <= VIDEO_EXTENSIONS
    assert all(name == name.lower() and name[0] == "." for name in VIDEO_EXTENSIONS)
    assert not VIDEO_EXTENSIONS & {".gif", ".jpg", ".webp"}


def resident() -> int:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_memory_does_not_grow_with_the_clips() -> None:
    content = video("libx264", count=6, size=(160, 120), options=CLOSED)
    times = np.array([[0.0, 0.1]])
    for _ in range(200):
        decode_clips(content, times, canvas=32)
    gc.collect()
    before = resident()
    for _ in range(1500):
        decode_clips(content, times, canvas=32)
    gc.collect()
    assert resident() - before < 4 * 2**20


@pytest.mark.parametrize("width", range(176, 194, 2))
def test_no_column_of_a_frame_at_its_own_size_is_left_unwritten(tmp_path: Path, width: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, width, 3), np.uint8)
    write_video(tmp_path / "a.mp4", frames, 25)
    with av.open(str(tmp_path / "a.mp4")) as container:
        expected = next(container.decode(video=0)).to_ndarray(format="rgb24")
    pixels, rectangle = decode_clips(tmp_path / "a.mp4", np.zeros((1, 1)), canvas=width)
    assert rectangle == (0, 0, 32, width)
    np.testing.assert_array_equal(pixels[0, 0, :, :32].transpose(1, 2, 0), expected)
