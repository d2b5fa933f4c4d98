"""The classifiers in real trainings: frozen, from kept features, from a stage on, and whole."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sslkit.contracts import ClassSet, Item
from sslkit.models.creation import create_backbone
from sslkit.models.weights import save_backbone
from sslkit.registry.lookup import loaded
from sslkit.registry.plugins import Target
from sslkit.runs.evaluate import evaluate
from sslkit.training.precision import Layout

SMALL = ("training.size=[32,32]", "training.batch=16", "training.warmup_steps=2")


class Colours:
    """Pictures of any of three colours, a stripe each at a place of its own; the label is the first."""

    classes, native_side, splits = ("red", "green", "blue"), 32, ()
    target_kind = "labels"

    def __init__(self, *, count: int = 48) -> None:
        self.count, self.fingerprint = count, f"colours {count}"
        self.sets = np.random.default_rng(count).random((count, 3)) < 0.5
        self.labels = self.sets.argmax(axis=1)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, id: int) -> Item:
        pixels = np.full((32, 32, 3), 40, np.uint8)
        for k in np.flatnonzero(self.sets[id]):
            pixels[10 * k : 10 * k + 10, :, k] = 230
        return Item(pixels, f"{id}.png")

    def target(self, id: int) -> ClassSet:
        return ClassSet(torch.from_numpy(self.sets[id]))

    def problems(self) -> list[str]:
        return []

    def class_counts(self) -> np.ndarray:
        return self.sets.astype(np.int64)


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    plain = Layout("fp32", False)
    monkeypatch.setattr("sslkit.runs.head_backbone.choose_layout", lambda *_, **__: plain)
    monkeypatch.setitem(
        loaded().targets["source"], "colours", Target("tests.runs.test_class_heads:Colours", "test")
    )
    folder = tmp_path / "run"
    folder.mkdir()
    torch.manual_seed(7)
    save_backbone(create_backbone("test_resnet", size=32, stem="standard"), folder, size=32)
    return folder


def run(backbone: Path, out: str, *settings: str, head: str = "classifier") -> dict[str, Any]:
    """What the one training of an evaluation found."""
    evaluate(
        backbone,
        data="colours:count=96",
        test="colours:count=40",
        head=head,
        settings=(*SMALL, *settings),
        out=backbone.parent / out,
        baselines=False,
        progress=False,
    )
    found: dict[str, Any] = json.loads((backbone.parent / out / "run/seed-0/result.json").read_text())
    return found


def test_kept_features_and_pixels_teach_a_frozen_classifier_alike(backbone: Path) -> None:
    kept = run(backbone, "kept", "training.steps=40")
    pixels = run(backbone, "pixels", "training.steps=40", "training.cache=false")
    assert kept["figures"] == pixels["figures"]
    assert set(kept["figures"]) == {"top1", "top5", "mean_class"}
    assert kept["figures"]["top1"] > 0.8
    assert kept["parameters"]["trained"] == 0
    with (backbone.parent / "kept/run/seed-0/predictions/labels.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 40
    assert sum(float(table[0][f"score {k}"]) for k in range(3)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("mode", "still"),
    [("finetune", ()), ("partial:1", ("conv1", "layer1", "layer2")), ("until:layer3", ("conv1", "layer3"))],
)
def test_what_a_mode_lets_train_is_what_moves(backbone: Path, mode: str, still: tuple[str, ...]) -> None:
    settings = ("training.steps=3", f"mode={mode}", "training.cache=false")
    run(backbone, "out", *settings)
    before = load_file(backbone / "backbone.safetensors")
    after = load_file(backbone.parent / "out/run/seed-0/weights.safetensors")
    moved = {
        name for name, value in before.items() if not torch.equal(value, after[f"backbone.network.{name}"])
    }
    assert any(name.startswith("layer4") for name in moved)
    assert not any(name.startswith(part) for name in moved for part in still)
    assert still or any(name.startswith("conv1") for name in moved)


def test_a_classifier_of_many_labels_learns_and_writes_sets(backbone: Path) -> None:
    found = run(
        backbone,
        "out",
        "training.steps=150",
        head="multi_label_classifier",
    )
    assert found["figures"]["map"] > 0.9
    assert set(found["per_class"]) == {"red", "green", "blue"}
    assert (backbone.parent / "out/run/seed-0/sheet.png").stat().st_size > 1000
    with (backbone.parent / "out/run/seed-0/predictions/labels.csv").open() as file:
        table = list(csv.DictReader(file))
    sets = [{str(k) for k in range(3) if float(row[f"score {k}"]) > 0.5} for row in table]
    assert sets == [{*row["labels"].split()} for row in table]
