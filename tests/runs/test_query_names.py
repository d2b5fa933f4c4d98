"""Queries are what people write, and nothing but files of this machine."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.contracts import Moment
from sslkit.errors import ConfigError, DataError, DecodeError
from sslkit.runs.queries import Box
from sslkit.runs.query_names import queries_of


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a photo.jpg"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def video(videos):
    return next(videos.rglob("*.mp4"), None) or next(path for path in videos.rglob("*") if path.is_file())


def paths(given, **more):
    return [query.content for query in queries_of(given, **more)]


def test_a_file_is_itself(photo, monkeypatch) -> None:
    assert paths([photo, str(photo)]) == [photo, photo]
    monkeypatch.setenv("HOME", str(photo.parent))
    assert paths(["~/a photo.jpg"]) == [photo]


def test_a_folder_is_every_image_and_video_in_it(tmp_path, photo, video) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("deep/b.png", "c.JPG", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).write_bytes(photo.read_bytes())
    (tmp_path / f"deep/walk{video.suffix}").write_bytes(video.read_bytes())
    found = queries_of([tmp_path])
    assert [Path(query.name).name for query in found] == [
        "a photo.jpg",
        "c.JPG",
        "b.png",
        f"walk{video.suffix}",
    ]
    assert isinstance(found[3].content, Moment)


def test_addresses_of_files_are_decoded(photo) -> None:
    spelled = photo.as_uri()
    assert "%20" in spelled
    for address in (
        spelled,
        spelled.replace("file:///", "file://localhost/"),
        spelled.replace("file:///", "FILE:/"),
    ):
        assert paths([address]) == [photo]
    (boxed,) = queries_of([f"{spelled}#1,2,3,4"])
    assert (boxed.content, boxed.box) == (photo, Box(1, 2, 3, 4))


def test_an_address_keeps_bytes_that_are_no_text(tmp_path, photo) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff%.jpg"))
    odd.write_bytes(photo.read_bytes())
    assert paths([odd.as_uri()]) == [odd]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://localhost/a.jpg", "nothing is fetched"),
        ("https://example.org/a.jpg", "nothing is fetched"),
        ("ftp://example.org/a.jpg", "nothing is fetched"),
        ("s3://bucket/a.jpg", "nothing is fetched"),
        ("file://server/share/a.jpg", "host 'server'"),
        ("file://a.jpg", "three slashes"),
        ("file:///etc/hostname?x=1", "%3F"),
    ],
)
def test_other_addresses_are_refused(address, said) -> None:
    with pytest.raises(ConfigError, match=said):
        queries_of([address])


@pytest.mark.parametrize(
    "text", ["nowhere.jpg", "", "file:///nowhere%00.jpg", "a\0b", "x" * 5000, "~nobody-here/a"]
)
def test_what_is_not_there_is_named(text) -> None:
    with pytest.raises(DataError, match="there is no image"):
        queries_of([text])


def test_all_that_is_missing_is_named_at_once(photo) -> None:
    with pytest.raises(DataError, match=r"2 of 3 .*'one\.jpg'.*'two\.jpg'"):
        queries_of([photo, "one.jpg", "two.jpg"])
    with pytest.raises(DataError, match="no image was named"):
        queries_of([])


def test_a_moment_of_a_video(video) -> None:
    frame, clip, rest, whole = queries_of([f"{video}@0.5", f"{video}@0.5-1.5", f"{video}@1-", video])
    assert frame.times == (0.5, 0.5)
    assert clip.times == (0.5, 1.5)
    assert rest.times == pytest.approx((1.0, 2.0))
    assert whole.times == pytest.approx((0.0, 2.0))
    assert clip.note == "0.5-1.5 s"
    assert whole.note == "0.0-2.0 s, all of it as one moment"
    assert clip.content.rate == pytest.approx(10.0)


def test_a_time_outside_its_video_is_refused(video, photo) -> None:
    with pytest.raises(ConfigError, match=r"lasts 2\.00 s"):
        queries_of([f"{video}@2"])
    with pytest.raises(ConfigError, match="only videos have times"):
        queries_of([f"{photo}@1"])
    with pytest.raises(ConfigError, match="stretch of time"):
        queries_of([f"{video}@5-3"])


def test_a_video_that_cannot_be_read_is_named(tmp_path) -> None:
    (tmp_path / "cut.mp4").write_bytes(b"no video")
    with pytest.raises(DecodeError, match=r"cut\.mp4"):
        queries_of([tmp_path / "cut.mp4"])


def test_a_box_of_its_own_wins(photo, video) -> None:
    own, all_, timed = queries_of([f"{photo}#1,2,3,4", photo, f"{video}@1#5,6,7,8"], Box(0, 0, 9, 9))
    assert own.box == (1, 2, 3, 4)
    assert all_.box == (0, 0, 9, 9)
    assert timed.box == (5, 6, 7, 8)
    assert timed.note == "1.0 s, box 5,6,7,8"
    with pytest.raises(ConfigError, match="neither a time nor a box"):
        queries_of([f"{photo.parent}#1,2,3,4"])
    with pytest.raises(ConfigError, match="no box"):
        queries_of([f"{photo}#1,2,0,4"])


def test_a_path_that_exists_is_taken_as_it_is(photo) -> None:
    for name in ("b@3.jpg", "c.jpg#1,2,3,4", "d.mp4@5", "e%20f.jpg"):
        path = photo.with_name(name)
        path.write_bytes(photo.read_bytes())
        assert paths([path]) == [path]
        assert queries_of([path])[0].box is None


def test_pixels_are_a_query() -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    (query,) = queries_of([pixels], Box(1, 1, 2, 2))
    assert query.content is pixels
    assert query.name == "image 1"
