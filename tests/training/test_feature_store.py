"""The store of features: exact, whole or not at all, never too large, and shared by processes."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from sslkit.contracts import Features, Skipped
from sslkit.errors import ConfigError, DataError
from sslkit.training import feature_entry, feature_store
from sslkit.training.feature_entry import EntryWriter, NotKeptError
from sslkit.training.feature_store import FeatureStore, default_limit, key_of

FORK = multiprocessing.get_context("fork")
KB = 1000


def features(rows: int = 5, seed: int = 0) -> Features:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(rows, 3, generator=generator)
    embeddings[0, 0] = -0.0
    embeddings[0, 1] = 1e-42  # subnormal
    labels = torch.arange(rows) % 2 - 1
    return Features(torch.arange(rows) * 7, embeddings, labels, (Skipped(3, "wörd\udcff.png", "cut"),))


def never() -> Features:
    raise AssertionError("it was computed again")


def same(one: Features, other: Features) -> bool:
    bits = (one.embeddings.view(torch.int32), other.embeddings.view(torch.int32))
    tensors = [(one.ids, other.ids), (one.labels, other.labels), bits]
    return all(torch.equal(*pair) for pair in tensors) and one.skipped == other.skipped


def filled(kilobytes: int, value: int = 1) -> Callable[[EntryWriter], None]:
    def fill(writer: EntryWriter) -> None:
        for _ in range(kilobytes):
            writer.append({"x": torch.full((1, KB), value, dtype=torch.uint8)}, of=kilobytes)

    return fill


def entries(store: FeatureStore) -> set[str]:
    return {folder.name for folder in store.folder.iterdir() if not folder.name.startswith(".")}


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process, which has checked and opened nothing."""
    monkeypatch.setattr(feature_entry, "_checked", set())
    feature_store._in_use.clear()


def test_features_are_read_as_they_were_computed(tmp_path: Path) -> None:
    made = FeatureStore(tmp_path / "kept").features({"a": 1}, features)
    read = FeatureStore(tmp_path / "kept").features({"a": 1}, never)
    assert same(made, features())
    assert same(read, features())
    read.embeddings.add_(1)  # is the reader's own
    assert same(FeatureStore(tmp_path / "kept").features({"a": 1}, never), features())


def test_the_default_folder_is_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path))
    assert FeatureStore().folder == tmp_path / "features"


def test_other_facts_are_another_entry(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    for seed, facts in enumerate([{"a": 1}, {"a": 2}, {"a": "1"}, {"a": [1]}, {"a": None}, {"b": 1}]):
        assert same(store.features(facts, lambda seed=seed: features(seed=seed)), features(seed=seed))
    assert len(entries(store)) == 6
    assert key_of({"a": 1, "b": (2, 3)}) == key_of({"b": [2, 3], "a": 1})


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, limit=35 * KB)
    for place, name in enumerate("abc"):
        store.entry({"a": name}, filled(10))
        described = tmp_path / key_of({"a": name}) / "entry.json"
        os.utime(described, (1000 + place, 1000 + place))
    store.entry({"a": "a"}, filled(0))  # used again
    store.entry({"a": "d"}, filled(10))
    assert entries(store) == {key_of({"a": name}) for name in "acd"}
    assert store.nbytes <= store.limit


def test_what_is_being_read_stays(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, limit=25 * KB)
    held = store.entry({"a": "first"}, filled(10, 7))
    store.entry({"a": "second"}, filled(10))
    store.entry({"a": "third"}, filled(10))
    assert entries(store) == {key_of({"a": name}) for name in ("first", "third")}
    store.delete()  # as another process may
    assert held.columns["x"].eq(7).all()
    assert held.columns["x"].shape == (10, KB)


def test_what_is_larger_than_the_limit_is_told_before_it_is_written(tmp_path: Path) -> None:
    said: list[str] = []
    store = FeatureStore(tmp_path, limit=25 * KB, say=said.append)
    store.entry({"a": "there"}, filled(10))
    appended = 0

    def large(writer: EntryWriter) -> None:
        nonlocal appended
        for _ in range(26):
            writer.append({"x": torch.zeros(1, KB, dtype=torch.uint8)}, of=26)
            appended += 1

    with pytest.raises(NotKeptError, match="SSLKIT_FEATURES_LIMIT_GB"):
        store.entry({"a": "large"}, large)
    assert appended == 0
    assert entries(store) == {key_of({"a": "there"})}
    for _ in range(2):
        assert same(store.features({"a": 2}, lambda: features(KB)), features(KB))
    assert len(said) == 1
    assert "computed and not kept" in said[0]


