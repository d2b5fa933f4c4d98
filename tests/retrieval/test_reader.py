"""A reader follows the index, whatever becomes of the folder under it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from sslkit.errors import ArtifactError
from sslkit.neighbours.picker import Wanted
from sslkit.retrieval import changes, reader, store
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.filters import Where
from sslkit.retrieval.items import read_items
from tests.retrieval.named_vectors import HASH, embeddings, names_of, unit_of, vector_of

EXACT = Wanted(kind="flat")


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index.build(embeddings(names_of(0, 12)), tmp_path / "index", wanted=EXACT)


def best(index: Index, name: str, where: Where | None = None) -> str:
    return index.search(vector_of(name)[None], 1, model_hash=HASH, where=where)[0][0].name


def test_a_reader_sees_what_others_change(index: Index) -> None:
    with Index.load(index.path) as other:
        index.add(embeddings(["late.jpg"]))
        assert (len(other), other.generation, best(other, "late.jpg")) == (13, 2, "late.jpg")
        index.remove([12])
        assert best(other, "late.jpg") != "late.jpg"


def test_a_reader_goes_over_to_an_index_built_anew_in_its_place(index: Index) -> None:
    assert best(index, "photo 3.jpg") == "photo 3.jpg"
    new = names_of(100, 112)  # as many, of the same generation and sizes
    Index.build(embeddings(new, ids=np.arange(12)), index.path, wanted=EXACT, overwrite=True).close()
    assert (index.generation, len(index)) == (1, 12)
    assert best(index, "photo 103.jpg") == "photo 103.jpg"
    assert [item.name for item in index.items(index.ids())] == new
    Index.build(embeddings(new, model_hash="new"), index.path, wanted=EXACT, overwrite=True).close()
    with pytest.raises(ArtifactError, match=f"model {HASH}, .* of model new"):
        best(index, "photo 3.jpg")
    assert index.model_hash == "new"
    index.verify()


def test_files_of_an_index_that_took_the_place_are_never_taken_for_its_own(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = reader.snapshot_of, list[bool]()

    def swapped(*given: object) -> object:
        if not done:  # after the database was opened and before its segments are
            done.append(True)
            Index.build(embeddings(names_of(50, 62)), index.path, wanted=EXACT, overwrite=True).close()
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "snapshot_of", swapped)
    opened = reader.Reader(index.path)
    vectors = opened._snapshot.segments[0].vectors  # type: ignore[union-attr]
    opened._snapshot.verify_files()  # type: ignore[union-attr]
    np.testing.assert_allclose(vectors.rows(np.array([3]))[0], unit_of("photo 53.jpg"), atol=1e-6)
    with opened.reading() as (connection, snapshot):
        assert read_items(connection, [3])[3].name == "photo 53.jpg"
        assert snapshot is opened.now()
    opened.close()


def test_a_search_begins_again_when_the_index_changes_under_it(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = reader.Snapshot.nearest, list[int]()

    def slow(self: reader.Snapshot, *given: object, **named: object) -> object:
        found = real(self, *given, **named)  # type: ignore[arg-type]
        calls.append(self.generation)
        if len(calls) < 3:
            changes.add(index.path, embeddings([f"late {len(calls)}.jpg"]), update=False, metadata={})
        return found

    monkeypatch.setattr(reader.Snapshot, "nearest", slow)
    assert best(index, "late 2.jpg") == "late 2.jpg"
    assert calls == [1, 2, 3]


def test_an_old_generation_can_be_read_to_its_end(index: Index) -> None:
    blocks = index.blocks(5)
    first, _ = next(blocks)
    index.remove([7])
    index.compact()
    rest = [id for ids, _ in blocks for id in ids.tolist()]
    assert [*first.tolist(), *rest] == list(range(12))
    assert index.ids().tolist() == [id for id in range(12) if id != 7]


def test_who_waited_for_a_build_in_the_same_place_adds_to_the_new_index(index: Index) -> None:
    with store.writing(index.path / store.NAME):
        adding = threading.Thread(target=lambda: index.add(embeddings(["late.jpg"])))
        adding.start()
        adding.join(0.2)
        other = Index.build(embeddings(names_of(50, 62)), index.path.with_name("other"), wanted=EXACT)
        other.close()
        index.path.rename(index.path.with_name("old"))
        other.path.rename(index.path)
    adding.join()
    assert sorted(item.name for item in index.items(index.ids())) == sorted([*names_of(50, 62), "late.jpg"])
    index.verify()


def test_nobody_changes_an_index_that_is_being_replaced(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = list[str]()

    def pick(*given: object, **named: object) -> object:
        with (
            pytest.raises(store.BusyError, match="another process writes"),
            store.writing(index.path / store.NAME, wait=0.0),
        ):
            pass
        met.append(best(index, "photo 3.jpg"))
        return real(*given, **named)  # type: ignore[arg-type]

    real = changes.pick
    monkeypatch.setattr(changes, "pick", pick)
    Index.build(embeddings(["x"]), index.path, wanted=EXACT, overwrite=True).close()
    assert met == ["photo 3.jpg"]
    assert len(index) == 1


def test_a_condition_is_asked_of_the_generation_that_is_searched(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = reader.Snapshot.masks, list[int]()

    def masks(self: reader.Snapshot, *given: object) -> object:
        with pytest.raises(store.BusyError), store.writing(index.path / store.NAME, wait=0.0) as connection:
            store.write_state(connection, generation=99)  # whoever commits has to wait
        asked.append(self.generation)
        return real(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(reader.Snapshot, "masks", masks)
    assert best(index, "photo 3.jpg", Where("id > 2")) == "photo 3.jpg"
    assert asked == [1]
