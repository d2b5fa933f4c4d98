"""Pictures that were sent: bounded, and forgotten in the order they came."""

import io

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import ConfigError, DataError, DecodeError
from sslkit.runs.serving import uploads
from sslkit.runs.serving.uploads import Uploads


def made(width: int, height: int, kind: str = "PNG", **how: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(stream, kind, **how)
    return stream.getvalue()


def test_a_picture_is_kept_as_it_came_and_shown_upright_and_bounded() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = made(1600, 400, "JPEG", exif=exif)
    kept = Uploads(3).keep(content)
    assert kept.content == content
    shown = Image.open(io.BytesIO(kept.shown))
    assert shown.format == "JPEG"
    assert shown.size == (320, 1280)
    assert not shown.getexif()


def test_grey_pictures_are_shown_too() -> None:
    assert Image.open(io.BytesIO(Uploads(1).keep(made(30, 20)).shown)).size == (30, 20)


def test_keys_are_found_again_and_others_are_not() -> None:
    kept = Uploads(3)
    first, second = kept.keep(made(4, 4)), kept.keep(made(5, 5))
    assert first.key != second.key
    assert len(first.key) >= 16
    assert kept.get(first.key) is first
    for wrong in ("", first.key[:-1], "../" + first.key):
        with pytest.raises(ConfigError, match="choose it again"):
            kept.get(wrong)


def test_the_one_not_used_for_longest_is_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(uploads, "_KEPT", 2)
    kept = Uploads(3)
    first, second = kept.keep(made(4, 4)), kept.keep(made(5, 5))
    kept.get(first.key)
    kept.keep(made(6, 6))
    assert kept.get(first.key) is first
    with pytest.raises(ConfigError):
        kept.get(second.key)


def test_too_many_bytes_or_pixels_are_refused_before_anything_is_decoded(monkeypatch) -> None:
    monkeypatch.setattr(uploads, "MOST_PIXELS", 100)
    with pytest.raises(DataError, match="11 x 10"):
        Uploads(3).keep(made(11, 10))
    assert Uploads(3).keep(made(10, 10)).key
    monkeypatch.setattr(uploads, "MOST_BYTES", 10)
    with pytest.raises(DataError, match="at most 10"):
        Uploads(3).keep(made(4, 4))


@pytest.mark.parametrize("content", [b"", b"text", made(20, 20)[:60]])
def test_what_is_no_whole_picture_is_refused(content: bytes) -> None:
    with pytest.raises(DecodeError):
        Uploads(3).keep(content)
