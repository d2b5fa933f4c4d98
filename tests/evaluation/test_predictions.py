"""Predictions on disk, read back by other tools."""

from __future__ import annotations

import csv
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torchvision.datasets._optical_flow import _read_flo

from sslkit.contracts import ClassLabel, ClassSet, FlowField, Meta, Objects, SemanticMap
from sslkit.errors import ConfigError, PluginError
from sslkit.evaluation.predictions import PredictionWriter, run_lengths


def meta(id: int, height: int = 6, width: int = 9) -> Meta:
    return Meta(id, f"a/{id}.jpg", (height, width), (height, width), (16, 16))


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def blobs(seed: int, height: int, width: int) -> torch.Tensor:
    """A mask of any number of runs: empty, full, single pixels, large blobs."""
    draw = np.random.default_rng(seed)
    grain = int(draw.integers(1, 9))
    coarse = draw.random((height // grain + 1, width // grain + 1)) < draw.choice([0, 0.02, 0.5, 0.98, 1])
    return torch.from_numpy(coarse.repeat(grain, 0).repeat(grain, 1)[:height, :width])


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (40, 61), (300, 210)])
def test_run_lengths_are_those_of_pycocotools(size: tuple[int, int]) -> None:
    for seed in range(30):
        mask = blobs(seed, *size)
        written = run_lengths(mask)
        expected = coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
        assert written == {"size": list(size), "counts": expected["counts"].decode()}
        assert np.array_equal(coco_mask.decode(written), mask.numpy())


def test_objects_are_results_of_coco(tmp_path: Path) -> None:
    masks = torch.stack([blobs(1, 6, 9), blobs(2, 6, 9)])
    found = Objects(
        torch.tensor([[1.0, 2.0, 4.5, 5.0], [0.0, 0.0, 9.0, 6.0]]),
        torch.tensor([2, 0]),
        scores=torch.tensor([0.9, 0.25]),
        masks=masks,
    )
    with PredictionWriter(tmp_path / "out") as writer:
        writer.write(meta(5), found)
        writer.write(meta(6), Objects.none())
        writer.write(meta(8), Objects(found.boxes[1:], found.labels[1:]))
    written = json.loads((tmp_path / "out/objects.json").read_text())
    assert [(row["image_id"], row["category_id"], row["bbox"]) for row in written] == [
        (5, 2, [1, 2, 3.5, 3]),
        (5, 0, [0, 0, 9, 6]),
        (8, 0, [0, 0, 9, 6]),
    ]
    assert [row["score"] for row in written] == pytest.approx([0.9, 0.25, 1.0])
    assert np.array_equal(coco_mask.decode(written[1]["segmentation"]), masks[1].numpy())
    assert "segmentation" not in written[2]
    assert rows(tmp_path / "out/samples.csv") == [
        ["id", "name", "width", "height"],
        *([str(id), f"a/{id}.jpg", "9", "6"] for id in (5, 6, 8)),
    ]


def test_no_object_at_all_is_an_empty_list(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path / "out") as writer:
        writer.write(meta(0), Objects.none())
    assert json.loads((tmp_path / "out/objects.json").read_text()) == []


def test_maps_are_grey_pictures_of_labels(tmp_path: Path) -> None:
    labels = torch.randint(0, 256, (6, 9), dtype=torch.uint8)
    with PredictionWriter(tmp_path / "out") as writer:
        writer.write(meta(12), SemanticMap(labels))
    with Image.open(tmp_path / "out/maps/000012.png") as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), labels.numpy())


def test_class_labels_are_a_table_with_their_scores(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path / "scored") as writer:
        writer.write(meta(1), ClassLabel(1, torch.tensor([0.25, 0.75])))
    assert rows(tmp_path / "scored/labels.csv") == [
        ["id", "name", "label", "score 0", "score 1"],
        ["1", "a/1.jpg", "1", "0.25", "0.75"],
    ]
    with PredictionWriter(tmp_path / "bare") as writer:
        writer.write(meta(1), ClassLabel(1))
    assert rows(tmp_path / "bare/labels.csv") == [["id", "name", "label"], ["1", "a/1.jpg", "1"]]


def test_sets_of_classes_are_a_table_with_all_labels_in_one_column(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path / "out") as writer:
        writer.write(meta(1), ClassSet(torch.tensor([True, False, True]), torch.tensor([0.75, 0.1, 0.625])))
        writer.write(meta(2), ClassSet(torch.zeros(3, dtype=torch.bool), torch.tensor([0.25, 0.1, 0.5])))
    assert rows(tmp_path / "out/labels.csv") == [
        ["id", "name", "labels", "score 0", "score 1", "score 2"],
        ["1", "a/1.jpg", "0 2", "0.75", "0.1", "0.625"],
        ["2", "a/2.jpg", "", "0.25", "0.1", "0.5"],
    ]


