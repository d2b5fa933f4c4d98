"""Which tasks a transfer matrix has: all there are on generated data, a file's, or those of one's folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.config.suite import Suite
from sslkit.contracts import Probe
from sslkit.data.moving_shapes import write_videos
from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit.registry import builtin, lookup, names, open_source
from sslkit.registry.protocols import load_protocol
from sslkit.runs.head_evaluation import choose_head
from sslkit.runs.probing import choose_probe
from sslkit.runs.splits import open_splits
from sslkit.runs.suites import load_suite

GIVES = """
from sslkit.hookspecs import hookimpl
SSLKIT_API = 1
@hookimpl
def sslkit_tasks():
    return {tasks!r}
"""
GOOD = """
from sslkit.contracts import Measurement, TransferTask
def recognise(folder):
    \"\"\"A file called stripes.\"\"\"
    if folder.name == "locked":
        raise RuntimeError("no key")
    return Measurement("stripes", str(folder)) if (folder / "stripes").is_file() else None
STRIPES = TransferTask(Measurement("knn", "shapes:count=20", domain="stripes", synthetic=True), recognise)
ONLY_FOLDERS = TransferTask(None, recognise)
WRONG = TransferTask(Measurement("knn", data=7), lambda folder: "stripes")
SOMETHING = "else"
"""

Give = Callable[..., None]


@pytest.fixture
def give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Give]:
    """Lays down a plugin beside the installed ones that gives tasks by name."""
    real = lookup.entry_points
    placed = tmp_path / "placed"
    placed.mkdir()
    monkeypatch.syspath_prepend(str(placed))
    monkeypatch.setenv("SSLKIT_CONFIG", str(tmp_path / "settings"))
    (placed / "sslkit_given_tasks.py").write_text(GOOD, encoding="utf-8")
    entries: list[EntryPoint] = []
    monkeypatch.setattr(lookup, "entry_points", lambda group: [*real(group=group), *entries])

    def lay_down(plugin: str, **tasks: str) -> None:
        module = f"sslkit_given_{plugin}"
        (placed / f"{module}.py").write_text(
            GIVES.format(tasks={name.replace("_", "-"): address for name, address in tasks.items()})
        )
        entries.append(EntryPoint(plugin, module, "sslkit.plugins"))
        lookup.loaded.cache_clear()

    yield lay_down
    lookup.loaded.cache_clear()
    for module in [name for name in sys.modules if name.startswith("sslkit_given_")]:
        del sys.modules[module]


class Told:
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)


def test_a_plugins_task_is_part_of_the_procedural_suite(give: Give) -> None:
    before = load_suite("procedural")
    give("aardvark", stripes="sslkit_given_tasks:STRIPES", in_folders="sslkit_given_tasks:ONLY_FOLDERS")
    suite = load_suite("procedural")
    own = list(builtin.sslkit_tasks())
    assert list(suite.tasks) == [*own, "stripes", *(name for name in before.tasks if name not in own)]
    assert suite.measurements["stripes"].domain == "stripes"
    assert suite.hash != before.hash
    assert (suite.id, suite.version) == ("procedural", before.version)


def test_the_procedural_suite_is_discovered_and_the_built_in_tasks_come_first_in_their_order() -> None:
    suite = load_suite("procedural")
    own = list(builtin.sslkit_tasks())
    assert list(suite.tasks)[: len(own)] == own
    assert set(suite.tasks) == {
        name for name in names("task") if lookup.resolve("task", name).procedural is not None
    }


@pytest.mark.parametrize("name", builtin.sslkit_tasks())
def test_a_built_in_task_can_be_measured_as_it_is(name: str) -> None:
    measured = load_suite("procedural").measurements[name]
    protocol, probe = choose_probe(measured.head, measured.protocol or None, measured.settings)
    assert protocol.head == measured.head
    kind: type[Probe] = type(probe)
    splits = open_splits(measured.data, measured.test, fitted=kind.fitted, target=kind.target)
    assert (splits.train is not None) == kind.fitted
    if splits.train is not None:
        assert splits.train.fingerprint != splits.test.fingerprint
    assert measured.synthetic
    assert measured.domain


def test_every_task_has_a_head_its_protocol_and_data_that_need_no_download() -> None:
    for name, measured in load_suite("procedural").measurements.items():
        if measured.head in names("probe"):
            continue
        _, protocol = choose_head(measured.head, measured.protocol or None, measured.settings)
        assert protocol.mode == "frozen", name
        assert protocol.training is not None
        assert protocol.training["cache"] is True, f"{name} would ask the backbone in every step"
        assert open_source(measured.data).fingerprint != open_source(measured.test or "").fingerprint
        assert load_protocol(measured.protocol).id == measured.protocol


def test_a_plugins_broken_task_costs_itself_alone(give: Give) -> None:
    before = load_suite("procedural")
    give(
        "zebra",
        stripes="sslkit_given_tasks:STRIPES",
        gone="sslkit_given_tasks:GONE",
        missing="sslkit_given_nowhere:TASK",
        wrong="sslkit_given_tasks:WRONG",
        something="sslkit_given_tasks:SOMETHING",
    )
    told = Told()
    assert list(load_suite("procedural", say=told).tasks) == [*before.tasks, "stripes"]
    assert len(told.lines) == 4
    for task in ("gone", "missing", "wrong", "something"):
        assert sum(f"'{task}'" in line for line in told.lines) == 1, told.lines


def test_a_task_that_bears_a_built_ins_name_is_called_by_its_plugin_too(give: Give) -> None:
    give("zebra", knn="sslkit_given_tasks:STRIPES")
    suite = load_suite("procedural")
    assert suite.measurements["zebra-knn"].domain == "stripes"
    assert next(iter(suite.tasks)) == "knn"
    assert list(suite.tasks)[-1] == "zebra-knn"


def test_what_is_left_out_is_said_on_stderr(give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    give("zebra", gone="sslkit_given_tasks:GONE")
    load_suite("procedural")
    out, err = capsys.readouterr()
    assert err.startswith("sslkit: left out: task 'gone' of plugin 'zebra'")
    assert out == ""


def test_a_file_is_a_suite_and_its_data_are_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("{id: mine, version: 1, tasks: {cars: {head: built-in:knn, data: here/not}}}")
    suite = load_suite(str(file))
    assert suite.measurements["cars"].data == "here/not"
    assert str(suite).startswith("mine@")


def test_an_unknown_head_in_a_file_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("{id: mine, version: 1, tasks: {cars: {head: linaer, data: cars}}}")
    with pytest.raises(
        UnknownNameError, match=r"unknown head or probe 'linaer'; did you mean 'linear'.*'cars'"
    ):
        load_suite(str(file))


@pytest.mark.parametrize("name", ["proceduarl", "missing/folder", ""])
def test_what_is_neither_is_refused_with_what_there_is(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it is 'procedural', a \.yaml file of tasks, or a folder"):
        load_suite(name or str(tmp_path / "a.txt"))


def draw(path: Path, *, size: int = 24, grey: int | None = None) -> None:
    """A picture, or a mask of two classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(0, 255, (size, size, 3), np.uint8)
    if grey is None:
        Image.fromarray(pixels).save(path)
    else:
        mask = np.zeros((size, size), np.uint8)
        mask[: size // 2] = grey
        Image.fromarray(mask).save(path)


def coco(path: Path, images: list[str]) -> None:
    """Boxes in pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {
                "images": [
                    {"id": i, "file_name": name, "width": 24, "height": 24} for i, name in enumerate(images)
                ],
                "categories": [{"id": 1, "name": "thing"}],
                "annotations": [
                    {"id": i, "image_id": i, "category_id": 1, "bbox": [2, 2, 9, 9]}
                    for i in range(len(images))
                ],
            }
        )
    )


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos by class, persons, scenes with masks, boxes, videos and something else."""
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "my data"
    for split, count in (("train", 12), ("test", 3)):
        for name in ("cat", "dog"):
            for number in range(count):
                draw(root / "photos" / split / name / f"{number}.png")
    for person in range(9):
        for number in range(3):
            draw(root / "Our people" / f"p{person}" / f"{number}.png")
    for number in range(4):
        draw(root / "scenes" / "images" / f"{number}.png")
        draw(root / "scenes" / "labels" / f"{number}.png", grey=1)
        draw(root / "boxes" / "images" / f"{number}.png")
    coco(root / "boxes" / "boxes.json", [f"{number}.png" for number in range(4)])
    write_videos(root / "videos", videos=20, seconds=1.0, size=16, rate=10, seed=0)
    (root / "papers").mkdir()
    (root / "papers" / "notes.txt").write_text("nothing to see\n")
    return root


def test_each_subfolder_of_a_folder_is_recognised_and_can_be_opened_as_that(mine: Path) -> None:
    told = Told()
    suite = load_suite(str(mine), say=told)
    of_classes = ["knn", "linear", "few-shot", "label-efficiency"]
    of_persons = ["verification", "identification", "retrieval"]
    assert list(suite.tasks) == [
        *(f"Our-people-{name}" for name in ["knn", "linear", *of_persons]),
        "boxes-detection",
        *(f"photos-{name}" for name in of_classes),
        "scenes-segmentation",
        "videos-action",
    ]
    assert suite.id == "my-data"
    assert len(told.lines) == len(suite.tasks)
    assert f"photos-knn: knn on {mine}/photos (your own data)" in told.lines
    kinds = {"boxes-detection": "boxes", "scenes-segmentation": "semantic"}
    for name, measured in suite.measurements.items():
        source = open_source(measured.data, whole_videos=name.startswith("videos"))
        assert len(source) > 3
        if name in kinds:
            assert getattr(source, "target_kind", None) == kinds[name]
            assert source.problems() == []  # type: ignore[attr-defined]
        else:
            assert source.labels is not None
            assert not measured.synthetic
    assert bool(getattr(open_source(suite.measurements["videos-action"].data), "video", False))


def test_a_folder_that_is_a_set_itself_is_named_by_tasks_alone_and_its_parts_are_no_sets(mine: Path) -> None:
    suite = load_suite(str(mine / "photos"))
    assert list(suite.tasks) == ["knn", "linear", "few-shot", "label-efficiency"]
    assert {measured.data for measured in suite.measurements.values()} == {str(mine / "photos")}


def test_a_folder_in_which_nothing_is_found_is_told_what_each_task_looks_for(mine: Path, give: Give) -> None:
    give("zebra", stripes="sslkit_given_tasks:STRIPES")
    with pytest.raises(DataError) as caught:
        load_suite(str(mine / "papers"))
    told = str(caught.value)
    for name in names("task"):
        assert f"\n  {name}: " in told
    assert "\n  stripes: A file called stripes." in told
    assert "write a suite file" in told


def test_a_plugin_recognises_its_own_and_one_that_raises_costs_its_own(mine: Path, give: Give) -> None:
    give("zebra", stripes="sslkit_given_tasks:STRIPES", wrong="sslkit_given_tasks:WRONG")
    (mine / "papers" / "stripes").touch()
    (mine / "locked").mkdir()
    told = Told()
    suite = load_suite(str(mine), say=told)
    assert suite.measurements["papers-stripes"].head == "stripes"
    assert "videos-action" in suite.tasks
    assert any("'stripes' left out of" in line and "RuntimeError: no key" in line for line in told.lines)
    assert not any("wrong" in name for name in suite.tasks)


def test_two_folders_that_become_one_name_keep_two_tasks(mine: Path) -> None:
    for name in ("a b", "a-b"):
        for label in ("x/1.png", "x/2.png", "y/1.png", "y/2.png"):
            draw(mine / "twins" / name / label)
    assert list(load_suite(str(mine / "twins")).tasks) == ["a-b-knn", "a-b-knn-2"]


def test_a_suite_of_a_folder_is_written_and_read_back(mine: Path, tmp_path: Path) -> None:
    suite = load_suite(str(mine))
    file = tmp_path / "again.yaml"
    file.write_text(suite.to_yaml(), encoding="utf-8")
    again = load_suite(str(file))
    assert isinstance(again, Suite)
    assert again == suite
