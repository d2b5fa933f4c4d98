"""Files are listed in order, and large listings are made once."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sslkit.data import listing
from sslkit.data.listing import list_files
from sslkit.errors import ConfigError, DataError

JPG = frozenset({".jpg"})


class Clock:
    """The time `list_files` reads; real time and `ahead` seconds."""

    ahead = 0.0

    def time_ns(self) -> int:
        return time.time_ns() + int(self.ahead * 1e9)

    perf_counter = staticmethod(time.perf_counter)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(listing, "time", clock)
    return clock


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the folders that are read, in order."""
    read: list[str] = []
    scandir = os.scandir

    def noted(path: str) -> object:
        read.append(Path(path).name)
        return scandir(path)

    monkeypatch.setattr(listing.os, "scandir", noted)
    return read


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Path:
    """A small set that counts as a large one, listed long after it was written."""
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "_LARGE", 2)
    clock.ahead = 10
    return filled(tmp_path / "set", "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/deep/1.jpg", "b/deep/note.txt")


def filled(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def kept(root: Path) -> list[Path]:
    """The files in the cache, without a call of `os.scandir`."""
    folder = root.parent / "cache" / "listings"
    return sorted(folder / name for name in os.listdir(folder)) if folder.exists() else []  # noqa: PTH208


def plainly(root: Path) -> list[str]:
    """Every file below a folder as one sorted list of paths."""
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if name[0] != "."]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in files if name[0] != "."]
    return sorted(found)


# ------------------------------------------------------------------------------------------ the walk


def test_names_that_sort_around_a_slash_come_as_sorted_paths_do(tmp_path: Path) -> None:
    names = ["a-b", "a.jpg", "a/b", "a0", "ab/c", "b/a/c", "b/a-", "b/a.b/c", "b/a0/c"]
    root = filled(tmp_path, *names, ".hidden", ".git/x", "b/.x/y")
    assert list(list_files(root)) == sorted(names) == plainly(root)


def test_random_trees_are_listed_as_sorted_paths(tmp_path: Path) -> None:
    generator = random.Random(3)
    letters = ("a", "b", "-", "0", "é", "\udce9", "图", "\U0001f600", " ", "\n", "~")
    for number in range(60):
        root = tmp_path / str(number)
        for _ in range(generator.randint(1, 25)):
            parts = ["".join(generator.choices(letters, k=generator.randint(1, 2))) for _ in range(3)]
            try:
                filled(root, "/".join(parts[: generator.randint(1, 3)]))
            except OSError:  # there is a folder of that name already, or a file in the way
                continue
        assert list(list_files(root)) == plainly(root)


def test_only_wanted_endings_in_any_case_are_listed(tmp_path: Path) -> None:
    filled(tmp_path, "1.jpg", "2.JPG", "jpg", "3.jpg.txt", "4jpg", "5.", "x.jpg/6.txt", "x.jpg/7.x.jpg")
    assert list(list_files(tmp_path, JPG)) == ["1.jpg", "2.JPG", "x.jpg/7.x.jpg"]
    assert list(list_files(tmp_path / "x.jpg", frozenset({".png"}))) == []


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    root = filled(tmp_path / "root", "a/1.jpg")
    outside = filled(tmp_path / "outside", "2.jpg")
    (root / "a" / "up").symlink_to(root)
    (root / "b").symlink_to(outside)
    (root / "c").symlink_to(outside)
    (root / "d.jpg").symlink_to(outside / "2.jpg")
    (root / "e.jpg").symlink_to("nowhere")
    (root / "f.jpg").symlink_to("f.jpg")  # to itself
    os.mkfifo(root / "g.jpg")
    assert list(list_files(root, JPG)) == ["a/1.jpg", "b/2.jpg", "c/2.jpg", "d.jpg", "e.jpg", "f.jpg"]


