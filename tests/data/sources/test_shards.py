"""Tar shards: what is in them, in which order, and what becomes of damaged and vanished ones."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.contracts import Refused
from sslkit.data import shard_files
from sslkit.data.decode.image import decode_image
from sslkit.data.loader import Loader
from sslkit.data.sources.shards import ShardsSource
from sslkit.errors import ConfigError, DataError, DecodeError, UnknownNameError
from sslkit.keyed_random import hashed, permutation, word
from sslkit.testing.source_kit import check_source


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), value % 256).save(file, "png")
    return file.getvalue()


def packed(members: Iterable[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def written(folder: Path, counts: Iterable[int], labels: bool = True, stem: str = "s") -> Path:
    """Shards s-000.tar, ... of that many samples; sample k of all is of colour k and class k modulo 3."""
    folder.mkdir(parents=True, exist_ok=True)
    k = 0
    for number, count in enumerate(counts):
        members = []
        for _ in range(count):
            members += [(f"{k:04d}.png", png(k)), (f"{k:04d}.cls", f"{k % 3}".encode())][: 1 + labels]
            k += 1
        (folder / f"{stem}-{number:03d}.tar").write_bytes(packed(members))
    return folder


def colours(source: ShardsSource, ids: Iterable[int]) -> list[int]:
    found = []
    for item in source.items(list(ids)):
        assert isinstance(item.content, bytes)
        found.append(int(decode_image(item.content, canvas=4, channels=1)[0][0, 0, 0]))
    return found


def test_keeps_the_contract_with_labels_and_without(tmp_path: Path) -> None:
    source = ShardsSource(written(tmp_path, (5, 0, 7)))
    check_source(source)
    assert len(source) == 12
    assert source.classes == ("0", "1", "2")
    assert source.labels is not None
    assert source.labels.tolist() == [k % 3 for k in range(12)]
    assert source[5].name == "s-002.tar/0005.png"
    assert colours(source, range(12)) == list(range(12))
    assert colours(source, [7, 0, 7, 11, 1]) == [7, 0, 7, 11, 1]
    unread = ShardsSource(tmp_path, labels=False)
    check_source(unread)
    assert unread.labels is None
    assert unread.fingerprint != source.fingerprint


def test_one_shard_a_pattern_and_urls_are_the_same_set(tmp_path: Path) -> None:
    folder = written(tmp_path / "s", (3, 4, 5))
    memory = fsspec.filesystem("memory")
    for path in folder.iterdir():
        memory.pipe(f"/shards/{path.name}", path.read_bytes())
    whole = ShardsSource(folder)
    for address in (
        f"{folder}/s-{{000..002}}.tar",
        f"file://{folder}",
        "memory://shards",
        "memory://shards/s-{000..002}.tar",
    ):
        other = ShardsSource(address)
        check_source(other)
        assert other.fingerprint == whole.fingerprint
        assert colours(other, [11, 0, 5]) == [11, 0, 5]
    assert len(ShardsSource(folder / "s-001.tar")) == 4
    assert len(ShardsSource(f"{folder}/s-{{000..001}}.tar")) == 7


def test_splits_of_a_folder_share_their_classes(tmp_path: Path) -> None:
    written(tmp_path / "train", (4,))
    written(tmp_path / "val", (2,))
    train, val = ShardsSource(tmp_path), ShardsSource(tmp_path, split="val")
    assert train.splits == val.splits == ("train", "val")
    assert (len(train), len(val)) == (4, 2)
    assert train.classes == val.classes == ("0", "1", "2")
    with pytest.raises(UnknownNameError, match="test"):
        ShardsSource(tmp_path, split="test")
    with pytest.raises(UnknownNameError, match="one set"):
        ShardsSource(tmp_path / "val", split="val")


def test_classes_are_named_by_a_text_beside_the_shards_or_by_the_labels(tmp_path: Path) -> None:
    folder = written(tmp_path / "train", (4,))
    (folder / "classes.txt").write_text("cat\ndog\n\ncow\nhen\n")
    assert ShardsSource(folder).classes == ("cat", "dog", "cow", "hen")
    (folder / "classes.txt").rename(tmp_path / "classes.txt")
    written(tmp_path / "test", (1,))
    assert ShardsSource(tmp_path).classes == ("cat", "dog", "cow", "hen")
    (folder / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"label 2, but classes\.txt names 2"):
        ShardsSource(folder)
    names = tmp_path / "n.tar"
    names.write_bytes(
        packed([("1.jpg", b""), ("1.json", b'{"label": "hen"}'), ("2.jpg", b""), ("2.cls", b"cat")])
    )
    (tmp_path / "classes.txt").unlink()
    source = ShardsSource(names)
    assert source.classes == ("cat", "hen")
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0]
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"'hen' is not in classes\.txt"):
        ShardsSource(names)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([("1.jpg", b""), ("1.cls", b"1"), ("2.jpg", b"")], "a.tar/2.jpg has no label though others have"),
        ([("1.jpg", b""), ("1.cls", b"123456789")], "label 123456789: labels are classes"),
        ([("1.txt", b"")], "no images in 1 shards"),
        ([("../1.jpg", b"")], "no image can be read; .*a.tar: ../1.jpg has a path that leads out"),
        ([], "no images in 1 shards"),
    ],
)
def test_wrong_shards_are_refused(tmp_path: Path, members: list[tuple[str, bytes]], why: str) -> None:
    (tmp_path / "a.tar").write_bytes(packed(members))
    with pytest.raises(DataError, match=why):
        ShardsSource(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("gone.tar", "there is no shard .*gone.tar"),
        ("s-{000..003}.tar", "there is no shard .*s-001.tar"),
        ("s-{3..1}.tar", "must count upwards"),
        ("s-{0..99999999999}.tar", "at most 1000000 shards"),
        ("empty", "no .tar file"),
    ],
)
def test_wrong_addresses_are_refused(tmp_path: Path, address: str, why: str) -> None:
    written(tmp_path, (1,))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=why):
        ShardsSource(tmp_path / address)


def test_wrong_urls_are_refused() -> None:
    with pytest.raises(DataError, match="there is no shard memory://gone"):
        ShardsSource("memory://gone.tar")
    with pytest.raises(DataError, match="nosuch"):
        ShardsSource("nosuch://x.tar")
    with pytest.raises(ConfigError, match="buffer=0"):
        ShardsSource("memory://gone.tar", buffer=0)


# ------------------------------------------------------------------------------------------- the order


def shuffle_buffer(samples: Iterable[int], size: int, draws: Iterator[int], last: Iterable[int]) -> list[int]:
    """The slow twin: a real shuffle buffer over a stream."""
    buffer: list[int] = []
    given = []
    for sample in samples:
        if len(buffer) < size:
            buffer.append(sample)
            continue
        slot = next(draws)
        given.append(buffer[slot])
        buffer[slot] = sample
    return given + [buffer[slot] for slot in last]


@pytest.mark.parametrize("buffer", [1, 2, 7, 29, 30, 31, 4096])
@pytest.mark.parametrize("epoch", [0, 3])
def test_order_is_that_of_a_real_shuffle_buffer(tmp_path: Path, buffer: int, epoch: int) -> None:
    counts = (9, 1, 0, 13, 7)
    source = ShardsSource(written(tmp_path, counts, labels=False), buffer=buffer)
    firsts = np.cumsum([0, *counts])
    shards = permutation(len(counts), seed=5, epoch=epoch).tolist()
    stream = [k for shard in shards for k in range(firsts[shard], firsts[shard + 1])]
    held = min(buffer, 30)
    words = hashed(5, epoch, word("shuffle buffer"), torch.arange(30)).tolist()
    draws = ((bits >> 11) % 2**53 % held for bits in words)
    ends = hashed(5, epoch, word("end of shuffle buffer"), torch.arange(held)).tolist()
    last = sorted(range(held), key=lambda slot: ends[slot])
    order = source.order(5, epoch)
    assert order.dtype == np.int64
    assert order.tolist() == shuffle_buffer(stream, buffer, draws, last)
    assert sorted(order.tolist()) == list(range(30))


def test_order_changes_with_seed_and_epoch_and_stays_near_the_shard(tmp_path: Path) -> None:
    source = ShardsSource(written(tmp_path, (200, 200, 200), labels=False), buffer=20)
    orders = [source.order(seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert len({order.tobytes() for order in orders}) == 3
    assert np.array_equal(orders[0], source.order(0, 0))
    # Of a stream, a sample waits in the buffer for as long as it has slots, on average: a geometric time.
    stream = np.argsort(permutation(3, seed=0, epoch=0).numpy())[orders[0] // 200] * 200 + orders[0] % 200
    wait = (np.arange(600) - (stream - 20))[:580]
    assert 10 < np.abs(wait).mean() < 40
    assert wait.min() > -20


def test_large_orders_take_slots_of_more_than_sixteen_bits(tmp_path: Path) -> None:
    source = ShardsSource(written(tmp_path, (3,), labels=False), buffer=70_000)
    source._firsts = np.array([0, 90_000, 160_000])  # a listing of that many would take the test a minute
    source._names = range(160_000)  # type: ignore[assignment]
    order = source.order(0, 0)
    assert np.array_equal(np.sort(order), np.arange(160_000))
    begins = int(source._firsts[permutation(2, seed=0, epoch=0)[0]])
    filled = (order - begins) % 160_000  # the place in the stream
    drawn = filled[:90_000]
    assert ((drawn >= 65_536) & (drawn < 70_000)).any()  # a slot that sixteen bits do not name


# ---------------------------------------------------------------------- processes, damage and vanishing


def test_open_files_survive_fork_and_pickling(tmp_path: Path) -> None:
    source = ShardsSource(written(tmp_path, (30, 30)))
    expected = colours(source, range(60))
    copy = pickle.loads(pickle.dumps(source))
    assert copy._ranges._open == {}
    assert colours(copy, range(60)) == expected
    children = []
    for child in range(3):
        pid = os.fork()
        if pid == 0:
            order = np.random.default_rng(child).permutation(60)
            os._exit(0 if colours(source, order) == [expected[k] for k in order] else 1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert colours(source, range(60)) == expected


def test_a_loader_with_workers_reads_the_order_in_batches(tmp_path: Path) -> None:
    source = ShardsSource(written(tmp_path, (20, 20)), buffer=8)
    order = torch.as_tensor(source.order(0, 0))
    with Loader(source, batch_size=10, canvas=4, channels=1, workers=2) as loader:
        batches = list(loader.epoch(0, order=order, start=1))
    assert torch.cat([batch.ids for batch in batches]).tolist() == order[10:].tolist()
    assert torch.cat([batch.pixels[:, 0, 0, 0] for batch in batches]).tolist() == order[10:].tolist()


def test_files_are_closed_beyond_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslkit.data.byte_ranges._MOST_OPEN", 3)
    source = ShardsSource(written(tmp_path, [2] * 8))
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert colours(source, range(16)) == list(range(16))
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 3
    del source
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_neighbours_are_read_at_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ShardsSource(written(tmp_path, (50, 50)))
    reads: list[int] = []
    pread = os.pread

    def counted(handle: int, size: int, offset: int) -> bytes:
        reads.append(size)
        return pread(handle, min(size, 1000), offset)  # a read may give less than asked for

    monkeypatch.setattr(os, "pread", counted)
    assert colours(source, reversed(range(100))) == list(reversed(range(100)))
    assert sum(size > 1000 for size in reads) > 2
    monkeypatch.setattr("sslkit.data.byte_ranges._LONGEST", 1)
    reads.clear()
    assert colours(source, range(100)) == list(range(100))
    assert len(reads) == 100


def test_a_refused_sample_is_an_item_that_is_skipped(tmp_path: Path) -> None:
    whole = written(tmp_path, (4, 4)) / "s-000.tar"
    whole.write_bytes(whole.read_bytes()[: 512 * 15])  # 0003.cls has its header alone
    source = ShardsSource(tmp_path)
    assert len(source) == 8
    assert isinstance(source[3].content, Refused)
    assert "s-000.tar: 0003.png is truncated" in source[3].content.reason
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]  # its own was lost: class 0
    assert colours(source, [0, 1, 2, 4, 5, 6, 7]) == [0, 1, 2, 4, 5, 6, 7]
    with Loader(source, batch_size=8, canvas=4) as loader:
        (batch,) = loader.epoch(0)
    assert [skipped.id for skipped in batch.skipped] == [3]
    assert len(batch) == 7


@pytest.mark.parametrize("change", ["gone", "shorter", "other time", "a folder"])
def test_a_shard_that_changes_refuses_its_samples_alone(tmp_path: Path, change: str) -> None:
    source = ShardsSource(written(tmp_path, (3, 3)))
    shard = tmp_path / "s-000.tar"
    content, status = shard.read_bytes(), shard.stat()
    if change != "gone":
        assert colours(source, [0]) == [0]  # even where it is open already
    if change == "gone":
        shard.unlink()
    elif change == "shorter":
        os.truncate(shard, 700)
    elif change == "other time":
        os.utime(shard, ns=(0, 0))
    else:
        source = pickle.loads(pickle.dumps(source))
        shard.unlink()
        shard.mkdir()
    items = source.items(range(6))
    for item in items[:3]:
        assert isinstance(item.content, Refused)
        assert str(shard) in item.content.reason
        with pytest.raises(DecodeError, match="since it was listed"):
            decode_image(item.content, canvas=4)
    assert colours(source, [3, 4, 5]) == [3, 4, 5]
    if change != "a folder":
        shard.write_bytes(content)
        os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert colours(source, [0, 1]) == [0, 1]  # the right one is back


def test_a_remote_shard_that_is_gone_or_cut_refuses_its_samples() -> None:
    memory = fsspec.filesystem("memory")
    content = packed([(f"{k}.png", png(k)) for k in range(4)])
    memory.pipe("/far/a.tar", content)
    memory.pipe("/far/b.tar", content)
    source = ShardsSource("memory://far")
    memory.rm("/far/a.tar")
    memory.pipe("/far/b.tar", content[:1500])
    items = source.items(range(8))
    assert [
        "cannot be read" in item.content.reason for item in items[:4] if isinstance(item.content, Refused)
    ] == [True] * 4
    assert isinstance(items[4].content, bytes)
    assert isinstance(items[7].content, Refused)
    assert "memory://far/b.tar is shorter" in items[7].content.reason


# ---------------------------------------------------------------------------------- the kept indexes


def test_headers_are_read_once_until_the_shard_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read_index = shard_files.read_index

    def counted(*args: object) -> object:
        reads.append(str(args[2]))
        return read_index(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(shard_files, "read_index", counted)
    folder = written(tmp_path / "s", (3, 3))
    (folder / "s-000.tar").write_bytes((folder / "s-000.tar").read_bytes()[:5000])  # one refused sample
    ShardsSource(folder)
    assert not (cache / "shards").exists()  # a few headers are read faster than remembered
    monkeypatch.setattr(shard_files, "_WORTH_CACHING", 0)
    first = ShardsSource(folder)
    reads.clear()
    again = ShardsSource(folder)
    assert reads == []
    assert again.fingerprint == first.fingerprint
    assert [again[id] for id in range(len(again))] == [first[id] for id in range(len(first))]
    os.utime(folder / "s-001.tar", ns=(5, 5))
    ShardsSource(folder)
    assert reads == [str(folder / "s-001.tar")]
    reads.clear()
    files = sorted((cache / "shards").iterdir())
    assert len(files) == 2
    for file, damage in zip(files, (b"", file_with_a_flipped_digit(files[1])), strict=True):
        file.write_bytes(damage)
    assert ShardsSource(folder).fingerprint == first.fingerprint
    assert len(reads) == 2
    reads.clear()
    monkeypatch.setattr(shard_files, "_VERSION", 999)
    ShardsSource(folder)
    assert len(reads) == 2


def file_with_a_flipped_digit(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    at = content.index(b'"offsets": "') + 16
    content[at] = ord("B") if content[at] == ord("A") else ord("A")
    return bytes(content)


def test_remote_headers_are_always_remembered(cache: Path) -> None:
    fsspec.filesystem("memory").pipe("/kept/a.tar", packed([("1.png", png(1))]))
    ShardsSource("memory://kept/a.tar")
    assert len(list((cache / "shards").iterdir())) == 1


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_files, "_WORTH_CACHING", 0)
    cache.mkdir()
    (cache / "shards").write_text("a file where the folder should be")
    assert len(ShardsSource(written(tmp_path / "s", (3,)))) == 3


def test_same_fingerprint_wherever_the_shards_lie(tmp_path: Path) -> None:
    here = ShardsSource(written(tmp_path / "here", (3, 3)))
    there = ShardsSource(written(tmp_path / "there", (3, 3)))
    more = ShardsSource(written(tmp_path / "more", (3, 4)))
    moved = ShardsSource(written(tmp_path / "moved", (4, 2)))
    for name, size in (("short", 9), ("long", 10)):  # of the same places
        (tmp_path / f"{name}.tar").write_bytes(packed([("1.png", b"x" * size), ("2.png", b"")]))
    short, long = tmp_path / "short.tar", tmp_path / "long.tar"
    short_fingerprint = ShardsSource(short).fingerprint
    long.replace(short)
    assert ShardsSource(short).fingerprint != short_fingerprint
    assert here.fingerprint == there.fingerprint
    assert len({source.fingerprint for source in (here, more, moved)}) == 3


def test_webdataset_reads_the_same_samples(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    source = ShardsSource(written(tmp_path, (5, 4)))
    peers = list(webdataset.WebDataset(sorted(map(str, tmp_path.glob("*.tar"))), shardshuffle=False))
    assert [peer["png"] for peer in peers] == [item.content for item in source.items(range(9))]
    assert source.labels is not None
    assert [int(peer["cls"]) for peer in peers] == source.labels.tolist()
