"""A suite is read whole or refused with every wrong key, its line and the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslkit.config.suite import Suite, parse_suite, read_suite
from sslkit.contracts import Measurement
from sslkit.errors import ConfigError

TEXT = """
id: mine
version: 2
tasks:
  cars: {head: knn, data: photos/cars}
  boxes:
    head: retinanet
    data: train.json
    test: val.json
    transfer_to: night.json
    protocol: fcos-frozen
    settings: [training.steps=50, mode=finetune]
    domain: roads
    synthetic: true
"""


def refused(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_suite(text, "suite my.yaml")
    return str(caught.value).splitlines()


def test_each_task_is_a_measurement_in_the_order_of_the_file() -> None:
    suite = parse_suite(TEXT, "here")
    assert suite.measurements == {
        "cars": Measurement("knn", "photos/cars"),
        "boxes": Measurement(
            "retinanet",
            "train.json",
            test="val.json",
            transfer_to="night.json",
            protocol="fcos-frozen",
            settings=("training.steps=50", "mode=finetune"),
            domain="roads",
            synthetic=True,
        ),
    }
    assert list(suite.measurements) == ["cars", "boxes"]
    assert suite.resamples == 200


def test_measurements_make_a_suite_that_gives_them_back() -> None:
    suite = parse_suite(TEXT, "here")
    again = Suite.of("mine", 2, suite.measurements)
    assert again == suite
    assert again.measurements == suite.measurements


def test_what_is_written_is_read_back_equal_and_in_order() -> None:
    suite = parse_suite(TEXT.replace("version: 2", "version: 2\nresamples: 50"), "here")
    again = parse_suite(suite.to_yaml(), "there")
    assert again == suite
    assert again.resamples == 50
    assert list(again.tasks) == list(suite.tasks)
    assert str(again) == str(suite)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 2", "version: 3"),
        ("id: mine", "id: yours"),
        ("version: 2", "version: 2\nresamples: 100"),
        ("photos/cars", "photos/vans"),
        ("cars:", "vans:"),
        ("steps=50", "steps=51"),
        ("night", "day"),
        ("true", "false"),
    ],
)
def test_the_hash_tells_apart_all_that_is_measured(old: str, new: str) -> None:
    assert old in TEXT
    assert parse_suite(TEXT.replace(old, new), "x").hash != parse_suite(TEXT, "x").hash


def test_the_hash_is_not_of_the_order_or_of_defaults_that_are_spelt_out() -> None:
    one = parse_suite("{id: a, version: 1, tasks: {x: {head: h, data: d}, y: {head: h, data: e}}}", "")
    other = parse_suite(
        "{tasks: {y: {data: e, head: h, settings: []}, x: {head: h, data: d}}, version: 1, "
        "resamples: 200, id: a}",
        "",
    )
    assert str(one) == str(other) == f"a@{one.hash}"
    assert len(one.hash) == 12


def test_an_unknown_key_is_told_with_its_line_and_the_nearest_name() -> None:
    lines = refused("id: a\nversion: 1\ntasks:\n  cars:\n    haed: knn\n    data: d\n")
    assert lines == [
        "tasks.cars.haed: unknown key; did you mean 'head'? (suite my.yaml, line 5)",
        "tasks.cars.head: Field required (suite my.yaml, line 4)",
    ]
    (line,) = refused("id: a\nverson: 1\nversion: 1\ntasks: {a: {head: h, data: d}}")
    assert line == "verson: unknown key; did you mean 'version'? (suite my.yaml, line 2)"


def test_every_wrong_task_is_told_and_the_head_of_the_file_with_them() -> None:
    lines = refused("version: one\ntasks:\n  a: knn\n  b: {head: h, data: 3}\n  c: {head: h, data: d}\n")
    assert [line.partition(":")[0] for line in lines] == ["id", "version", "tasks.a", "tasks.b.data"]
    assert "'knn' is no task; write {head: knn, data: photos/cars} (suite my.yaml, line 3)" in lines[2]


@pytest.mark.parametrize("tasks", ["", "tasks:", "tasks: {}"])
def test_a_suite_without_tasks_is_refused(tasks: str) -> None:
    assert refused(f"id: a\nversion: 1\n{tasks}")[0].startswith("tasks: ")


@pytest.mark.parametrize("tasks", ["[knn, linear]", "knn"])
def test_tasks_that_have_no_names_are_refused(tasks: str) -> None:
    (line,) = refused(f"id: a\nversion: 1\ntasks: {tasks}")
    assert "'tasks' maps names to tasks" in line


@pytest.mark.parametrize("name", ["a b", "../up", "a/b", "-x", "a:b", ".hidden"])
def test_a_name_that_is_none_of_a_folder_is_refused(name: str) -> None:
    (line,) = refused(f"id: a\nversion: 1\ntasks: {{'{name}': {{head: h, data: d}}}}")
    assert f"'{name}' is no name of a folder" in line


def test_names_that_differ_in_case_alone_are_refused() -> None:
    (line,) = refused("id: a\nversion: 1\ntasks: {Cars: {head: h, data: d}, cars: {head: h, data: d}}")
    assert "some disks tell no case apart" in line


def test_a_task_given_twice_is_refused() -> None:
    (line,) = refused("id: a\nversion: 1\ntasks:\n  a: {head: h, data: d}\n  a: {head: h, data: d}")
    assert "line 5" in line
    assert "key 'a' is given twice" in line


def test_a_file_is_read_and_a_missing_one_refused(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(TEXT, encoding="utf-8")
    assert read_suite(file) == parse_suite(TEXT, "x")
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read"):
        read_suite(tmp_path / "none.yaml")