def test_two_dots_after_a_link_lead_where_the_link_leads(tmp_path: Path) -> None:
    filled(tmp_path, "here/1.jpg", "there/set/2.jpg", "there/other/3.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "there" / "other")
    assert list(list_files(f"{tmp_path}/link/../set")) == ["2.jpg"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, "a/1.jpg", "b/1.jpg")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(listing.os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot list the folder .*/b: Permission denied; make it readable"):
        list_files(tmp_path)
    with pytest.raises(DataError, match="nowhere: No such file"):
        list_files(tmp_path / "nowhere")


# ---------------------------------------------------------------------------------- what is remembered


def test_a_large_folder_is_read_once(root: Path, scanned: list[str]) -> None:
    first = list_files(root, JPG)
    assert scanned == ["set", "a", "b", "deep"]
    (root / "a" / "1.jpg").write_text("other content needs no listing")
    written = kept(root)[0].stat().st_ino
    again = list_files(root, JPG)
    assert scanned == ["set", "a", "b", "deep"]
    assert kept(root)[0].stat().st_ino == written  # nothing new, nothing to write
    assert list(again) == list(first) == ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/deep/1.jpg"]
    assert again.fingerprint(None, ()) == first.fingerprint(None, ())
    assert len(kept(root)) == 1
    assert list(list_files(root)) == plainly(root)  # other endings: another listing
    assert len(kept(root)) == 2


CHANGES: list[tuple[Callable[[Path], object], list[str]]] = [
    (lambda root: filled(root, "b/deep/2.jpg"), ["deep"]),
    (lambda root: (root / "a/1.jpg").unlink(), ["a"]),
    (lambda root: (root / "a/1.jpg").rename(root / "a/3.jpg"), ["a"]),
    (lambda root: (root / "a/1.jpg").rename(root / "b/3.jpg"), ["a", "b"]),
    (lambda root: filled(root, "new/1.jpg"), ["set", "new"]),
    (lambda root: (root / "a").rename(root / "z"), ["set", "z"]),
    (lambda root: (root / "b/deep").rename(root / "deep"), ["set", "b", "deep"]),
    (lambda root: [(root / "b/deep/1.jpg").unlink(), filled(root, "b/deep/1.jpg/x.jpg")], ["deep", "1.jpg"]),
    (lambda root: swapped(root / "a", root / "b/deep"), ["a", "b", "deep", "set"]),
]


def swapped(one: Path, other: Path) -> None:
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)


@pytest.mark.parametrize(("change", "read"), CHANGES)
def test_only_changed_folders_are_read_again(
    root: Path, scanned: list[str], change: Callable[[Path], object], read: list[str]
) -> None:
    before = list(list_files(root, JPG))
    change(root)
    scanned.clear()
    after = list(list_files(root, JPG))
    assert sorted(scanned) == sorted(read)
    assert after == [name for name in plainly(root) if name.endswith(".jpg")] != before
    scanned.clear()
    assert list(list_files(root, JPG)) == after
    assert scanned == []  # the change is remembered as well


def test_a_time_set_back_does_not_hide_a_change(root: Path) -> None:
    status = (root / "a").stat()
    list_files(root, JPG)
    filled(root, "a/0.jpg")
    os.utime(root / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "a/0.jpg" in list(list_files(root, JPG))


@pytest.mark.parametrize("after", [0.0, 1.9, 3.0])
def test_a_folder_just_changed_is_listed_again_where_times_are_coarse(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, after: float
) -> None:
    changed = time.time_ns()
    # All that happens in these two seconds has one time.
    monkeypatch.setattr(listing, "_stamp", lambda status: (changed, changed, status.st_ino))
    clock.time_ns = lambda: changed + int(after * 1e9)  # type: ignore[method-assign]
    list_files(root, JPG)
    filled(root, "a/0.jpg")
    seen = "a/0.jpg" in list(list_files(root, JPG))
    assert seen is (after < 2)  # three seconds later there would have been a new time


def test_links_that_come_to_life_or_die_are_seen(root: Path, tmp_path: Path) -> None:
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "link.jpg").symlink_to(tmp_path / "elsewhere")
    plain = list(list_files(root, JPG))
    assert "link.jpg" in plain
    filled(tmp_path / "elsewhere", "7.jpg")
    assert {"link/7.jpg", "link.jpg/7.jpg"} < set(list_files(root, JPG))
    (tmp_path / "elsewhere" / "7.jpg").unlink()
    (tmp_path / "elsewhere").rmdir()
    assert list(list_files(root, JPG)) == plain


def test_small_sets_leave_no_traces(root: Path, monkeypatch: pytest.MonkeyPatch, scanned: list[str]) -> None:
    monkeypatch.setattr(listing, "_LARGE", 4)
    list_files(root, JPG)
    assert kept(root) == []
    monkeypatch.setattr(listing, "_LONG", 0.0)  # a slow place is worth remembering, however few files it has
    list_files(root, JPG)
    assert len(kept(root)) == 1


def test_it_can_be_turned_off(root: Path, monkeypatch: pytest.MonkeyPatch, scanned: list[str]) -> None:
    list_files(root, JPG)
    monkeypatch.setenv("SSLKIT_NO_LISTING_CACHE", "1")
    list_files(root, JPG)
    assert len(scanned) == 8
    monkeypatch.setenv("SSLKIT_NO_LISTING_CACHE", "0")
    list_files(root, JPG)
    assert len(scanned) == 8


def test_more_folders_than_are_remembered_are_listed_all_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch, scanned: list[str]
) -> None:
    monkeypatch.setattr(listing, "_FOLDERS", 2)
    first = list(list_files(root, JPG))
    scanned.clear()
    assert list(list_files(root, JPG)) == first
    assert scanned == ["b", "deep"]


