"""Curation from an index to files: what is told, tabled, drawn and listed, on photos with planted faults."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import ConfigError, DataError
from sslkit.registry import open_source
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.retrieval.filters import Where
from sslkit.runs.curate import duplicates, mislabelled, outliers
from sslkit.runs.curated import Wanted
from sslkit.runs.survey import clusters, diverse, leakage

CLASSES = ("blue", "green", "red")


def planted(folder: Path) -> Path:
    """30 plain photos in three classes; red/00 is in red twice, green/09 lies among the blue ones."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        for number in range(10):
            pixels = np.zeros((24, 24, 3), np.uint8)
            pixels[..., 2 - label] = 200
            fields = generator.integers(0, 50, (3, 3, 3), dtype=np.uint8)
            pixels += fields.repeat(8, 0).repeat(8, 1)
            place = folder / name / f"{number:02}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place)
    shutil.move(folder / "green" / "09.png", folder / "blue" / "wrong.png")
    shutil.copy(folder / "red" / "00.png", folder / "red" / "copy.png")
    return folder


def indexed(place: Path, data: str, **changed: Any) -> Path:
    """An index of the mean colours of 3 x 3 fields: a model that needs no network."""
    source = open_source(data)
    rows = []
    for number in range(len(source)):
        content = source[number].content
        pixels = np.asarray(Image.open(content) if isinstance(content, Path) else content, np.float32)
        fields = pixels[: pixels.shape[0] // 3 * 3, : pixels.shape[1] // 3 * 3]
        fields = fields.reshape(3, fields.shape[0] // 3, 3, fields.shape[1] // 3, 3).mean((1, 3))
        rows.append(fields.ravel())
    given: dict[str, Any] = {
        "vectors": np.stack(rows).astype(np.float32),
        "ids": np.arange(len(source), dtype=np.int64),
        "names": [source[number].name for number in range(len(source))],
        "labels": np.full(len(source), -1, np.int64) if source.labels is None else source.labels,
        "model_hash": "colours",
        "classes": tuple(source.classes),
        "preprocessing": {"mean": [0, 0, 0]},
        "address": data,
    }
    Index.build(EmbeddingSet(**{**given, **changed}), place).close()
    return place


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `photos` and `index`; the photos must be there unchanged after all tests."""
    folder = tmp_path_factory.mktemp("curate")
    photos = planted(folder / "photos")
    before = {path: path.read_bytes() for path in sorted(photos.rglob("*.png"))}
    indexed(folder / "index", str(photos))
    yield folder
    assert {path: path.read_bytes() for path in sorted(photos.rglob("*.png"))} == before


def written(place: Path, *, apply: bool = True) -> Wanted:
    return Wanted(place / "out", place / "keep.txt" if apply else None, progress=False)


def files(place: Path) -> tuple[dict[str, Any], list[dict[str, str]], str]:
    with (place / "out" / "items.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    facts = json.loads((place / "out" / "findings.json").read_text())
    return facts, table, (place / "out" / "gallery.html").read_text()


def listed(place: Path) -> list[str]:
    """Names of what a list holds, read as DATA."""
    source = open_source(str(place / "keep.txt"))
    return [str(source[number].content).split("photos/")[1] for number in range(len(source))]


def test_duplicates_leave_one_of_each_group(made: Path, tmp_path: Path) -> None:
    found = duplicates(made / "index", threshold=1.0, keep="first", wanted=written(tmp_path))
    facts, table, gallery = files(tmp_path)
    assert facts["groups"] == found.facts["groups"] == 1
    assert [(row["path"], row["kept"], row["group"]) for row in table] == [
        ("red/00.png", "True", "1"),
        ("red/copy.png", "False", "1"),
    ]
    assert table[1]["label"] == "red"
    assert gallery.count("<img") == 2
    assert "sslkit transfer" in gallery
    assert len(listed(tmp_path)) == 30
    assert "red/copy.png" not in listed(tmp_path)
    assert found.to_text().splitlines()[-1] == f"wrote {tmp_path / 'keep.txt'}, a list of 30 images"


def test_a_list_is_data_with_the_same_labels(made: Path, tmp_path: Path) -> None:
    duplicates(made / "index", threshold=1.0, wanted=written(tmp_path))
    source = open_source(str(tmp_path / "keep.txt"))
    assert tuple(source.classes) == CLASSES
    for number in range(len(source)):
        item = source[number]
        assert isinstance(item.content, Path)
        assert item.label is not None
        assert item.content.parent.name == source.classes[item.label]
        assert item.content.is_file()


def test_the_odd_colour_is_the_outlier(made: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(made / "photos", photos)
    Image.fromarray(np.indices((24, 24)).sum(0).astype(np.uint8) * 5).convert("RGB").save(
        photos / "red" / "odd.png"
    )
    index = indexed(tmp_path / "index", str(photos))
    found = outliers(index, k=4, share=0.03, wanted=written(tmp_path))
    _, table, gallery = files(tmp_path)
    assert [row["path"] for row in table] == ["red/odd.png"]
    assert "red/odd.png" in gallery
    assert "red/odd.png" not in listed(tmp_path)
    assert len(listed(tmp_path)) == 31
    assert found.facts["score, largest"] > 2 * found.facts["score, median"]


def test_the_planted_wrong_label_comes_first(made: Path, tmp_path: Path) -> None:
    found = mislabelled(made / "index", k=5, wanted=written(tmp_path))
    facts, table, gallery = files(tmp_path)
    assert [(row["path"], row["label"], row["suggested"]) for row in table] == [
        ("blue/wrong.png", "blue", "green")
    ]
    assert facts["most confused"] == {"blue -> green": 1}
    assert "blue, or green?" in gallery
    assert "blue/wrong.png" not in listed(tmp_path)
    assert found.lines[0].startswith("1.000  blue -> green")


def test_labels_are_needed_to_doubt_them(tmp_path: Path) -> None:
    photos = planted(tmp_path / "photos") / "red"
    index = indexed(tmp_path / "index", str(photos))
    with pytest.raises(DataError, match="no item that is meant has a label"):
        mislabelled(index, wanted=Wanted(progress=False))


def test_leakage_between_indexes_and_parts(made: Path, tmp_path: Path) -> None:
    some = tmp_path / "photos"
    (some / "x").mkdir(parents=True)
    (some / "y").mkdir()
    shutil.copy(made / "photos" / "red" / "03.png", some / "x" / "stolen.png")
    Image.effect_noise((24, 24), 90).convert("RGB").save(some / "y" / "own.png")
    other = indexed(tmp_path / "other", str(some))
    found = leakage(made / "index", other, threshold=1.0, wanted=written(tmp_path))
    facts, table, gallery = files(tmp_path)
    assert [(row["path"], row["other path"], row["other label"]) for row in table] == [
        ("red/03.png", "x/stolen.png", "x")
    ]
    assert (facts["leaked"], facts["leaked from"]["0.9"]) == (1, found.facts["leaked from"]["0.9"])
    assert gallery.count("<img") == 2
    assert "red/03.png" not in listed(tmp_path)
    assert len(listed(tmp_path)) == 30
    red, copy = Where(sql="path LIKE 'red/0%'"), Where(path="red/copy.png")
    parts = leakage(made / "index", threshold=1.0, where=red, other_where=copy, wanted=Wanted(progress=False))
    assert [(row["path"], row["other path"]) for row in parts.rows] == [("red/00.png", "red/copy.png")]
    assert len(parts.keep) == 9


def test_clusters_are_listed_as_classes(made: Path, tmp_path: Path) -> None:
    found = clusters(made / "index", wanted=written(tmp_path))
    facts, table, gallery = files(tmp_path)
    assert facts["clusters"] == 3  # chosen
    assert facts["purity"] == pytest.approx(30 / 31)
    assert facts["normalised mutual information"] > 0.8
    assert [row["items"] for row in found.rows] == [11, 10, 10]
    assert len(table) == 31
    assert gallery.count("<img") == 31
    source = open_source(str(tmp_path / "keep.txt"))
    assert tuple(source.classes) == ("cluster-0", "cluster-1", "cluster-2")
    assert np.bincount(source.labels).tolist() == [11, 10, 10]


def test_a_diverse_choice_has_every_class_and_its_curve(made: Path, tmp_path: Path) -> None:
    found = diverse(made / "index", count=3, wanted=written(tmp_path))
    facts, table, gallery = files(tmp_path)
    assert facts["classes"] == facts["classes, all"] == 3
    assert facts["radius"] < facts["radius, random"]
    assert [int(row["rank"]) for row in table] == [1, 2, 3]
    assert listed(tmp_path) == [row["path"] for row in table]  # in the order of choosing
    assert "<svg" in gallery
    assert found.lines[0].split()[:2] == ["chosen", "radius"]
    assert len(found.lines) == 4  # 1, 2 and 3 chosen


def test_conditions_limit_what_is_looked_at(made: Path) -> None:
    where = Where(label="green")
    quiet = Wanted(progress=False)
    assert duplicates(made / "index", where=where, wanted=quiet).facts["items"] == 9
    assert outliers(made / "index", k=2, where=where, wanted=quiet).facts["items"] == 9
    assert clusters(made / "index", count=2, where=where, wanted=quiet).facts["items"] == 9
    assert diverse(made / "index", count=2, where=where, wanted=quiet).facts["items"] == 9


def test_places_that_are_taken_are_refused_before_any_work(made: Path, tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"keep\.txt exists and would be lost"):
        outliers(made / "index", k=1000, wanted=Wanted(apply=tmp_path / "keep.txt"))
    with pytest.raises(ConfigError, match="exists and would be lost"):
        outliers(made / "index", k=1000, wanted=Wanted(out=tmp_path))
    with pytest.raises(ConfigError, match=r"must end in \.txt"):
        outliers(made / "index", k=1000, wanted=Wanted(apply=tmp_path / "keep.csv"))
    assert (tmp_path / "keep.txt").read_text() == "mine"
    again = Wanted(apply=tmp_path / "keep.txt", overwrite=True, progress=False)
    duplicates(made / "index", threshold=1.0, wanted=again)
    assert open_source(str(tmp_path / "keep.txt")).classes == CLASSES


def test_a_folder_that_holds_more_is_never_replaced(made: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match=r"thesis\.tex"):
        duplicates(made / "index", wanted=Wanted(out=tmp_path, overwrite=True, progress=False))
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_findings_are_told_when_the_photos_are_gone(tmp_path: Path) -> None:
    photos = planted(tmp_path / "photos")
    index = indexed(tmp_path / "index", str(photos))
    shutil.rmtree(photos)
    found = duplicates(index, threshold=1.0, wanted=written(tmp_path, apply=False))
    assert found.facts["groups"] == 1
    assert files(tmp_path)[2].count("no picture") == 2
    with pytest.raises(DataError, match="cannot be opened"):
        duplicates(index, threshold=1.0, wanted=Wanted(apply=tmp_path / "keep.txt", progress=False))
    assert not (tmp_path / "keep.txt").exists()


def test_to_json_is_plain(made: Path) -> None:
    for found in (
        duplicates(made / "index", wanted=Wanted(progress=False)),
        outliers(made / "index", k=3, method="lof", wanted=Wanted(progress=False)),
        mislabelled(made / "index", k=3, wanted=Wanted(progress=False)),
        clusters(made / "index", wanted=Wanted(progress=False)),
        diverse(made / "index", count=2, wanted=Wanted(progress=False)),
    ):
        plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert plain["question"] == found.question
        assert len(plain["findings"]) == len(found.rows)


def test_the_share_of_doubts_is_a_limit(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "photos", tmp_path / "photos")
    for number in range(3):
        shutil.move(
            tmp_path / "photos" / "red" / f"{number:02}.png", tmp_path / "photos" / "green" / f"x{number}.png"
        )
    index = indexed(tmp_path / "index", str(tmp_path / "photos"))
    found = mislabelled(index, k=5, share=0.06, wanted=Wanted(progress=False))
    assert found.facts["doubtful"] > 2
    assert found.facts["listed"] == len(found.rows) == 2
    assert len(found.keep) == 29
    assert not found.notes


def test_what_makes_an_answer_doubtful_is_noted(made: Path, tmp_path: Path) -> None:
    found = duplicates(made / "index", threshold=0.5, wanted=written(tmp_path, apply=False))
    assert "would be left out: this model may see different photos alike" in found.notes[0]
    assert "note: " in found.to_text()
    assert 'class="warning"' in files(tmp_path)[2]
    labels = np.arange(31) % 2
    index = indexed(tmp_path / "index", str(made / "photos"), labels=labels, classes=("a", "b"))
    doubts = mislabelled(index, wanted=Wanted(progress=False))
    assert "hardly tells the classes apart" in doubts.notes[0]
