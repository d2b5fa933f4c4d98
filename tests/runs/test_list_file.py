"""A list file is read back as what was written, or not written at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import ConfigError, DataError
from sslkit.registry import open_source
from sslkit.retrieval.items import IndexedItem
from sslkit.runs.list_file import write_list


def folder_with(place: Path, names: list[str]) -> list[IndexedItem]:
    """Images of those names, as items of an index of their folder."""
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(place / name)
    source = open_source(str(place))
    return [
        IndexedItem(number, source[number].name, None, source=str(place), sample=number)
        for number in range(len(source))
    ]


def test_strange_names_come_back(tmp_path: Path) -> None:
    names = ["# no comment.png", 'it\'s, "quoted".png', "sp ace/ü€.png", "bytes \udce9.png", "a|b.png"]
    items = folder_with(tmp_path / "photos", names)
    assert write_list(tmp_path / "list.txt", items, None) == 5
    source = open_source(str(tmp_path / "list.txt"))
    contents = {source[number].content for number in range(5)}
    assert contents == {tmp_path / "photos" / name for name in names}
    assert source.labels is None


@pytest.mark.parametrize("name", ["a\tb.png", "a\nb.png", "a\rb.png"])
def test_a_path_that_a_list_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    items = folder_with(tmp_path / "photos", [name])
    with pytest.raises(DataError, match="holds a TAB or the end of a line"):
        write_list(tmp_path / "list.txt", items, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_labels_are_written_where_all_have_one(tmp_path: Path) -> None:
    first, second = folder_with(tmp_path / "photos", ["a.png", "b.png"])
    labelled = [IndexedItem(0, first.name, 1, source=first.source, sample=0)]
    other = IndexedItem(1, second.name, 7, source=second.source, sample=1)
    write_list(tmp_path / "list.txt", [*labelled, other], ["cat", "dog"])
    source = open_source(str(tmp_path / "list.txt"))
    assert [source.classes[source.labels[row]] for row in range(2)] == ["dog", "7"]
    write_list(tmp_path / "other.txt", [*labelled, second], ["cat", "dog"])
    assert open_source(str(tmp_path / "other.txt")).labels is None


@pytest.mark.parametrize("name", ["cat|dog", " cat", "a\tb", ""])
def test_a_class_that_a_list_would_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    (item,) = folder_with(tmp_path / "photos", ["a.png"])
    labelled = IndexedItem(0, item.name, 0, source=item.source, sample=0)
    with pytest.raises(DataError, match="cannot stand in a list file"):
        write_list(tmp_path / "list.txt", [labelled], [name])


def test_what_is_no_image_file_cannot_be_listed(tmp_path: Path) -> None:
    drawn = "shapes:count=4,size=32"
    name = open_source(drawn)[2].name
    with pytest.raises(DataError, match="no file of its own"):
        write_list(tmp_path / "list.txt", [IndexedItem(0, name, None, source=drawn, sample=2)], None)


def test_a_data_set_that_changed_is_not_listed(tmp_path: Path) -> None:
    items = folder_with(tmp_path / "photos", ["b.png", "c.png"])
    folder_with(tmp_path / "photos", ["a.png"])
    with pytest.raises(DataError, match=r"sample 0 of .* is no longer 'b.png': the data set changed"):
        write_list(tmp_path / "list.txt", items, None)


def test_nothing_to_list_and_taken_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing is left to list"):
        write_list(tmp_path / "list.txt", [], None)
    items = folder_with(tmp_path / "photos", ["a.png"])
    (tmp_path / "list.txt").write_text("mine")
    with pytest.raises(ConfigError, match="would be lost"):
        write_list(tmp_path / "list.txt", items, None)
    (tmp_path / "link.txt").symlink_to(tmp_path / "list.txt")
    with pytest.raises(ConfigError, match="would be lost"):
        write_list(tmp_path / "link.txt", items, None, overwrite=True)
    assert (tmp_path / "list.txt").read_text() == "mine"
    with pytest.raises(ConfigError, match="cannot write"):
        write_list(tmp_path / "list.txt" / "below.txt", items, None)
