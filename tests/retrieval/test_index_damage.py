"""Whatever is broken, full or half written: a clear error, or the right answer of the last good index."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslkit.errors import ArtifactError, SslkitError
from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.picker import Wanted
from sslkit.retrieval import folder as folders
from sslkit.retrieval import generation, segments, store
from sslkit.retrieval.artifact import Index
from tests.retrieval.named_vectors import HASH, embeddings, names_of, vector_of

NAMES = names_of(0, 30)
EXACT = Wanted(kind="flat")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An index of two segments with a removed item."""
    with Index.build(embeddings(NAMES), tmp_path / "index", wanted=EXACT) as index:
        index.add(embeddings(["late 1.jpg", "late 2.jpg"]), metadata={"late 1.jpg": {"year": 2011}})
        index.remove([3])
    return tmp_path / "index"


def sound(path: Path) -> list[str]:
    """The names an index holds, after a look at all of it."""
    with Index.load(path) as index:
        index.verify()
        items = index.items(index.ids())
        queries = np.stack([vector_of(item.name) for item in items])
        found = index.search(queries, 1, model_hash=HASH)
        assert [hits[0].name for hits in found] == [item.name for item in items]
        return [item.name for item in items]


def everything(path: Path) -> None:
    """Use all of an index: what is wrong with it must show as an error of ours, or not at all."""
    with Index.load(path) as index:
        for hits in index.search(np.stack([vector_of(name) for name in NAMES]), 3, model_hash=HASH):
            for hit in hits:
                assert hit.name in {*NAMES, "late 1.jpg", "late 2.jpg"}
        index.vectors(index.ids())
        index.verify()