# ---------------------------------------------------------------------------------- the file itself


def test_a_damaged_file_is_made_anew(root: Path, scanned: list[str]) -> None:
    expected = list(list_files(root, JPG))
    (file,) = kept(root)
    whole = file.read_bytes()
    generator = random.Random(0)
    broken = [b"", b"\x93NUMPY", whole[: len(whole) // 2], whole[:-1], b"PK" + bytes(100)]
    for _ in range(60):
        position = generator.randrange(len(whole))
        other = whole[position] ^ (1 << generator.randrange(8))
        broken.append(whole[:position] + bytes([other]) + whole[position + 1 :])
    for content in broken:
        file.write_bytes(content)
        assert list(list_files(root, JPG)) == expected
    scanned.clear()
    file.write_bytes(whole[:-1])
    list_files(root, JPG)
    list_files(root, JPG)
    assert len(scanned) == 4
    assert file.stat().st_size == len(whole)


def test_a_file_of_another_version_is_made_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list_files(root, JPG)
    (file,) = kept(root)
    monkeypatch.setattr(listing, "_VERSION", 2)
    list_files(root, JPG)
    with np.load(file, allow_pickle=False) as arrays:
        assert arrays["version"] == 2


def test_many_writers_and_readers_at_once_all_see_a_whole_listing(root: Path) -> None:
    expected = list(list_files(root, JPG))
    (file,) = kept(root)
    known = listing._read(file)
    wrong: list[object] = []
    end = time.perf_counter() + 0.5

    def write() -> None:
        while time.perf_counter() < end:
            listing._write(file, known)

    def read() -> None:
        while time.perf_counter() < end:
            if listing._read(file) != known:
                wrong.append("a part was read")

    threads = [threading.Thread(target=target) for target in (write, write, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert list(list_files(root, JPG)) == expected
    assert kept(root) == [file]  # nothing written aside is left


def test_a_full_disk_costs_the_memory_and_not_the_listing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert len(list_files(root, JPG)) == 4
    assert kept(root) == []


def test_no_place_for_a_cache_is_an_error_only_where_one_was_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKIT_CACHE", str(filled(tmp_path, "file") / "file"))
    with pytest.raises(ConfigError, match="SSLKIT_CACHE"):
        list_files(root, JPG)

    def nowhere() -> Path:
        raise ConfigError("no place for a cache")

    monkeypatch.delenv("SSLKIT_CACHE")
    monkeypatch.setattr(listing, "cache_folder", nowhere)
    assert len(list_files(root, JPG)) == 4
