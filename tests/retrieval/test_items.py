"""Items in SQLite, under any name."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sslkit.errors import ArtifactError
from sslkit.retrieval.items import ItemRow, count_items, read_items, write_items

ITEMS = [
    ItemRow(7, "with \"quotes\" and 'single'", 0),
    ItemRow(-3, "line\nbreak, comma", None),
    ItemRow(2**62, "図書館 \udce9 😀", 12),
    ItemRow(0, "", 3),
]


def test_items_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "odd ?name#%41.sqlite"
    write_items(path, ITEMS)
    assert count_items(path) == 4
    assert read_items(path, [2, 0, 3, 1, 2]) == [ITEMS[row] for row in (2, 0, 3, 1, 2)]
    assert read_items(path, []) == []


def test_reading_writes_nothing_beside_the_database(tmp_path: Path) -> None:
    write_items(tmp_path / "items.sqlite", ITEMS)
    before = (tmp_path / "items.sqlite").read_bytes()
    read_items(tmp_path / "items.sqlite", [0])
    assert [path.name for path in tmp_path.iterdir()] == ["items.sqlite"]
    assert (tmp_path / "items.sqlite").read_bytes() == before


def test_a_missing_row_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite"
    write_items(path, ITEMS)
    with pytest.raises(ArtifactError, match="no item for row 4"):
        read_items(path, [0, 4])
    for content in (b"no database" * 100, b""):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match="build the index again"):
            read_items(path, [0])
        with pytest.raises(ArtifactError, match="build the index again"):
            count_items(path)


def test_an_id_is_kept_once(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        write_items(tmp_path / "items.sqlite", [ITEMS[0], ITEMS[0]])
