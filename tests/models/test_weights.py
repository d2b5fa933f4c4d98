"""Saved backbones load whole or not at all, here and in plain timm."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from sslkit.errors import ConfigError, ModelError, WeightsError
from sslkit.models.creation import create_backbone
from sslkit.models.weights import load_backbone, load_weights, save_backbone, saved_size, weights_hash


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    backbone = create_backbone("resnet10t", size=96).eval()
    save_backbone(backbone, tmp_path, size=96)
    return backbone, tmp_path


def test_a_saved_backbone_gives_the_same_embeddings(saved) -> None:
    backbone, folder = saved
    pixels = torch.randn(2, 3, 96, 96)
    loaded = load_backbone(folder)
    assert torch.equal(loaded(pixels), backbone(pixels))
    assert not loaded.training
    assert saved_size(folder) == 96
    assert loaded.info.weights == weights_hash(backbone.network)
    assert loaded.info.loaded_fraction == 1.0


def test_plain_timm_loads_the_file(saved) -> None:
    backbone, folder = saved
    plain = timm.create_model("resnet10t", num_classes=0).eval()
    plain.load_state_dict(load_file(folder / "backbone.safetensors"))
    pixels = torch.randn(2, 3, 96, 96)
    assert torch.equal(plain(pixels), backbone(pixels))


@pytest.mark.parametrize("name", ["resnet18", "resnet10t"])
def test_the_small_stem_survives(tmp_path, name) -> None:
    backbone = create_backbone(name, size=32).eval()
    save_backbone(backbone, tmp_path, size=32)
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(load_backbone(tmp_path)(pixels), backbone(pixels))


def test_the_hash_sees_every_tensor() -> None:
    backbone = create_backbone("resnet10t", size=32)
    before = weights_hash(backbone)
    assert before == weights_hash(backbone)
    with torch.no_grad():
        next(reversed(list(backbone.parameters()))).view(-1)[0] += 1e-6
    assert weights_hash(backbone) != before


@pytest.mark.parametrize("prefix", ["", "network.", "backbone.", "module."])
def test_a_common_prefix_is_understood(prefix) -> None:
    source, target = (create_backbone("resnet10t", size=32) for _ in range(2))
    load_weights(target, {prefix + n: t for n, t in source.network.state_dict().items()}, source="test")
    assert weights_hash(source.network) == weights_hash(target.network)


def test_partial_weights_are_refused_with_counts_and_change_nothing() -> None:
    source, target = (create_backbone("resnet10t", size=32) for _ in range(2))
    tensors = dict(source.network.state_dict())
    total = len(tensors)
    del tensors["layer1.0.conv1.weight"]
    tensors["layer2.0.conv1.weight"] = torch.zeros(1)
    before = weights_hash(target)
    with pytest.raises(WeightsError, match=f"{total - 2} of {total} tensors fit") as caught:
        load_weights(target, tensors, source="half.safetensors")
    assert "layer1.0.conv1.weight" in str(caught.value)
    assert "(1,), needs" in str(caught.value)
    assert weights_hash(target) == before


def test_weights_of_another_network_are_refused() -> None:
    target = create_backbone("resnet10t", size=32)
    with pytest.raises(WeightsError, match="0 of "):
        load_weights(target, create_backbone("convnext_atto").state_dict(), source="convnext")


def test_a_changed_weights_file_is_refused(saved) -> None:
    _, folder = saved
    tensors = load_file(folder / "backbone.safetensors")
    tensors["conv1.0.weight"] = tensors["conv1.0.weight"] + 1
    save_file(tensors, folder / "backbone.safetensors")
    with pytest.raises(WeightsError, match="does not match the hash"):
        load_backbone(folder)


def test_a_truncated_weights_file_is_refused(saved) -> None:
    _, folder = saved
    path = folder / "backbone.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_backbone(folder)


def test_another_format_says_which(saved) -> None:
    _, folder = saved
    card = json.loads((folder / "backbone.json").read_text())
    (folder / "backbone.json").write_text(json.dumps({**card, "format": 99}))
    with pytest.raises(WeightsError, match="format 99"):
        load_backbone(folder)


def test_an_unfinished_run_says_how_to_finish(tmp_path) -> None:
    with pytest.raises(ModelError, match="sslkit resume"):
        load_backbone(tmp_path)


def test_a_missing_folder_is_no_model_name() -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        load_backbone("runs/nowhere")


def test_a_timm_name_loads_untrained_without_network() -> None:
    assert load_backbone("resnet10t", pretrained=False).info.weights == "random"
