"""A list is read in the form that it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslkit.data.video_lists import read_list
from sslkit.errors import ConfigError, DataError
from tests.data.listed_sets import HMDB, UCF, write_lists


def test_names_of_files_and_first_lines_show_the_form(tmp_path: Path) -> None:
    table = {"mine.csv": "path,label,split\na.mp4,x,train\n"}
    for name, lists, count in (("ucf", UCF, 7), ("hmdb", HMDB, 5), ("table", table, 1)):
        assert len(read_list(write_lists(tmp_path / name, lists)).videos) == count
    assert len(read_list(tmp_path / "table" / "mine.csv").videos) == 1


def test_any_text_of_paths_is_a_list_whose_folders_are_classes(tmp_path: Path) -> None:
    path = write_lists(tmp_path, {"some.txt": "set/b x/1.avi 4\nset/a/2.avi 9\n"}) / "some.txt"
    found = read_list(path)
    assert found.classes == ("b x", "a")
    assert [(one.names[0], one.label, one.split) for one in found.videos] == [
        ("set/b x/1.avi", "b x", None),
        ("set/a/2.avi", "a", None),
    ]


def test_a_pattern_finds_the_group_in_any_form(tmp_path: Path) -> None:
    found = read_list(write_lists(tmp_path, UCF), fold=1, group=r"_(g\d+)_")
    assert {one.group for one in found.videos} == {"g01", "g08", "g09"}
    with pytest.raises(DataError, match=r"testlist01\.txt, line 1: group='g08' is not in"):
        read_list(tmp_path, group="g08")


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({}, "holds no list of videos; a list is a folder with trainlist01"),
        ({"a.csv": "x,y\n1,2\n"}, "holds no list of videos"),
        ({"a.csv": "path,label\n"}, "lists no video"),
        ({"trainlist01.txt": "\n"}, "lists no video"),
    ],
)
def test_a_folder_without_a_list_says_what_a_list_is(
    tmp_path: Path, lists: dict[str, str], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_list(write_lists(tmp_path / "lists", lists))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"mine\.txt, line 1: expected a folder"),
        ("a picture.png\n", r"mine\.txt, line 1: expected a folder.* got 'a picture\.png'"),
        ("\na.avi 1\n", r"mine\.txt, line 2: expected CLASS/NAME\.avi; lists of HMDB51 are called"),
    ],
)
def test_a_file_of_no_known_form_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_list(write_lists(tmp_path, {"mine.txt": text}) / "mine.txt")


def test_what_is_not_there_and_folds_that_a_form_has_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no list .*gone"):
        read_list(tmp_path / "gone")
    path = write_lists(tmp_path, {"a.csv": "path\na.mp4\n"}) / "a.csv"
    with pytest.raises(ConfigError, match=r"fold=2: .* has no folds; lists of UCF101 and HMDB51 have"):
        read_list(path, fold=2)
