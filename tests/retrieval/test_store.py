"""One transaction commits a change or nothing; what is small is sealed, each item has a checksum."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sslkit.errors import ArtifactError, ConfigError
from sslkit.retrieval import store
from sslkit.retrieval.items import IndexedItem, read_items, read_names, read_places, write_items
from sslkit.retrieval.store import Store

STATE = {"format": 2, "built": "x", "generation": 1, "next_id": 0, "next_segment": 1, "count": 0}
ITEM = IndexedItem(7, "a \udce9'\n.jpg", 1, 0.5, None, "set \udce9", 3, {"größe": ["\udce9", None, 1.5]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "items.sqlite"
    store.create(path)
    with store.writing(path) as connection:
        store.write_state(connection, **STATE, keys=[], passport={"dim": 3})
        source = store.note_source(connection, ITEM.source, "print")
        write_items(connection, [(ITEM, source, 4, 5)], ())
        store.write_state(connection)
    return path


def test_an_item_comes_back_as_it_was_written(path: Path) -> None:
    reading = Store(path)
    with reading.reading() as connection:
        assert read_items(connection, [7, 8]) == {7: ITEM}
        assert read_places(connection, [7, 8]) == {7: (4, 5)}
        assert read_names(connection, ITEM.source) == {ITEM.name}
        assert store.source_number(connection, "other") is None
    reading.close()


def test_an_item_that_changed_is_refused(path: Path) -> None:
    for change in ("sample = 4", "name = 'b'", "label = NULL", "stop = 1", "metadata = NULL", "id = 9"):
        with store.writing(path) as connection:
            connection.execute("SAVEPOINT before")
            connection.execute(f"UPDATE items SET {change}")
            with pytest.raises(ArtifactError, match="is not as it was written"):
                read_items(connection, [7, 9])
            connection.execute("ROLLBACK TO before")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE state SET value = '5' WHERE key = 'next_id'",
        "UPDATE sources SET address = 'other'",
        "INSERT INTO classes VALUES (0, 'cat')",
        "DELETE FROM state WHERE key = 'passport'",
    ],
)
def test_what_was_not_sealed_is_refused(path: Path, change: str) -> None:
    with store.writing(path) as connection:
        connection.execute(change)
    with pytest.raises(ArtifactError, match="damaged"):
        Store(path)
    with store.writing(path) as connection:
        store.write_state(connection)
        if "passport" in change:
            with pytest.raises(ArtifactError, match="no valid 'passport'"):
                store.read_state(connection, path)


def test_classes_are_numbered_by_name_in_order_of_coming(path: Path) -> None:
    with store.writing(path) as connection:
        assert store.class_numbers(connection, ["cat", "dog"]) == [0, 1]
        assert store.class_numbers(connection, ["owl", "dog", "it's \udce9"]) == [2, 1, 3]
        assert store.read_classes(connection) == ("cat", "dog", "owl", "it's \udce9")


def test_a_reader_sees_one_state_and_a_second_writer_is_told(path: Path) -> None:
    reading = Store(path)
    with store.writing(path) as connection:
        store.class_numbers(connection, ["cat"])
        with reading.reading() as seen:
            assert store.read_classes(seen) == ()
        with pytest.raises(store.BusyError, match="another process writes"), store.writing(path, wait=0.0):
            pass
        store.write_state(connection)
    with reading.reading() as seen:
        assert store.read_classes(seen) == ("cat",)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            seen.execute("DELETE FROM items")
    reading.close()
    with pytest.raises(ConfigError, match="was closed"), reading.reading():
        pass


def test_a_commit_waits_for_who_reads(path: Path) -> None:
    reading = Store(path)
    with reading.reading() as seen:
        assert store.read_classes(seen) == ()
        with pytest.raises(store.BusyError):
            add_class(path)
        assert store.read_classes(seen) == ()
    add_class(path)
    with reading.reading() as seen:
        assert store.read_classes(seen) == ("cat",)
    reading.close()


def add_class(path: Path) -> None:
    with store.writing(path, wait=0.05) as connection:
        store.class_numbers(connection, ["cat"])
        store.write_state(connection)


def test_a_name_that_is_no_text_is_refused(path: Path) -> None:
    with pytest.raises(ArtifactError, match="no text that can be kept"), store.writing(path) as connection:
        write_items(connection, [(IndexedItem(8, "\ud800", None), 1, 0, 0)], ())
