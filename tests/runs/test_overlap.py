"""Test samples that a run has seen before are found, and told in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.data.sources.scenes import ScenesSource
from sslkit.data.sources.shapes import ShapesSource
from sslkit.evaluation.transfer_results import Overlap
from sslkit.registry import open_source
from sslkit.runs.overlap import describe, overlap_of


def run_on(folder: Path, data: str) -> Path:
    """A RUN folder, as far as its recipe goes."""
    folder.mkdir()
    (folder / "config.yaml").write_text(f"data: {data}\n", encoding="utf-8")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve scenes as files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for id, image in enumerate(ScenesSource(count=12, size=64).read_many(np.arange(12))):
        Image.fromarray(image).save(folder / f"{id:02d}.png")
    return folder


@pytest.fixture
def judged(photos: Path, tmp_path: Path) -> Path:
    """Four scenes: two of those, saved again as JPEG, one of them mirrored, and two others."""
    folder = tmp_path / "judged"
    folder.mkdir()
    Image.open(photos / "03.png").save(folder / "a.jpg", quality=60)
    Image.open(photos / "07.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "b.jpg")
    for id, image in enumerate(ScenesSource(count=2, size=64, split="test").read_many(np.arange(2))):
        Image.fromarray(image).save(folder / f"c{id}.png")
    return folder


def test_samples_seen_in_pretraining_are_found(photos: Path, judged: Path, tmp_path: Path) -> None:
    run = run_on(tmp_path / "run", f"{{path: {photos}}}")
    found = overlap_of(run, open_source(str(judged)), subject="mine", task="knn", progress=False)
    assert (found.subject, found.task, found.share, found.reason) == ("mine", "knn", 0.5, None)
    assert [twin[:2] for twin in found.twins] == [("a.jpg", "03.png"), ("b.jpg", "07.png")]
    assert all(0.9 <= near <= 1 for _, _, near in found.twins)
    told = describe(found)
    assert told.startswith("mine, knn: 2 test samples were seen in pretraining, or nearly (50.0 %)")
    assert "a.jpg looks like 03.png (" in told


def test_all_places_of_a_mixture_are_looked_at(photos: Path, judged: Path, tmp_path: Path) -> None:
    mix = f"{{mix: [{{path: 'shapes:count=20,size=32'}}, {{path: {photos}}}]}}"
    found = overlap_of(
        run_on(tmp_path / "run", mix), open_source(str(judged)), subject="mine", task="knn", progress=False
    )
    assert len(found.twins) == 2


def test_the_other_split_of_generated_data_is_another_set(tmp_path: Path) -> None:
    run = run_on(tmp_path / "run", "{path: 'scenes:count=200,size=32'}")
    other = overlap_of(
        run, ScenesSource(count=50, size=32, split="test"), subject="mine", task="knn", progress=False
    )
    assert other == Overlap("mine", "knn")
    assert describe(other) == ""
    same = overlap_of(
        run, ScenesSource(count=50, size=32, split="train"), subject="mine", task="knn", progress=False
    )
    assert same.share == 1.0


def test_it_says_why_it_cannot_know(tmp_path: Path) -> None:
    test = ShapesSource(count=20)
    gone = overlap_of(
        run_on(tmp_path / "run", "{path: /nowhere/at/all}"), test, subject="mine", task="knn", progress=False
    )
    assert gone.reason is not None
    assert "/nowhere/at/all" in gone.reason
    assert gone.twins == ()
    assert describe(gone).startswith("mine, knn: overlap with the pretraining data unknown, as the data")
    foreign = overlap_of("resnet18", test, subject="resnet18", task="knn", progress=False)
    assert foreign.reason == "resnet18 was pretrained on data that are not here"


def test_samples_that_show_nothing_are_no_answer(tmp_path: Path) -> None:
    folder = tmp_path / "grey"
    folder.mkdir()
    Image.new("RGB", (40, 40), "grey").save(folder / "a.png")
    run = run_on(tmp_path / "run", "{path: 'shapes:count=20,size=32'}")
    found = overlap_of(run, open_source(str(folder)), subject="mine", task="knn", progress=False)
    assert found.reason is not None
    assert "no test sample" in found.reason


def test_one_is_told_as_one_and_many_are_counted() -> None:
    one = describe(Overlap("mine", "knn", 0.1, (("a", "b", 0.987),)))
    assert "1 test sample was seen" in one
    assert one.endswith("a looks like b (0.99)")
    many = describe(Overlap("mine", "knn", 0.1, tuple((f"a{k}", "b", 1.0) for k in range(9))))
    assert "a2 looks like b (1.00); and 6 more" in many
    assert "a3" not in many
