"""Lists in the forms of UCF101 and HMDB51."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslkit.data.listed_videos import Listed
from sslkit.data.video_folds import read_folds
from sslkit.errors import ConfigError, DataError
from tests.data.listed_sets import HMDB, UCF, write_lists


def test_ucf101_has_the_classes_of_its_index_and_the_scenes_of_its_names(tmp_path: Path) -> None:
    folder = write_lists(tmp_path, UCF)
    found = read_folds(folder, None)
    assert found is not None
    assert found.classes == ("Walk", "Run", "Archery")
    assert [one.split for one in found.videos] == ["test"] * 3 + ["train"] * 4
    names = ("Archery/v_Archery_g01_c01.avi", "v_Archery_g01_c01.avi")
    at = f"{folder}/testlist01.txt, line 3"
    assert found.videos[2] == Listed(names, at, "Archery", "test", "v_Archery_g01")
    assert [(one.label, one.group) for one in found.videos if one.split == "train"] == [
        ("Run", "v_Run_g08"),
        ("Run", "v_Run_g08"),
        ("Walk", "v_Walk_g09"),
        ("Archery", "v_Archery_g08"),
    ]
    assert found.videos[3].at == f"{folder}/trainlist01.txt, line 1"


def test_a_fold_is_named_or_that_of_a_file(tmp_path: Path) -> None:
    folder = write_lists(tmp_path, UCF)
    second = read_folds(folder, 2)
    assert second == read_folds(folder / "testlist02.txt", None) == read_folds(folder / "trainlist02.txt", 2)
    assert second != read_folds(folder, 1)
    with pytest.raises(ConfigError, match=r"fold=3: .* has the folds 1, 2"):
        read_folds(folder, 3)
    with pytest.raises(ConfigError, match=r"trainlist01\.txt is of fold 1, not 2"):
        read_folds(folder / "trainlist01.txt", 2)


def test_without_an_index_numbers_order_the_classes(tmp_path: Path) -> None:
    lists = {name: text for name, text in UCF.items() if name != "classInd.txt"}
    found = read_folds(write_lists(tmp_path, lists), 1)
    assert found is not None
    assert found.classes == ("Walk", "Run", "Archery")
    lists["trainlist01.txt"] = "Run/a.avi 1\nWalk/b.avi 1\n"
    with pytest.raises(DataError, match="line 2: expected a number that is not that of 'Run'"):
        read_folds(write_lists(tmp_path, lists), 1)
    bare = {"testlist01.txt": UCF["testlist01.txt"]}
    found = read_folds(write_lists(tmp_path / "bare", bare), 1)
    assert found is not None
    assert found.classes == ("Archery", "Run", "Walk")


def test_hmdb51_has_a_class_a_file_and_the_film_in_the_name(tmp_path: Path) -> None:
    found = read_folds(write_lists(tmp_path, HMDB), None)
    assert found is not None
    assert found.classes == ("climb_stairs", "wave")
    assert [(one.label, one.split, one.group) for one in found.videos] == [
        ("climb_stairs", "train", "climb_stairs/BIG_FISH"),
        ("climb_stairs", "train", "climb_stairs/BIG_FISH"),
        ("climb_stairs", "test", "climb_stairs/Stairs!_(A)"),
        ("wave", "test", "wave/BIG_FISH"),
        ("wave", "train", "wave/wave_and_say_hi"),
    ]
    assert found.videos[0].names[0] == "climb_stairs/BIG_FISH_climb_stairs_f_nm_np1_fr_med_1.avi"
    second = read_folds(tmp_path / "wave_test_split2.txt", None)
    assert second is not None
    assert [one.split for one in second.videos] == ["test", "train", "train"]


def test_other_names_are_other_lists(tmp_path: Path) -> None:
    assert read_folds(write_lists(tmp_path, {"mine.txt": "a/b.avi\n"}), None) is None


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("trainlist01.txt", "Run/a.avi 2\nb.avi 2\n", r"trainlist01\.txt, line 2: expected CLASS/NAME\.avi"),
        ("trainlist01.txt", "\nRun/a.txt 2\n", r"line 2: expected CLASS/NAME\.avi"),
        ("trainlist01.txt", "Run/a.avi 2\nRun/b.avi\n", r"line 2: expected the number .* or behind none"),
        ("trainlist01.txt", "Run/a.avi 2\nRun/b.avi 1\n", r"line 2: expected 2, the number of 'Run'"),
        ("testlist01.txt", "Run/a.avi\nSwim/b.avi\n", r"line 2: expected a class of classInd\.txt"),
        ("classInd.txt", "1 Walk\nRun\n", r"classInd\.txt, line 2: expected NUMBER CLASS"),
        ("classInd.txt", "1 Walk\n1 Run\n3 Archery", r"line 2: expected NUMBER CLASS, each number"),
        ("classInd.txt", b"1 Walk\xff\n", r"classInd\.txt: it is not UTF-8"),
        ("wave_test_split1.txt", "", "holds lists of UCF101 and of HMDB51"),
    ],
)
def test_a_broken_line_of_ucf101_is_named(tmp_path: Path, file: str, text: str | bytes, said: str) -> None:
    folder = write_lists(tmp_path, UCF)
    (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=said):
        read_folds(folder, None)


@pytest.mark.parametrize("text", ["a.avi 1\nb.avi\n", "a.avi 1\nb.avi 3\n", "a.avi 1\nwave/b.avi 1\n"])
def test_a_broken_line_of_hmdb51_is_named(tmp_path: Path, text: str) -> None:
    folder = write_lists(tmp_path, {"wave_test_split1.txt": text})
    with pytest.raises(DataError, match=r"wave_test_split1\.txt, line 2: expected NAME\.avi and 0, 1 or 2"):
        read_folds(folder, None)
