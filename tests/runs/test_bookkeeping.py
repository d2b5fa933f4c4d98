"""Domains and parameters of a transfer: what was learnt before, what came along, what trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sslkit.config import load_recipe
from sslkit.contracts import Measurement, Task
from sslkit.evaluation.heads.classifier import Classifier
from sslkit.models.creation import create_backbone, transformed
from sslkit.models.modes import layers
from sslkit.models.task_model import TaskModel, offered
from sslkit.registry.lookup import loaded
from sslkit.registry.plugins import Target
from sslkit.runs.backbones import transforms_of
from sslkit.runs.bookkeeping import counts, data_name, domains, generated
from sslkit.runs.embedder import Embedder

HERE = "tests.runs.test_bookkeeping"
KNN = Measurement("knn", "shapes:count=60", domain="drawn shapes", synthetic=True)


class Beside(nn.Module):
    """A network with a second path of new weights, as a transform may make it."""

    def __init__(self, slow: nn.Module) -> None:
        super().__init__()
        self.slow, self.fast = slow, nn.Conv2d(3, 5, 3)
        self.num_features, self.pretrained_cfg = slow.num_features, slow.pretrained_cfg
        self.feature_info = [{**one, "module": f"slow.{one['module']}"} for one in slow.feature_info]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.slow(pixels) + self.fast(pixels).mean()

    def forward_intermediates(self, pixels: torch.Tensor, **options: Any) -> Any:
        return self.slow.forward_intermediates(pixels, **options)


def deepen(network: nn.Module) -> nn.Module:
    """Gives a layer a kernel of three frames, as inflation does; it is not run."""
    flat = network.layer4[0].conv1
    network.layer4[0].conv1 = nn.Conv3d(
        flat.in_channels, flat.out_channels, (3, *flat.kernel_size), bias=False
    )
    return network


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    known = loaded().targets["backbone_transform"]
    monkeypatch.setitem(known, "beside", Target(f"{HERE}:Beside", "test"))
    monkeypatch.setitem(known, "deepen", Target(f"{HERE}:deepen", "test"))


def embedder(*, weights: str = "somewhere") -> Embedder:
    backbone = create_backbone("test_resnet", size=32, stem="standard")
    backbone.weights = weights
    return Embedder(backbone, 32, "test_resnet", torch.device("cpu"))


def counted(given: Embedder, *transforms: str, mode: str = "frozen") -> dict[str, int]:
    again = create_backbone("test_resnet", size=32, stem="standard")
    backbone = transformed(again, transforms_of({name: {} for name in transforms}))
    head = Classifier(offered(given.backbone, Classifier.spec), Task("label", ("a", "b"), (32, 32)))
    return counts(TaskModel(backbone, head, mode=mode), given)


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_of_a_pretrained_network_all_is_loaded_and_of_an_untrained_one_nothing() -> None:
    whole = size(embedder().backbone)
    frozen = counted(embedder())
    assert frozen == {
        "loaded": whole,
        "fresh": 0,
        "frozen": whole,
        "trained": 0,
        "head": 2 * embedder().backbone.embedding_dim + 2,
        "frozen_layers": len(layers(embedder().backbone)),
        "trained_layers": 0,
    }
    untrained = counted(embedder(weights="random"), mode="finetune")
    assert (untrained["loaded"], untrained["fresh"]) == (0, whole)
    assert (untrained["frozen"], untrained["trained"]) == (0, whole)


def test_a_mode_parts_the_backbone_into_frozen_and_trained() -> None:
    given = embedder()
    rest = size(given.backbone.network.layer4)
    found = counted(given, mode="until:layer3")
    assert found["trained"] == rest
    assert found["frozen"] == found["loaded"] - rest
    assert found["frozen_layers"] + found["trained_layers"] == len(layers(given.backbone))
    assert counted(given, mode="partial:2")["trained_layers"] == 2


def test_what_a_transform_adds_is_fresh_and_what_it_wraps_is_loaded() -> None:
    given = embedder()
    found = counted(given, "beside")
    assert found["loaded"] == size(given.backbone)
    assert found["fresh"] == 5 * 3 * 9 + 5


def test_of_a_kernel_along_time_as_many_are_loaded_as_the_flat_one_had() -> None:
    given = embedder()
    found = counted(given, "deepen")
    assert found["loaded"] == size(given.backbone)
    assert found["fresh"] == 2 * size(given.backbone.network.layer4[0].conv1)


def test_source_and_target_of_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "cars-run"
    folder.mkdir()
    recipe = load_recipe(None, ["data.path=/photos/cars", "objective.name=moco"])
    (folder / "config.yaml").write_text(recipe.to_yaml())
    source, target = domains(str(folder), False, KNN)
    assert source == {
        "domain": "cars",
        "task": "moco",
        "data": "/photos/cars",
        "objective": "moco",
        "weights": "run cars-run",
        "synthetic": False,
    }
    assert target == {
        "domain": "drawn shapes",
        "task": "knn",
        "targets": "label",
        "data": "shapes:count=60",
        "test": None,
        "synthetic": True,
    }
    json.dumps([source, target], allow_nan=False)


@pytest.mark.parametrize(
    ("settings", "domain", "synthetic"),
    [
        (["data.path=shapes:count=60"], "shapes", True),
        (["data.mix=[shapes:count=60, moving-shapes]"], "shapes + moving-shapes", True),
        (["data.mix=[shapes:count=60, list:/x/birds.txt]"], "shapes + birds", False),
        (["data.path=shapes:count=60", "backbone.pretrained=true"], "shapes", False),
    ],
)
def test_a_run_on_drawn_data_is_synthetic_unless_it_saw_others(
    tmp_path: Path, settings: list[str], domain: str, synthetic: bool
) -> None:
    (tmp_path / "config.yaml").write_text(load_recipe(None, settings).to_yaml())
    source, _ = domains(str(tmp_path), False, KNN)
    assert (source["domain"], source["synthetic"]) == (domain, synthetic)
    assert ("begun with the weights" in source["weights"]) == ("backbone.pretrained=true" in settings)


def test_a_folder_without_a_recipe_has_an_unknown_source(tmp_path: Path) -> None:
    assert domains(str(tmp_path), False, KNN)[0]["domain"] == "unknown"


@pytest.mark.parametrize(
    ("model", "untrained", "domain", "task"),
    [
        ("resnet18.a1_in1k", False, "ImageNet-1k (tag a1_in1k)", "classification"),
        (
            "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
            False,
            "ImageNet-21k + ImageNet-1k (tag augreg",
            "classi",
        ),
        ("vit_tiny_patch16_224", False, "ImageNet-21k + ImageNet-1k (tag augreg_in21k_ft_in1k)", "classi"),
        ("vit_small_patch16_224.dino", False, "unknown (tag dino)", "unknown"),
        ("resnet18", True, "none", "none"),
        ("random:resnet18", False, "none", "none"),
    ],
)
def test_the_tag_of_a_networks_weights_tells_its_source(
    model: str, untrained: bool, domain: str, task: str
) -> None:
    source, _ = domains(model, untrained, KNN)
    assert source["domain"].startswith(domain)
    assert source["task"].startswith(task)
    assert source["weights"] == ("random" if domain == "none" else model)


def test_a_target_takes_its_domain_from_its_data_and_its_kind_from_the_head() -> None:
    measured = Measurement("multi_label_classifier", "list:photos/street.txt", test="list:photos/test.txt")
    _, target = domains("resnet18", True, measured)
    assert (target["domain"], target["task"], target["targets"]) == ("street", measured.head, "labels")
    assert (target["test"], target["synthetic"]) == ("list:photos/test.txt", False)


@pytest.mark.parametrize(
    ("address", "drawn", "name"),
    [
        ("shapes", True, "shapes"),
        ("shapes:count=60,size=32", True, "shapes"),
        ("hf:cifar10", False, "cifar10"),
        ("folder:photos/pets,split=train", False, "pets"),
        ("/data/cars.v2", False, "cars.v2"),
        ("birds.csv", False, "birds"),
    ],
)
def test_drawn_data_and_names_of_data_are_told_from_the_argument(
    address: str, drawn: bool, name: str
) -> None:
    assert generated(address) is drawn
    assert data_name(address) == name


def test_a_folder_that_is_called_like_a_source_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes").mkdir()
    assert not generated("shapes")
    assert data_name("shapes") == "shapes"