def test_flow_is_middleburys_format(tmp_path: Path) -> None:
    vectors = torch.randn(2, 6, 9)
    valid = torch.ones(6, 9, dtype=torch.bool)
    valid[2, 3] = False
    with PredictionWriter(tmp_path / "out") as writer:
        writer.write(meta(3), FlowField(vectors, valid))
    content = (tmp_path / "out/flow/000003.flo").read_bytes()
    tag, width, height = struct.unpack("<fii", content[:12])
    assert (tag, width, height) == (202021.25, 9, 6)
    for y in range(6):
        for x in range(9):
            u, v = struct.unpack_from("<ff", content, 12 + 8 * (y * 9 + x))
            if (y, x) == (2, 3):
                assert min(u, v) > 1e9
            else:
                assert (u, v) == (vectors[0, y, x].item(), vectors[1, y, x].item())
    assert len(content) == 12 + 8 * 54


@pytest.mark.parametrize("known", [True, False])
def test_flow_is_read_by_torchvision(tmp_path: Path, known: bool) -> None:
    vectors = torch.randn(2, 5, 7)
    valid = None if known else torch.arange(35).view(5, 7) % 3 > 0
    with PredictionWriter(tmp_path / "out") as writer:
        writer.write(meta(3, 5, 7), FlowField(vectors, valid))
    read = torch.from_numpy(np.array(_read_flo(str(tmp_path / "out/flow/000003.flo"))))
    expected = vectors if valid is None else torch.where(valid, vectors, 1e10)
    assert torch.equal(read, expected)


def test_several_views_of_a_sample_are_told_apart(tmp_path: Path) -> None:
    class Depth:
        def to_json(self) -> float:
            return 1.5

    metas = [replace(meta(id), view=view) for id in (4, 5) for view in (0, 1)]
    found = Objects(torch.tensor([[0.0, 0.0, 9.0, 6.0]]), torch.tensor([1]))
    with PredictionWriter(tmp_path / "out", views=2) as writer:
        for one in metas:
            writer.write(one, ClassLabel(one.view, torch.tensor([0.25, 0.75])))
            writer.write(one, FlowField(torch.zeros(2, 6, 9)))
            writer.write(one, SemanticMap(torch.zeros(6, 9, dtype=torch.uint8)))
            writer.write(one, Depth())
            writer.write(one, found)
    places = [("4", "0"), ("4", "1"), ("5", "0"), ("5", "1")]
    assert rows(tmp_path / "out/labels.csv") == [
        ["id", "name", "view", "label", "score 0", "score 1"],
        *([id, f"a/{id}.jpg", view, view, "0.25", "0.75"] for id, view in places),
    ]
    for kind, suffix in (("flow", "flo"), ("maps", "png")):
        names = sorted(path.name for path in (tmp_path / "out" / kind).iterdir())
        assert names == [f"00000{id}-{view}.{suffix}" for id, view in places]
    lines = (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    assert [(str(row["id"]), str(row["view"])) for row in map(json.loads, lines)] == places
    written = json.loads((tmp_path / "out/objects.json").read_text())
    assert [(str(row["image_id"]), str(row["view"])) for row in written] == places
    assert {row[0] for row in rows(tmp_path / "out/samples.csv")} == {"id", "4", "5"}
    with PredictionWriter(tmp_path / "labels", views=2) as writer:
        for one in metas:
            writer.write(one, ClassLabel(0))
    assert [row[0] for row in rows(tmp_path / "labels/samples.csv")] == ["id", "4", "5"]


def test_anything_else_writes_itself_as_json(tmp_path: Path) -> None:
    class Depth:
        def to_json(self) -> Any:
            return {"metres": [1.5, 2.0]}

    with PredictionWriter(tmp_path / "out") as writer:
        writer.write(meta(1), Depth())
        writer.write(meta(2), Depth())
    lines = (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": id, "name": f"a/{id}.jpg", "prediction": {"metres": [1.5, 2.0]}} for id in (1, 2)
    ]


def test_what_cannot_be_written_names_its_mend(tmp_path: Path) -> None:
    with (
        pytest.raises(PluginError, match=r"of type object cannot be written; give it a method to_json\(\)"),
        PredictionWriter(tmp_path / "out") as writer,
    ):
        writer.write(meta(1), object())
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path / "out") as writer:
        writer.write(meta(1), ClassLabel(1))
    writer = PredictionWriter(tmp_path / "out")
    writer.__enter__()
    writer.write(meta(2), ClassLabel(0))
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert rows(tmp_path / "out/labels.csv")[1][0] == "1"


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    for prediction in (ClassLabel(1), SemanticMap(torch.zeros(6, 9, dtype=torch.uint8))):
        with PredictionWriter(tmp_path / "deep/out") as writer:
            writer.write(meta(1), prediction)
    assert sorted(path.name for path in (tmp_path / "deep/out").iterdir()) == ["maps", "samples.csv"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_a_place_that_is_no_use_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(ConfigError, match=r"cannot write .*file/out: Not a directory; choose another place"),
        PredictionWriter(tmp_path / "file/out"),
    ):
        pass
