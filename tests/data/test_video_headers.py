"""Lengths of many videos: probed once, remembered as long as the files stay as they were."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from sslkit.data import video_headers
from sslkit.data.decode.encode import write_video
from sslkit.data.packed import PackedNames
from sslkit.data.video_headers import read_headers
from sslkit.errors import ConfigError

NAMES = PackedNames(["a/1.mp4", "a/2.mp4", "b/3.mp4"])
AGES_AGO = 1_000_000_000 * 10**9  # ns


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, np.zeros((5 + number, 32, 32, 3), np.uint8), 10.0)
        os.utime(path, ns=(AGES_AGO, AGES_AGO))
    return tmp_path / "set"


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are really probed."""
    found: list[str] = []
    probe = video_headers.probe_video

    def counted(path: Path) -> object:
        found.append(path.name)
        return probe(path)

    monkeypatch.setattr(video_headers, "probe_video", counted)
    return found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every reading counts as long, and a file just written as settled: its time of change is now."""
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(video_headers, "_LONG", 0.0)
    monkeypatch.setattr(video_headers, "_SETTLED", -(10**12))
    return tmp_path / "cache" / "video-headers"


def test_headers_are_in_the_order_of_the_names(root: Path, cache: Path) -> None:
    (root / "a/2.mp4").write_bytes(b"")
    found = read_headers(root, NAMES)
    np.testing.assert_allclose(found.seconds, [0.5, np.nan, 0.7])
    np.testing.assert_allclose(found.rates, [10.0, np.nan, 10.0])
    assert found.sizes.tolist() == [(root / name).stat().st_size for name in NAMES]
    assert list(found.reasons) == [1]
    assert "empty" in found.reasons[1]


def test_a_second_time_only_what_changed_is_probed(root: Path, cache: Path, probed: list[str]) -> None:
    first = read_headers(root, NAMES)
    assert sorted(probed) == ["1.mp4", "2.mp4", "3.mp4"]
    probed.clear()
    again = read_headers(root, NAMES)
    assert probed == []
    assert np.array_equal(again.seconds, first.seconds)
    os.utime(root / "a/2.mp4", ns=(0, AGES_AGO + 1))
    write_video(root / "b/3.mp4", np.zeros((9, 32, 32, 3), np.uint8), 10.0)
    assert read_headers(root, NAMES).seconds.tolist() == pytest.approx([0.5, 0.6, 0.9])
    assert sorted(probed) == ["2.mp4", "3.mp4"]


def test_what_was_replaced_in_place_with_its_old_time_is_probed(
    root: Path, cache: Path, probed: list[str]
) -> None:
    read_headers(root, NAMES)
    probed.clear()
    path = root / "a/1.mp4"
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(AGES_AGO, AGES_AGO))
    read_headers(root, NAMES)
    assert probed == ["1.mp4"]


def test_what_cannot_be_probed_is_tried_every_time(root: Path, cache: Path, probed: list[str]) -> None:
    (root / "a/1.mp4").write_bytes(b"")
    read_headers(root, NAMES)
    probed.clear()
    assert "empty" in read_headers(root, NAMES).reasons[0]
    assert probed == ["1.mp4"]


def test_a_file_changed_just_now_is_not_remembered(
    root: Path, cache: Path, probed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_headers, "_SETTLED", 10**12)
    read_headers(root, NAMES)
    probed.clear()
    read_headers(root, NAMES)
    assert sorted(probed) == ["1.mp4", "2.mp4", "3.mp4"]


def test_what_is_read_fast_leaves_no_traces(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_headers, "_LONG", 1000.0)
    read_headers(root, NAMES)
    assert not cache.exists()


def test_one_video_alone_leaves_what_is_known_of_its_folder(root: Path, cache: Path) -> None:
    read_headers(root, NAMES)
    kept = [path.read_text() for path in cache.iterdir()]
    read_headers(root, PackedNames(["a/1.mp4"]))
    assert [path.read_text() for path in cache.iterdir()] == kept
    assert len(kept) == 1


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"version": 1, "headers": {"a/1.mp4": [1]}}', "other"])
def test_a_damaged_cache_is_written_anew(root: Path, cache: Path, probed: list[str], damage: str) -> None:
    read_headers(root, NAMES)
    (kept,) = cache.iterdir()
    sound = json.loads(kept.read_text())
    kept.write_text(json.dumps({**sound, "version": 0}) if damage == "other" else damage)
    probed.clear()
    read_headers(root, NAMES)
    assert len(probed) == 3
    assert json.loads(kept.read_text()) == sound


def test_names_that_are_no_text_are_remembered(root: Path, cache: Path, probed: list[str]) -> None:
    odd = os.fsdecode(b"a/\xff.mp4")
    (root / "a/1.mp4").rename(root / odd)
    names = PackedNames(["a/2.mp4", odd])
    read_headers(root, names)
    probed.clear()
    assert read_headers(root, names).reasons == {}
    assert probed == []


def test_a_full_cache_does_not_stop_the_reading(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError("no space left on device")

    monkeypatch.setattr(video_headers, "replace_text", refuse)
    assert read_headers(root, NAMES).reasons == {}


def test_a_cache_named_by_the_user_that_is_no_use_is_an_error(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="SSLKIT_CACHE"):
        read_headers(root, NAMES)
