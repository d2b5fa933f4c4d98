"""Backbones by every name a recipe may use, saved and loaded with what changed them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import sslkit
from sslkit.config import load_recipe
from sslkit.errors import ConfigError, ModelError, UnknownNameError
from sslkit.models.creation import create_backbone
from sslkit.models.weights import load_backbone as load_without_plugins
from sslkit.models.weights import save_backbone
from sslkit.registry.lookup import loaded
from sslkit.registry.plugins import Target
from sslkit.runs.backbones import build_backbone, load_backbone, transforms_of
from sslkit.runs.embedder import open_embedder, untrained_like
from sslkit.runs.pretrain import pretrain


def tiny(*, pretrained: bool = False, width: int = 8) -> nn.Module:
    """A network of a plugin."""
    network: nn.Module = create_backbone("test_resnet", size=32, stem="standard").network
    return network


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    transforms, networks = (loaded().targets[kind] for kind in ("backbone_transform", "network"))
    monkeypatch.setitem(transforms, "mix", Target("tests.models.mixing:mix", "test"))
    monkeypatch.setitem(networks, "tiny", Target("tests.runs.test_backbones:tiny", "test"))


def settled(*settings: str) -> sslkit.Recipe:
    return load_recipe(None, ["backbone.name=test_resnet", "backbone.stem=standard", *settings])


def test_a_transform_beside_the_other_keys_is_short_for_one_in_transforms(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("backbone: {name: test_resnet, mix: {stride: 2}}\n")
    short = load_recipe(file)
    assert short.backbone.transforms == {"mix": {"stride": 2}}
    file.write_text(short.to_yaml())
    assert load_recipe(file) == short
    assert load_recipe(file, ["backbone.transforms.mix.stride=3"]).backbone.transforms["mix"] == {"stride": 3}


def test_a_recipe_builds_its_backbone_with_transforms() -> None:
    recipe = settled("backbone.mix={stride: 2}")
    backbone = build_backbone(recipe.backbone, size=32, options={})
    assert backbone.info.temporal_strides[-1] == 2


@pytest.mark.parametrize(
    ("setting", "error", "said"),
    [
        ("backbone.mixx={}", UnknownNameError, "unknown backbone transform 'mixx'; did you mean 'mix'"),
        ("backbone.mix={strid: 2}", ConfigError, "backbone transform 'mix' has no option 'strid'"),
        ("backbone.name=tini", UnknownNameError, "unknown backbone 'tini'; did you mean 'tiny'"),
    ],
)
def test_a_wrong_name_or_option_is_told(setting: str, error: type[Exception], said: str) -> None:
    recipe = settled(setting)
    with pytest.raises(error, match=said):
        build_backbone(recipe.backbone, size=32, options={})


def test_a_key_that_is_no_transform_is_unknown() -> None:
    with pytest.raises(ConfigError, match=r"backbone\.stme: unknown key; did you mean 'stem'"):
        settled("backbone.stme=small")


@pytest.mark.parametrize("name", ["test_resnet", "tiny"])
def test_a_saved_backbone_comes_back_with_what_changed_it(tmp_path: Path, name: str) -> None:
    recipe = settled(f"backbone.name={name}", "backbone.mix={weight: 0.3, stride: 2}")
    backbone = build_backbone(recipe.backbone, size=32, options={}).eval()
    save_backbone(backbone, tmp_path, size=32, frames=4)
    clips = torch.rand(1, 4, 3, 32, 32)
    again = load_backbone(tmp_path)
    assert torch.equal(again(clips), backbone(clips))
    assert again.architecture.described == f"{name} + mix"
    card = json.loads((tmp_path / "backbone.json").read_text())
    assert card["transforms"] == {"mix": {"weight": 0.3, "stride": 2}}
    assert "sslkit.load_backbone" in card["loading"]
    with pytest.raises(ModelError, match=r"needs '\w+', which a plugin gives; use sslkit.load_backbone"):
        load_without_plugins(tmp_path)


def test_the_untrained_twin_is_changed_alike(tmp_path: Path) -> None:
    backbone = build_backbone(settled("backbone.mix={stride: 2}").backbone, size=32, options={})
    save_backbone(backbone, tmp_path, size=32)
    embedder = open_embedder(tmp_path)
    twin = untrained_like(embedder, 0)
    assert twin.backbone.info.temporal_strides == embedder.backbone.info.temporal_strides
    assert twin.model == "random:test_resnet + mix"
    assert twin.model_hash != embedder.model_hash


def test_an_untrained_network_has_a_name_of_its_own() -> None:
    embedder = open_embedder("random:test_resnet")
    assert embedder.backbone.weights == "random"


def test_a_network_that_looks_along_time_is_pretrained_on_clips(tmp_path: Path) -> None:
    data = tmp_path / "videos"
    from sslkit.data.moving_shapes import write_videos

    write_videos(data, videos=4, seconds=1.0, size=32)
    run = pretrain(
        data,
        out=tmp_path / "run",
        overrides=[
            "backbone={name: test_resnet, stem: standard, mix: {stride: 2}}",
            "data.clip={frames: 4}",
            "views.size=32",
            "batch.size=4",
            "schedule={epochs: 1, warmup_epochs: 0}",
            "precision=fp32",
        ],
        progress=False,
    )
    del run
    before = torch.tensor(0.5)
    after = load_backbone(tmp_path / "run").network.conv1[0].weight.detach()
    assert not torch.equal(after, before), "the layer along time got no gradient"


def test_transforms_are_looked_for_before_anything_is_built() -> None:
    with pytest.raises(UnknownNameError, match="unknown backbone transform 'fold'"):
        transforms_of({"fold": {}})
