"""Bootstrapping a detector on images in which nothing is to be found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslkit.contracts import Figures, HeadSpec, Item, Objects
from sslkit.errors import ConfigError, DataError, RunError
from sslkit.models.creation import create_backbone
from sslkit.models.weights import save_backbone
from sslkit.registry.lookup import loaded
from sslkit.registry.plugins import Target
from sslkit.runs import bootstrap_head as module
from sslkit.training.precision import Layout
from tests.runs.test_head_evaluation import PROTOCOL

SIDE = 16


class Pictures:
    """30 red pictures with an object, 60 dark ones and 20 orange ones without."""

    classes = ("red",)
    labels = None
    native_side = SIDE
    splits = ()
    target_kind = "boxes"
    fingerprint = "pictures"

    def __init__(self, empty: int = 80) -> None:
        self.colours = [(200, 0, 0)] * 30 + [(10, 10, 10)] * 60 + [(200, 120, 0)] * 20
        self.colours = self.colours[: 30 + empty]

    def __len__(self) -> int:
        return len(self.colours)

    def __getitem__(self, id: int) -> Item:
        noise = np.random.default_rng(id).integers(0, 40, (SIDE, SIDE, 3))
        pixels = np.clip(noise + np.array(self.colours[id]), 0, 255).astype(np.uint8)
        return Item(pixels, str(id))

    def target(self, id: int) -> Objects:
        if id >= 30:
            return Objects.none()
        return Objects(torch.tensor([[0.0, 0.0, SIDE, SIDE]]), torch.zeros(1, dtype=torch.int64))

    def problems(self) -> list[str]:
        return []

    def class_counts(self) -> np.ndarray:
        return np.array([[int(id < 30)] for id in range(len(self))])


class Alarms:
    def update(self, ids: Any, predictions: Any, targets: Any) -> None:
        pass

    def merge(self, other: Any) -> None:
        pass

    def compute(self) -> Figures:
        return Figures({"AP50": 0.0})


class Redness(nn.Module):
    """Says of a whole picture whether it is an object, from its mean colour."""

    spec: ClassVar[HeadSpec] = HeadSpec("redness", "image", "map", "boxes", "AP50")

    def __init__(self, info: Any, task: Any) -> None:
        super().__init__()
        self.judge = nn.Linear(3, 1)

    def forward(self, features: Any) -> torch.Tensor:
        return self.judge(features.pixels.float().mean(dim=(2, 3)))[:, 0]

    def loss(self, raw: torch.Tensor, targets: Any) -> dict[str, torch.Tensor]:
        wanted = torch.tensor([float(len(target) > 0) for target in targets])
        return {"alarm": F.binary_cross_entropy_with_logits(raw, wanted)}

    def decode(self, raw: torch.Tensor, metas: Any) -> list[Objects]:
        box = torch.tensor([[0.0, 0.0, SIDE, SIDE]])
        return [Objects(box, torch.zeros(1, dtype=torch.int64), row.sigmoid()[None]) for row in raw]

    def metrics(self) -> Alarms:
        return Alarms()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    address = Target("tests.runs.test_bootstrap_head:Redness", "test")
    monkeypatch.setitem(loaded().targets["head"], "redness", address)
    monkeypatch.setattr("sslkit.runs.head_backbone.choose_layout", lambda *_, **__: Layout("fp32", False))
    monkeypatch.setattr(module, "checked_source", lambda spec, data, plan: Pictures())
    torch.manual_seed(7)
    (tmp_path / "run").mkdir()
    save_backbone(create_backbone("test_resnet", size=32, stem="standard"), tmp_path / "run", size=32)
    text = (
        PROTOCOL.replace("tiny", "redness").replace("steps: 10", "steps: 60").replace("lr: 0.01", "lr: 0.1")
    )
    (tmp_path / "redness.yaml").write_text(text.replace("[32, 32]", f"[{SIDE}, {SIDE}]"))
    return tmp_path


def rounds(folder: Path, count: int, **options: Any) -> Any:
    return module.bootstrap_head(
        folder / "run",
        "pictures",
        head="redness",
        protocol=folder / "redness.yaml",
        rounds=count,
        progress=False,
        **options,
    )


def test_false_alarms_fall_when_they_are_trained_on(run: Path) -> None:
    found = rounds(run, 4, out=run / "out")
    rates = [one.false_positive_rate for one in found.rounds]
    assert rates[0] > 0.05
    assert rates[-1] <= rates[0] / 2
    assert found.rounds[-1].recall > 0.9
    added = found.ids[found.found_in > 0]
    assert len(added)
    assert (added >= 90).mean() > 0.9  # the orange ones
    kept = json.loads((run / "out/rounds.json").read_text())
    assert [one["false_positive_rate"] for one in kept["rounds"]] == rates
    assert (run / "out/round-1/metrics.jsonl").is_file()


def test_a_folder_with_something_in_it_is_refused(run: Path) -> None:
    (run / "out").mkdir()
    (run / "out" / "note.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        rounds(run, 2, out=run / "out")


def test_it_repeats(run: Path) -> None:
    one, two = rounds(run, 2), rounds(run, 2)
    assert one.to_dict() == two.to_dict()


def test_a_head_that_finds_nothing_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = HeadSpec("redness", "image", "map", "semantic", "mIoU")
    monkeypatch.setattr(Redness, "spec", spec)
    address = Target("sslkit.testing.backbones:TinyBackbone", "test")
    monkeypatch.setitem(loaded().targets["head"], "redness", address)
    monkeypatch.setattr("sslkit.testing.backbones.TinyBackbone.spec", spec, raising=False)
    with pytest.raises(ConfigError, match="use a detector"):
        rounds(run, 2)


def test_too_few_images_without_objects_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "checked_source", lambda spec, data, plan: Pictures(empty=3))
    with pytest.raises(DataError, match="30 images with objects and 3 without"):
        rounds(run, 2)