def test_a_limit_of_nothing_keeps_nothing_and_says_nothing(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, limit=0)
    assert same(store.features({"a": 1}, features), features())
    assert not entries(store)


def test_a_full_disk_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    store = FeatureStore(tmp_path, limit=KB * KB, say=said.append)
    store.entry({"a": "old"}, filled(10))

    class Usage(NamedTuple):
        free: int

    with monkeypatch.context() as patch:
        patch.setattr(feature_store.shutil, "disk_usage", lambda folder: Usage(3))
        assert same(store.features({"a": 1}, features), features())
    assert not entries(store)  # the old one made way, in vain
    assert said == [said[0]]
    assert "disk" in said[0]

    def full(column: Any, values: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(feature_entry._Column, "add", full)
        assert same(store.features({"a": 1}, features), features())
    assert "No space left" in said[1]
    assert not list(tmp_path.iterdir())
    assert same(store.features({"a": 1}, features), features())
    assert same(store.features({"a": 1}, never), features())


def test_a_place_that_cannot_be_written_to_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FeatureStore(tmp_path / "file" / "kept", limit=KB * KB)
    with pytest.warns(UserWarning, match="cannot be written to"):
        assert same(store.features({"a": 1}, features), features())


def test_what_fails_leaves_no_entry(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)

    def failing(writer: EntryWriter) -> None:
        filled(3)(writer)
        raise DataError("nothing decodes")

    with pytest.raises(DataError, match="nothing decodes"):
        store.entry({"a": 1}, failing)
    assert not list(tmp_path.iterdir())


def _killed(folder: Path) -> None:
    def fill(writer: EntryWriter) -> None:
        writer.append({"x": torch.ones(1, KB)}, of=3)
        os.kill(os.getpid(), signal.SIGKILL)

    FeatureStore(folder, limit=KB * KB).entry({"a": 1}, fill)


def test_a_killed_process_leaves_no_entry_and_its_rest_is_swept(tmp_path: Path) -> None:
    child = FORK.Process(target=_killed, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    store = FeatureStore(tmp_path, limit=KB * KB)
    assert [one.suffix for one in tmp_path.iterdir() if one.is_dir()] == [".partial"]
    assert not entries(store)
    assert len(store.entry({"a": 1}, filled(4)).columns["x"]) == 4
    assert [one.name for one in tmp_path.iterdir()] == [key_of({"a": 1})]


def _make(folder: Path, place: int, results: Any) -> None:
    computed = []

    def slow(writer: EntryWriter) -> None:
        computed.append(place)
        filled(2, 9)(writer)
        time.sleep(0.3)
        filled(2, 9)(writer)

    columns = FeatureStore(folder, limit=KB * KB).entry({"a": 1}, slow).columns
    results.put((len(computed), columns["x"].eq(9).all().item(), len(columns["x"])))


@pytest.mark.parametrize("locks", [True, False])
def test_processes_that_want_the_same_do_not_disturb_each_other(
    tmp_path: Path, locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not locks:

        def unsupported(file: int, how: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(feature_entry.fcntl, "flock", unsupported)
    results = FORK.SimpleQueue()
    children = [FORK.Process(target=_make, args=(tmp_path, place, results)) for place in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    found = [results.get() for child in children]
    assert [one[1:] for one in found] == [(True, 4)] * 3
    if locks:
        assert sum(computed for computed, *_ in found) == 1
    assert entries(FeatureStore(tmp_path)) == {key_of({"a": 1})}
    assert len(FeatureStore(tmp_path).entry({"a": 1}, filled(0)).columns["x"]) == 4


def _flip(folder: Path) -> None:
    path = folder / "embeddings.bin"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)


def _described(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "entry.json"
    described = json.loads(path.read_text())
    change(described)
    path.write_text(json.dumps(described))


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a bit": _flip,
    "cut": lambda folder: os.truncate(folder / "embeddings.bin", 8),
    "longer": lambda folder: (folder / "labels.bin").open("ab").write(b"0"),
    "missing": lambda folder: (folder / "ids.bin").unlink(),
    "notes": lambda folder: (folder / "notes.json").write_text("{}"),
    "no json": lambda folder: (folder / "entry.json").write_text("{"),
    "another format": lambda folder: _described(folder, lambda one: one.update(format=2)),
    "another shape": lambda folder: _described(folder, lambda one: one["columns"]["ids"].update(shape=[9])),
    "a type": lambda folder: _described(folder, lambda one: one["columns"]["ids"].update(dtype="nn")),
    "a list": lambda folder: (folder / "entry.json").write_text("[]"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_entry_is_told_and_computed_again(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    store = FeatureStore(tmp_path, say=said.append)
    store.features({"a": 1}, features)
    DAMAGE[how](tmp_path / key_of({"a": 1}))
    forget(monkeypatch)
    assert same(store.features({"a": 1}, features), features())
    assert len(said) == 1
    assert "damaged" in said[0]
    forget(monkeypatch)
    assert same(store.features({"a": 1}, never), features())
    assert [one.name for one in tmp_path.iterdir()] == [key_of({"a": 1})]


def test_bytes_are_compared_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    digest = feature_entry.hashlib.file_digest

    def counted(file: Any, how: str) -> Any:
        hashed.append(Path(file.name).name)
        return digest(file, how)

    monkeypatch.setattr(feature_entry.hashlib, "file_digest", counted)
    store = FeatureStore(tmp_path)
    store.features({"a": 1}, features)
    assert "embeddings.bin" not in hashed  # what was written here was hashed on the way
    forget(monkeypatch)
    hashed.clear()
    for _ in range(3):
        store.features({"a": 1}, never)
    assert sorted(hashed) == ["embeddings.bin", "ids.bin", "labels.bin", "notes.json"]


def test_rows_keep_their_strides_and_their_number_format(tmp_path: Path) -> None:
    last = torch.randn(5, 3, 4, 6).contiguous(memory_format=torch.channels_last).bfloat16()
    clips = torch.randn(5 * 2, 3, 4, 6).contiguous(memory_format=torch.channels_last).view(5, 2, 3, 4, 6)
    plain = torch.randn(5, 2, 3)

    def fill(writer: EntryWriter) -> None:
        for rows in (slice(0, 3), slice(3, 5)):
            writer.append({"last": last[rows], "clips": clips[rows], "plain": plain[rows]}, of=5)

    FeatureStore(tmp_path).entry({"a": 1}, fill)
    columns = FeatureStore(tmp_path).entry({"a": 1}, lambda writer: None).columns
    for name, given in {"last": last, "clips": clips, "plain": plain}.items():
        assert columns[name].dtype == given.dtype
        assert torch.equal(columns[name], given)
        assert columns[name].stride() == given.stride()


def test_an_entry_may_have_no_rows(tmp_path: Path) -> None:
    for _ in range(2):
        entry = FeatureStore(tmp_path).entry({"a": 1}, lambda w: w.append({"x": torch.zeros(0, 3)}, of=0))
        assert entry.columns["x"].shape == (0, 3)


def test_the_limit_is_told_by_the_environment_else_by_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.delenv("SSLKIT_FEATURES_LIMIT_GB", raising=False)
    monkeypatch.setattr(feature_store.shutil, "disk_usage", lambda folder: Usage(10**12))
    assert default_limit(tmp_path / "nowhere" / "yet") == 10 * 10**9
    monkeypatch.setattr(feature_store.shutil, "disk_usage", lambda folder: Usage(10**9))
    assert default_limit(tmp_path / "kept") == 200_000_000
    FeatureStore(tmp_path / "kept", limit=KB * KB).entry({"a": 1}, filled(500))
    assert 200_100_000 <= default_limit(tmp_path / "kept") < 200_101_000  # what it takes is not lost to it
    monkeypatch.setenv("SSLKIT_FEATURES_LIMIT_GB", "0.5")
    assert FeatureStore(tmp_path).limit == 500_000_000
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("SSLKIT_FEATURES_LIMIT_GB", wrong)
        with pytest.raises(ConfigError, match="such as 10"):
            default_limit(tmp_path)
