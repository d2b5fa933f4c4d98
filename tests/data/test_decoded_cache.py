"""What comes out of the cache is what was put, whatever processes, disks and editors do to the files."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslkit.contracts import Item, Moment, Refused
from sslkit.data import decoded_cache
from sslkit.data.decoded_cache import GONE, DecodedCache, choose_cache, stamp_of
from sslkit.errors import ConfigError

COUNT, CANVAS, CHANNELS = 40, 24, 3
HEADER, RECORD = 4096, 28
ROW = RECORD + CHANNELS * CANVAS**2
ONE_CALL = multiprocessing.get_context("fork")


def cache_in(folder: Path, **changed: Any) -> DecodedCache:
    options = {"fingerprint": "abc", "count": COUNT, "canvas": CANVAS, "channels": CHANNELS, **changed}
    return DecodedCache(folder, **options)


def canvas_of(id: int) -> np.ndarray:
    return np.random.default_rng(id).integers(0, 256, (CHANNELS, CANVAS, CANVAS), dtype=np.uint8)


def rectangle_of(id: int) -> tuple[int, int, int, int]:
    return 0, 0, 1 + id % CANVAS, CANVAS


def put(cache: DecodedCache, id: int, stamp: int | None = None) -> None:
    cache.put(id, id + 1 if stamp is None else stamp, canvas_of(id), rectangle_of(id))


def found(cache: DecodedCache, id: int, stamp: int | None = None) -> bool:
    """Whether the cache has the row, after checking that it is the right one."""
    out = np.full((CHANNELS, CANVAS, CANVAS), 77, np.uint8)
    rectangle = cache.read(id, id + 1 if stamp is None else stamp, out)
    if rectangle is None:
        return False
    assert rectangle == rectangle_of(id)
    assert np.array_equal(out, canvas_of(id))
    return True


def test_rows_come_back_in_this_process_and_the_next(tmp_path: Path) -> None:
    cache = cache_in(tmp_path / "new" / "folder")
    for id in (3, 0, COUNT - 1):
        assert not found(cache, id)
        put(cache, id)
        assert found(cache, id)
    again = cache_in(tmp_path / "new" / "folder")
    assert [id for id in range(COUNT) if found(again, id)] == [0, 3, COUNT - 1]


def test_one_file_of_the_size_it_says_that_takes_what_was_put(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, count=10_000)
    put(cache, 9_999)
    status = cache.path.stat()
    assert list(tmp_path.iterdir()) == [cache.path]
    assert status.st_size == cache.nbytes == HEADER + 10_000 * ROW
    assert status.st_blocks * 512 < 20 * ROW


@pytest.mark.parametrize("changed", [{"fingerprint": "abd"}, {"canvas": 25}, {"channels": 1}, {"count": 41}])
def test_anything_else_is_another_file(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert cache_in(tmp_path).path != cache_in(tmp_path, **changed).path


def test_another_decoder_or_format_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {cache_in(tmp_path).path}
    monkeypatch.setattr(decoded_cache, "DECODER", "2, Pillow 99")
    paths.add(cache_in(tmp_path).path)
    monkeypatch.setattr(decoded_cache, "_VERSION", 99)
    paths.add(cache_in(tmp_path).path)
    assert len(paths) == 3


def test_content_that_changed_is_not_found_until_it_is_put_again(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    put(cache, 5, stamp=100)
    assert not found(cache, 5, stamp=101)
    put(cache, 5, stamp=101)
    assert found(cache, 5, stamp=101)
    assert not found(cache, 5, stamp=100)


def test_content_that_is_gone_is_neither_kept_nor_found(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    put(cache, 5, stamp=GONE)
    assert not found(cache, 5, stamp=GONE)
    assert not any(cache.path.read_bytes()[HEADER:])


def test_what_is_put_need_not_be_contiguous(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    flipped = np.ascontiguousarray(canvas_of(1)[:, :, ::-1])[:, :, ::-1]
    cache.put(1, 2, flipped, rectangle_of(1))
    assert found(cache, 1)


@pytest.mark.parametrize("place", [*range(RECORD), RECORD, RECORD + 500, ROW - 1])
def test_every_flipped_bit_of_a_row_is_seen_by_a_process_that_reads_it_first(
    tmp_path: Path, place: int
) -> None:
    put(cache_in(tmp_path), 7)
    path = cache_in(tmp_path).path
    with path.open("r+b") as file:
        file.seek(HEADER + 7 * ROW + place)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))
    cache = cache_in(tmp_path)
    assert not found(cache, 7)
    put(cache, 7)
    assert found(cache, 7)


def test_a_row_of_another_id_is_not_taken(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    put(cache, 1, stamp=9)
    with cache.path.open("r+b") as file:
        file.seek(HEADER + 1 * ROW)
        row = file.read(ROW)
        file.seek(HEADER + 2 * ROW)
        file.write(row)
    out = np.empty((CHANNELS, CANVAS, CANVAS), np.uint8)
    assert cache_in(tmp_path).read(1, 9, out) is not None
    assert cache_in(tmp_path).read(2, 9, out) is None


def test_a_row_without_its_record_is_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed between the pixels and the record: what is there is the old record's end, or none."""
    cache = cache_in(tmp_path)
    put(cache, 3, stamp=1)
    real, calls = os.pwrite, []

    def dies_before_the_record(file: int, data: Any, start: int) -> int:
        calls.append(len(data))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(file, data, start)

    monkeypatch.setattr(os, "pwrite", dies_before_the_record)
    with pytest.raises(KeyboardInterrupt):
        put(cache, 3, stamp=2)
    assert calls == [RECORD, ROW - RECORD, RECORD]
    for stamp in (1, 2):
        assert not found(cache, 3, stamp)
        assert not found(cache_in(tmp_path), 3, stamp)