def cut(data: bytes, at: int) -> bytes:
    return data[: len(data) * at // 8]


def flipped(data: bytes, at: int) -> bytes:
    place = min(len(data) * at // 8 + at, len(data) - 1)
    return data[:place] + bytes([data[place] ^ (1 << at)]) + data[place + 1 :]


def garbage(data: bytes, at: int) -> bytes:
    return np.random.default_rng(at).bytes(len(data))


def zeros(data: bytes, at: int) -> bytes:
    place = len(data) * at // 8
    return data[:place] + bytes(len(data) - place)


@pytest.mark.parametrize("file", ["vectors-1.faiss", "vectors-2.faiss", "ids-1.npy", "ids-2.npy"])
@pytest.mark.parametrize("harm", [cut, flipped, garbage, zeros])
def test_a_damaged_segment_is_named(path: Path, file: str, harm: Callable[[bytes, int], bytes]) -> None:
    whole = (path / file).read_bytes()
    for at in range(8):
        harmed = harm(whole, at)
        if harmed == whole:  # the end of small ids is all zeros anyway
            continue
        (path / file).write_bytes(harmed)
        with pytest.raises(ArtifactError, match=rf"{file}|segment \d"):
            everything(path)
    (path / file).unlink()
    with pytest.raises(ArtifactError, match=f"{file} is missing"):
        everything(path)
    (path / file).write_bytes(whole)
    assert len(sound(path)) == 31


@pytest.mark.parametrize("harm", [cut, garbage, zeros])
def test_a_damaged_database_is_an_error(path: Path, harm: Callable[[bytes, int], bytes]) -> None:
    database = path / "items.sqlite"
    whole = database.read_bytes()
    for at in range(8):
        database.write_bytes(harm(whole, at))
        with pytest.raises(ArtifactError):
            everything(path)
    database.write_bytes(whole)
    assert len(sound(path)) == 31


def test_no_flipped_bit_of_the_database_gives_a_wrong_item(path: Path) -> None:
    database = path / "items.sqlite"
    whole = database.read_bytes()
    expected = {item.id: item for item in _items(path)}
    used = [at for at in range(len(whole)) if whole[at]]
    caught = 0
    for at in used[:: max(len(used) // 300, 1)]:
        database.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        try:
            everything(path)
            assert {item.id: item for item in _items(path)} == expected
        except SslkitError:
            caught += 1
    assert caught > 50
    database.write_bytes(whole)
    assert len(sound(path)) == 31


def _items(path: Path) -> list[Any]:
    with Index.load(path) as index:
        return index.items(index.ids())


def test_a_damaged_description_for_people_harms_nothing(path: Path) -> None:
    for text in ("", "{", '{"format": 9}'):
        (path / "index.json").write_text(text)
        assert len(sound(path)) == 31
    with Index.load(path) as index:
        index.remove([5])
    assert json.loads((path / "index.json").read_text())["count"] == 30


def test_damage_is_not_copied_under_a_new_checksum(path: Path) -> None:
    whole = (path / "vectors-1.faiss").read_bytes()
    (path / "vectors-1.faiss").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with Index.load(path) as index, pytest.raises(ArtifactError, match=r"vectors-1.faiss is not the file"):
        index.compact()
    (path / "vectors-1.faiss").write_bytes(whole)
    assert len(sound(path)) == 31


def test_what_is_no_index_is_refused(tmp_path: Path, path: Path) -> None:
    for other in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ArtifactError, match="no index folder"):
            Index.load(other)
    (path / "items.sqlite").write_bytes(b"")
    with pytest.raises(ArtifactError, match="no item database"):
        Index.load(path)
    (path / "items.sqlite").unlink()
    with sqlite3.connect(path / "items.sqlite") as connection:
        connection.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)")  # as format 1 had it
    connection.close()
    with pytest.raises(ArtifactError, match="of an older one"):
        Index.load(path)


def test_an_index_of_another_format_is_refused(path: Path) -> None:
    with store.writing(path / "items.sqlite") as connection:
        store.write_state(connection, format=3)
    with pytest.raises(ArtifactError, match="format 3, this sslkit reads format 2"):
        Index.load(path)


def failing(calls: int, real: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """`real` until it was called so often, then the error."""
    left = calls

    def called(*given: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise error
        return real(*given, **named)

    return called


PLACES: list[tuple[Any, str, Exception]] = [
    (np, "save", FULL),
    (FlatIndex, "write", ArtifactError("the index cannot be written: No space left on device")),
    (segments, "flush", FULL),
    (generation, "flush", FULL),
    (os, "fsync", FULL),
    (store, "write_state", sqlite3.OperationalError("database or disk is full")),
    (folders, "flush", FULL),
]


@pytest.mark.parametrize(("place", "name", "error"), PLACES, ids=[name for _, name, _ in PLACES])
@pytest.mark.parametrize("change", ["add", "update", "compact", "remove", "build", "overwrite"])
def test_a_full_disk_is_an_error_and_changes_nothing(
    path: Path, change: str, place: Any, name: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sound(path)
    changes: dict[str, Callable[[Index], object]] = {
        "add": lambda index: index.add(embeddings(["more.jpg"])),
        "update": lambda index: index.add(embeddings(NAMES[:2]), update=True),
        "compact": lambda index: index.compact(),
        "remove": lambda index: index.remove([0]),
        "build": lambda index: Index.build(embeddings(NAMES), path.with_name("new"), wanted=EXACT),
        "overwrite": lambda index: Index.build(embeddings(["x"]), path, wanted=EXACT, overwrite=True),
    }
    out, failed = (path.with_name("new") if change == "build" else path), 0
    with Index.load(path) as index:
        for calls in range(20):
            with monkeypatch.context() as patch:
                patch.setattr(place, name, failing(calls, getattr(place, name), error))
                try:
                    changes[change](index)
                    break
                except SslkitError as met:
                    failed += "No space left" in str(met) or "disk is full" in str(met)
            if change in ("build", "overwrite") and out.exists() and _count(out) != 31:
                break  # it had taken its place, and only that its name is on the disk was not sure
            assert (failed, sound(path)) == (calls + 1, before)
            files = {file.name for file in path.iterdir()}
            assert files == {
                "items.sqlite",
                "index.json",
                *(f for s in index.passport["segments"] for f in s["files"]),
            }
            assert [file.name for file in path.parent.iterdir() if file != path] == []
        else:
            pytest.fail("it never came to an end")
    assert failed or change == "remove" or place is folders
    assert len(sound(out)) == {"add": 32, "remove": 30, "build": 30, "overwrite": 1}.get(change, 31)


def _count(path: Path) -> int:
    with Index.load(path) as index:
        return len(index)


def stopped_half_way(path: Path) -> None:
    """Leave the folder as a writer does that is killed while it commits: half the pages, and a journal."""
    script = (
        "import os, signal, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN IMMEDIATE')\n"
        'c.execute("UPDATE items SET name = name || hex(randomblob(300)), sample = sample + 7")\n'
        "c.execute('DELETE FROM segments')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path / "items.sqlite")], check=False)
    assert (path / "items.sqlite-journal").stat().st_size > 0


def test_what_a_killed_writer_began_is_undone_by_the_next_reader(path: Path) -> None:
    before = sound(path)
    with Index.load(path) as open_already:
        stopped_half_way(path)
        assert sound(path) == before
        assert len(open_already.items(open_already.ids())) == 31
    assert not (path / "items.sqlite-journal").exists()


def test_a_folder_with_a_journal_may_be_overwritten(path: Path) -> None:
    stopped_half_way(path)
    (path / ".index.json.0a1b2c3d.tmp").write_text("half")
    Index.build(embeddings(["x"]), path, wanted=EXACT, overwrite=True).close()
    assert sound(path) == ["x"]


@pytest.fixture
def readable(path: Path) -> Iterator[Path]:
    """The index where another user may read but not write."""
    with tempfile.TemporaryDirectory() as shared:
        Path(shared).chmod(0o755)
        shutil.copytree(path, Path(shared) / "index")
        yield Path(shared) / "index"
        (Path(shared) / "index").chmod(0o755)


def without_rights(work: Callable[[], object]) -> str:
    """What `work` says in a process that may not write everywhere; its error, or its result."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            said = str(work())
        except SslkitError as error:
            said = f"{type(error).__name__}: {error}"
        except BaseException as error:
            said = f"not ours: {error!r}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_folder_that_cannot_be_written_can_be_searched_but_not_changed(readable: Path) -> None:
    for file in readable.iterdir():
        file.chmod(0o444)
    readable.chmod(0o555)
    assert without_rights(lambda: len(sound(readable))) == "31"
    for change in (
        lambda: Index.load(readable).add(embeddings(["more.jpg"])),
        lambda: Index.load(readable).remove([0]),
        lambda: Index.load(readable).compact(),
    ):
        said = without_rights(change)
        assert said.startswith("ArtifactError")
        assert "cannot be written" in said
    assert len(sound(readable)) == 31
    readable.chmod(0o755)
    for file in readable.iterdir():
        file.chmod(0o644)
    stopped_half_way(readable)
    for file in readable.iterdir():
        file.chmod(0o444)
    readable.chmod(0o555)
    said = without_rights(lambda: len(sound(readable)))
    assert "stopped half way" in said
    assert "ArtifactError" in said
