"""Which videos are recognised as those of classes."""

from __future__ import annotations

import importlib
from importlib.resources import files
from pathlib import Path

import pytest

from sslkit.evaluation.protocols import parse_protocol
from sslkit.registry import open_source
from sslkit_action import plugin
from sslkit_action.tasks import ACTION, recognise_action


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def data_of(root: Path) -> str | None:
    measured = recognise_action(root)
    return None if measured is None else measured.data


def test_a_folder_of_videos_for_each_class_is_found(tmp_path: Path) -> None:
    touch(tmp_path, "run/1.avi", "walk/2.MP4", "walk/notes.txt", ".hidden/3.avi")
    assert data_of(tmp_path) == f"video:{tmp_path}"


def test_classes_may_lie_in_train_and_test(tmp_path: Path) -> None:
    touch(tmp_path, "train/run/1.avi", "train/walk/2.avi", "test/run/3.avi")
    assert data_of(tmp_path) == f"video:{tmp_path}"
    touch(tmp_path, "train/0.avi")
    assert data_of(tmp_path) is None


@pytest.mark.parametrize(
    "names",
    [("run/1.avi",), ("run/1.jpg", "walk/2.jpg"), ("run/1.avi", "walk/2.avi", "0.avi"), ("1.avi", "2.avi")],
)
def test_one_class_pictures_and_loose_videos_are_left(tmp_path: Path, names: tuple[str, ...]) -> None:
    touch(tmp_path, *names)
    assert recognise_action(tmp_path) is None


def test_a_table_with_classes_comes_before_folders(tmp_path: Path) -> None:
    touch(tmp_path, "run/1.avi", "walk/2.avi")
    (tmp_path / "videos.csv").write_text("path,label,subject\nrun/1.avi,run,a\nwalk/2.avi,walk,b\n")
    assert data_of(tmp_path) == f"video-list:{tmp_path}"


@pytest.mark.parametrize(
    "table",
    ["path,subject\nrun/1.avi,a\n", "path,label\nnowhere/1.avi,run\n", "path,label\n", "", "a\tb\n"],
)
def test_a_table_without_classes_or_videos_leaves_the_folders_to_count(tmp_path: Path, table: str) -> None:
    touch(tmp_path, "run/1.avi", "walk/2.avi")
    (tmp_path / "videos.csv").write_text(table)
    assert data_of(tmp_path) == f"video:{tmp_path}"


def test_of_two_tables_none_counts(tmp_path: Path) -> None:
    touch(tmp_path, "1.avi")
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("path,label\n1.avi,run\n")
    assert recognise_action(tmp_path) is None


def test_the_task_is_registered_with_a_head_of_this_package() -> None:
    module, _, name = plugin.sslkit_tasks()["action"].partition(":")
    assert getattr(importlib.import_module(module), name) is ACTION


def test_the_procedural_measurement_names_a_head_a_protocol_and_data_that_are_there() -> None:
    measured = ACTION.procedural
    assert measured is not None
    assert measured.synthetic
    assert measured.test is not None
    package, _, path = plugin.sslkit_protocols()[measured.protocol].partition(":")
    protocol = parse_protocol((files(package) / path).read_text("utf-8"), measured.protocol)
    assert protocol.head == measured.head in plugin.sslkit_heads()
    assert (protocol.mode, protocol.training["cache"]) == ("frozen", True)
    train, test = (open_source(address) for address in (measured.data, measured.test))
    assert train.classes == test.classes
    assert "slides" in (train.classes or ())
    assert train.fingerprint != test.fingerprint


def test_what_is_found_is_measured_by_a_head_of_this_package(tmp_path: Path) -> None:
    touch(tmp_path, "run/1.avi", "walk/2.avi")
    measured = recognise_action(tmp_path)
    assert measured is not None
    assert measured.head in plugin.sslkit_heads()


@pytest.mark.parametrize("place", ["missing", "empty", "file"])
def test_nothing_is_found_where_nothing_is_and_nothing_is_raised(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert recognise_action(tmp_path / place) is None