def test_a_row_replaced_while_it_is_read_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, other = cache_in(tmp_path), cache_in(tmp_path)
    put(cache, 3, stamp=1)
    real = os.preadv

    def meanwhile(file: int, buffers: Any, start: int) -> int:
        other.put(3, 2, canvas_of(4), rectangle_of(4))
        return real(file, buffers, start)

    monkeypatch.setattr(os, "preadv", meanwhile)
    assert not found(cache, 3, stamp=1)


@pytest.mark.parametrize("length", [0, 10, HEADER, HEADER + 7 * ROW + 50, HEADER + 8 * ROW - 1])
def test_a_file_cut_short_is_read_as_far_as_it_goes_and_made_anew(tmp_path: Path, length: int) -> None:
    cache = cache_in(tmp_path)
    for id in range(8):
        put(cache, id)
    os.truncate(cache.path, length)
    assert not found(cache, 7)  # and no bus error
    assert found(cache, 0) is (length >= HEADER + ROW)
    fresh = cache_in(tmp_path)
    assert not any(found(fresh, id) for id in range(COUNT))
    assert fresh.path.stat().st_size == fresh.nbytes
    put(cache, 2)  # the process that had it open goes on
    assert found(fresh, 2)


def test_a_file_that_is_no_cache_is_made_anew(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.path.write_bytes(b"x" * cache.nbytes)
    put(cache, 1)
    assert cache.path.read_bytes().startswith(b"[1, ")
    assert b"xxx" not in cache.path.read_bytes()[:HEADER]
    assert found(cache, 1)
    assert not found(cache, 2)


def test_a_folder_deleted_under_a_run_does_no_harm(tmp_path: Path) -> None:
    cache = cache_in(tmp_path / "cache")
    put(cache, 1)
    cache.path.unlink()
    cache.path.parent.rmdir()
    assert found(cache, 1)
    put(cache, 2)
    assert found(cache, 2)


def test_it_pickles_small_and_opens_again(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, count=100_000)
    put(cache, 1)
    text = pickle.dumps(cache)
    assert len(text) < 1000
    assert found(pickle.loads(text), 1)


def test_close_lets_go_of_the_file(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = open_files()
    cache = cache_in(tmp_path)
    put(cache, 1)
    assert open_files() == before + 1
    cache.close()
    assert open_files() == before
    assert found(cache, 1)  # opened again
    del cache
    assert open_files() == before


def in_child(work: Any, *arguments: Any) -> int | None:
    child = ONE_CALL.Process(target=work, args=arguments)
    child.start()
    child.join(30)
    return child.exitcode


def test_forked_processes_read_and_write_through_the_same_file(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    put(cache, 1)

    def work() -> None:
        assert found(cache, 1)
        put(cache, 2)

    assert in_child(work) == 0
    assert found(cache, 2)
    assert not found(cache, 3)


def test_threads_share_one_object(tmp_path: Path) -> None:
    for _ in range(5):
        cache = cache_in(tmp_path)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda id, cache=cache: found(cache, id) or put(cache, id), range(COUNT)))
            assert all(pool.map(lambda id, cache=cache: found(cache, id), range(COUNT)))


def fill(folder: Path, seed: int, rounds: int) -> None:
    """What an epoch does, several times over: read a row, or decode and put it."""
    cache = cache_in(folder)
    for round in range(rounds):
        for id in np.random.default_rng((seed, round)).permutation(COUNT).tolist():
            if not found(cache, id):
                put(cache, id)


def test_two_processes_build_it_at_once_and_a_third_is_killed(tmp_path: Path) -> None:
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        builders = [ONE_CALL.Process(target=fill, args=(folder, seed, 3)) for seed in (1, 2)]
        doomed = ONE_CALL.Process(target=fill, args=(folder, 3, 10_000))
        for process in (doomed, *builders):
            process.start()
        time.sleep(0.02 * attempt)
        assert doomed.pid is not None
        os.kill(doomed.pid, signal.SIGKILL)
        for process in (doomed, *builders):
            process.join(30)
        assert [process.exitcode for process in (doomed, *builders)] == [-signal.SIGKILL, 0, 0]
        fresh = cache_in(folder)
        assert all(found(fresh, id) for id in range(COUNT))


REWRITING = """
import sys
import numpy as np
from pathlib import Path
from sslkit.data.decoded_cache import DecodedCache

cache = DecodedCache(Path(sys.argv[1]), fingerprint="kill", count=4, canvas=700, channels=3)
rows = [np.full((3, 700, 700), value, np.uint8) for value in range(200)]
print("ready", flush=True)
for turn in range(10**9):
    cache.put(turn % 4, 1, rows[turn % 200], (0, 0, 700, 700))
"""


def test_killed_in_the_middle_of_writing_leaves_whole_rows_or_none(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", REWRITING, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    seen = 0
    cache = DecodedCache(tmp_path, fingerprint="kill", count=4, canvas=700, channels=3)
    out = np.empty((3, 700, 700), np.uint8)
    until = time.monotonic() + 0.7
    while time.monotonic() < until:
        for id in range(4):
            if cache.read(id, 1, out) is not None:
                seen += 1
                assert (out == out[0, 0, 0]).all()
    writer.kill()
    writer.wait()
    writer.stdout.close()
    fresh = DecodedCache(tmp_path, fingerprint="kill", count=4, canvas=700, channels=3)
    for id in range(4):
        if fresh.read(id, 1, out) is not None:
            seen += 1
            assert (out == out[0, 0, 0]).all()
    assert seen > 0


def test_a_full_disk_stops_keeping_with_one_warning_for_all_workers(tmp_path: Path) -> None:
    """A limit on the length of files fails as a full disk does: a write takes a part, the next raises."""
    cache = cache_in(tmp_path)
    cache.open()

    def fails() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (HEADER + 10 * ROW + 100, resource.RLIM_INFINITY))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for id in (0, 10, 11, 1):
                put(cache, id)
        assert found(cache, 0)
        assert not any(found(cache, id) for id in (10, 11, 1))
        sys.exit(10 + len(told))

    assert [in_child(fails), in_child(fails)] == [11, 10]
    fresh = cache_in(tmp_path)
    assert [id for id in range(COUNT) if found(fresh, id)] == [0]
    put(fresh, 10)
    assert found(fresh, 10)
    with pytest.warns(UserWarning, match=r"No space.*data\.cache=off"):  # another run tells it anew
        fresh._stop(fresh._file, OSError(28, "No space left on device"))


def test_a_file_that_cannot_be_made_is_one_warning_and_no_cache(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    cache = cache_in(tmp_path / "taken")
    with pytest.warns(UserWarning, match="no more decoded images are kept"):
        assert not found(cache, 1)
    with warnings.catch_warnings(action="error"):
        put(cache, 1)
        assert not found(cache, 1)


def test_a_disk_that_fails_while_reading_is_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_in(tmp_path)
    put(cache, 1)

    def fail(*_: Any) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    assert not found(cache, 1)


# ------------------------------------------------------------------------------------------ stamps


def test_the_stamp_of_a_file_changes_with_its_place_length_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")
    stamps = [stamp_of(path)]
    assert stamps[0] == stamp_of(Path(str(path)))
    path.write_bytes(b"abcd")
    stamps.append(stamp_of(path))
    os.utime(path, ns=(1, 10**18))
    stamps.append(stamp_of(path))
    path.rename(tmp_path / "b.jpg")
    stamps.append(stamp_of(tmp_path / "b.jpg"))
    assert len(set(stamps)) == 4
    assert all(0 <= stamp < 2**63 for stamp in stamps)
    assert stamp_of(path) == GONE


def test_a_file_replaced_by_one_of_the_same_length_and_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")
    os.utime(path, ns=(10**18, 10**18))
    before = stamp_of(path)
    time.sleep(0.02)
    path.write_bytes(b"abd")
    os.utime(path, ns=(10**18, 10**18))
    assert stamp_of(path) != before


def test_bytes_and_arrays_are_stamped_by_what_they_hold() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    contents = [b"abc", b"abd", array, array.T, array.reshape(4, 3), array.view(np.int8), array + 1]
    assert len({stamp_of(content) for content in contents}) == len(contents)
    assert stamp_of(array[:, ::-1]) == stamp_of(array[:, ::-1].copy())


def test_videos_and_refused_content_are_never_kept() -> None:
    assert stamp_of(Moment(Path("a.mp4"), 0.0, 1.0, 2.0, 25.0)) == GONE
    assert stamp_of(Refused("too long")) == GONE


# ------------------------------------------------------------------------------------------ the choice


class Files:
    """As much of a source as the choice asks for."""

    fingerprint = "files"
    native_side: int | None = None
    video = False

    def __init__(self, count: int = 100) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, id: int) -> Item:
        raise AssertionError("the choice reads no samples")


def choose(source: Any, folder: Path, setting: Any = "auto", epochs: int = 10) -> Any:
    return choose_cache(source, canvas=8, channels=3, epochs=epochs, folder=folder, setting=setting)


@pytest.mark.parametrize("setting", ["auto", "on"])
def test_small_sets_of_files_are_kept(tmp_path: Path, setting: str) -> None:
    cache, reason = choose(Files(), tmp_path, setting)
    assert cache is not None
    assert str(cache.path) in reason
    assert cache.path.exists()
    assert cache.shape == (3, 8, 8)


def test_off_is_off_and_arrays_in_memory_need_none(tmp_path: Path) -> None:
    cache, reason = choose(Files(), tmp_path, "off")
    assert cache is None
    assert "data.cache=off" in reason
    arrays = Files()
    arrays.native_side = 32
    for setting in ("auto", "on"):
        cache, reason = choose(arrays, tmp_path, setting)
        assert cache is None
        assert "in memory" in reason
    assert list(tmp_path.iterdir()) == []


def test_one_epoch_keeps_nothing_unless_told(tmp_path: Path) -> None:
    cache, reason = choose(Files(), tmp_path, epochs=1)
    assert cache is None
    assert "one epoch" in reason
    assert choose(Files(), tmp_path, "on", epochs=1).cache is not None


def limits(monkeypatch: pytest.MonkeyPatch, *, disk: int, memory: int) -> None:
    usage = type("Usage", (), {"free": disk})
    monkeypatch.setattr(decoded_cache.shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(decoded_cache, "_memory", lambda: memory)


def test_auto_takes_at_most_a_quarter_of_the_disk_and_half_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = HEADER + 100 * (RECORD + 192)
    for disk, memory, told in (
        (4 * needed, 2 * needed, "kept in"),
        (4 * needed - 1, 2 * needed, "a quarter"),
        (4 * needed, 2 * needed - 1, "half of the memory"),
    ):
        limits(monkeypatch, disk=disk, memory=memory)
        cache, reason = choose(Files(), tmp_path / told)
        assert told in reason
        assert (cache is not None) is (told == "kept in")
        assert cache is not None or list((tmp_path / told).iterdir()) == []


def test_on_takes_what_there_is_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = HEADER + 100 * (RECORD + 192)
    limits(monkeypatch, disk=needed, memory=1)
    assert choose(Files(), tmp_path, "on").cache is not None
    limits(monkeypatch, disk=needed // 2, memory=1)
    with pytest.raises(ConfigError, match=r"data\.cache=on cannot be done.*free in.*use data\.cache=auto"):
        choose(Files(99), tmp_path, "on")


def test_what_is_on_disk_already_needs_no_more_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = choose(Files(), tmp_path).cache
    for id in range(100):
        cache.put(id, 1, np.full((3, 8, 8), 7, np.uint8), (0, 0, 8, 8))
    os.sync()  # until then some file systems count no blocks
    assert cache.path.stat().st_blocks * 512 > cache.nbytes / 2
    limits(monkeypatch, disk=2 * cache.nbytes, memory=2 * cache.nbytes)
    assert choose(Files(), tmp_path).cache is not None
    assert choose(Files(99), tmp_path).cache is None


def test_video_and_folders_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    video = Files()
    video.video = True
    (tmp_path / "file").write_text("")
    for source, folder, told in ((video, tmp_path, "video"), (Files(), tmp_path / "file", "exists")):
        cache, reason = choose(source, folder)
        assert cache is None
        assert told in reason
        with pytest.raises(ConfigError, match=told):
            choose(source, folder, "on")


def test_the_record_is_as_the_tests_believe() -> None:
    assert struct.calcsize("<q4iI") == RECORD
