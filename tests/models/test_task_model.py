"""What a head is given of a backbone, what trains, and what stays as it is."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from sslkit.contracts import FeatureInfo, HeadFeatures, HeadSpec, Meta
from sslkit.models.creation import create_backbone
from sslkit.models.task_model import TaskModel, offered
from sslkit.testing.backbones import NETWORKS, TinyBackbone


class Probe(nn.Module):
    """Sums what it is given, times a weight; raw is what `keep` makes of it."""

    keep = staticmethod(lambda value: value)

    def __init__(self, features: str = "map", kind: str = "image", finest: int = 4) -> None:
        super().__init__()
        self.spec = HeadSpec("probe", kind, features, "label", "accuracy", finest=finest)
        self.weight = nn.Linear(1, 1, bias=False)
        self.seen: HeadFeatures | None = None

    def forward(self, features: HeadFeatures):
        self.seen = features
        values = [part.values for part in features.maps]
        if features.vector is not None:
            values.append(features.vector)
        return self.keep(self.weight(sum(value.float().sum() for value in values).view(1, 1)))

    def loss(self, raw, targets) -> dict[str, Tensor]:
        self.raw = raw
        return {"sum": raw.sum()}

    def decode(self, raw, metas):
        self.raw = raw
        return [raw] * len(metas)


def metas(count: int, valid: tuple[int, int], canvas: tuple[int, int] | None = None) -> list[Meta]:
    return [Meta(place, "", valid, valid, canvas or valid) for place in range(count)]


def model(features: str = "map", *, mode: str = "finetune", network=None, **spec) -> TaskModel:
    torch.manual_seed(0)
    return TaskModel(network or TinyBackbone(), Probe(features, **spec), mode=mode)


PIXELS = torch.arange(2 * 3 * 16 * 16).view(2, 3, 16, 16).remainder(251).to(torch.uint8)


def test_uint8_is_normalised_and_the_padding_is_zero_after() -> None:
    features = model().features(PIXELS, metas(2, (12, 10), (16, 16)))
    assert features.pixels is not None
    assert torch.allclose(features.pixels[..., :12, :10], (PIXELS[..., :12, :10] / 255 - 0.5) / 0.5)
    assert not features.pixels[..., 12:, :].any()
    assert not features.pixels[..., 10:].any()
    assert features.canvas == (16, 16)


def test_each_channel_is_normalised_by_its_own_and_floats_are_taken_as_they_are() -> None:
    network = NETWORKS["resnet"](64)
    pixels = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    seen = model(network=network).features(pixels, metas(1, (64, 64))).pixels
    expected = (128 / 255 - torch.tensor(network.info.mean)) / torch.tensor(network.info.std)
    assert seen is not None
    assert torch.allclose(seen[0, :, 5, 5], expected)
    given = torch.randn(1, 3, 64, 64)
    assert model(network=network).features(given, metas(1, (32, 32), (64, 64))).pixels is given


@pytest.mark.parametrize(
    ("features", "finest", "strides"),
    [("vector", 4, []), ("map", 4, [4]), ("pyramid", 4, [4]), ("pyramid", 2, [2, 4]), ("pyramid", 8, [4])],
)
def test_the_head_is_given_what_it_asks_for(features, finest, strides) -> None:
    task = model(features, finest=finest)
    seen = task.features(PIXELS, metas(2, (16, 16)))
    assert [part.stride for part in seen.maps] == strides == list(offered(task.backbone, task.spec).strides)
    assert [part.values.shape for part in seen.maps] == [(2, 4 * s, 16 // s, 16 // s) for s in strides]
    assert (seen.vector is None) == (features != "vector")
    if seen.vector is not None:
        assert torch.equal(seen.vector, task.backbone(seen.pixels))


@pytest.mark.parametrize("name", ["resnet", "swin"])
def test_frames_of_clips_come_out_as_they_do_alone(name) -> None:
    task = model("pyramid", kind="clip", network=NETWORKS[name](64)).eval()
    clips = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8)
    for part, alone in zip(
        task.features(clips, metas(2, (64, 48), (64, 64))).maps,
        task.features(clips[1], metas(3, (64, 48), (64, 64))).maps,
        strict=True,
    ):
        assert part.values.shape[:2] == (2, 3)
        assert torch.allclose(part.values[1], alone.values, atol=1e-5)


def test_frozen_carries_no_gradient_and_no_buffer_moves() -> None:
    task = model(mode="frozen").train()
    before = {name: value.clone() for name, value in task.backbone.state_dict().items()}
    task(PIXELS, metas(2, (16, 16)), [None, None])["sum"].backward()
    assert all(parameter.grad is None for parameter in task.backbone.parameters())
    assert all(torch.equal(before[name], value) for name, value in task.backbone.state_dict().items())
    assert task.head.weight.weight.grad is not None
    assert task.head.training
    assert not task.backbone.training


def test_partial_keeps_the_buffers_of_frozen_layers_only() -> None:
    task = model(mode="partial:1").train()
    before = {name: value.clone() for name, value in task.backbone.state_dict().items()}
    task(PIXELS, metas(2, (16, 16)), [None, None])
    moved = {
        name for name, value in task.backbone.state_dict().items() if not torch.equal(before[name], value)
    }
    assert moved == {f"second.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}


@pytest.mark.parametrize("mode", ["finetune", "partial:1"])
@pytest.mark.parametrize("features", ["vector", "map", "pyramid"])
@pytest.mark.parametrize("name", ["resnet", "vit", "swin", "vgg"])
def test_whatever_trains_gets_a_gradient(name, features, mode) -> None:
    task = model(features, mode=mode, network=NETWORKS[name](64)).train()
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    task(pixels, metas(2, (64, 64)), [None, None])["sum"].backward()
    without = [name for name, p in task.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert any(parameter.requires_grad for parameter in task.backbone.parameters())


def test_finding_the_unreached_changes_nothing_else() -> None:
    network = TinyBackbone()
    network.first.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    probe, state = Probe(), torch.get_rng_state()
    TaskModel(network, probe, mode="finetune")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("channels", [1, 5])
def test_other_numbers_of_channels_are_taken_from_the_info(channels) -> None:
    class Wide(TinyBackbone):
        def __init__(self) -> None:
            super().__init__()
            self.first[0] = nn.Conv2d(channels, 8, 3, stride=2, padding=1, bias=False)

        @property
        def info(self) -> FeatureInfo:
            return FeatureInfo(("second",), (16,), (4,), 4, 4, (0.5,) * channels, (0.5,) * channels)

    pixels = torch.zeros(2, channels, 16, 16, dtype=torch.uint8)
    assert model(network=Wide()).features(pixels, metas(2, (16, 16))).maps[0].values.shape == (2, 16, 4, 4)


def test_a_network_of_one_size_is_probed_at_that_size() -> None:
    options = {"depths": (1, 1, 1, 1), "embed_dim": 8, "num_heads": (1, 1, 2, 2), "window_size": 4}
    network = create_backbone("swin_tiny_patch4_window7_224", size=32, options=options)
    assert len(offered(network, Probe("pyramid").spec).strides) == 4
    assert any(p.requires_grad for p in model("pyramid", network=network).backbone.parameters())


def test_predictions_carry_no_gradient_and_cached_features_give_the_same_loss() -> None:
    task = model(mode="frozen").eval()
    features = task.features(PIXELS, metas(2, (16, 16)))
    (prediction, _) = task.predict(PIXELS, metas(2, (16, 16)))
    assert not prediction.requires_grad
    fresh, cached = (task(seen, features.metas, [None, None])["sum"] for seen in (PIXELS, features))
    assert torch.equal(fresh, cached)


class Named(NamedTuple):
    value: Tensor


@dataclass(frozen=True)
class Boxed:
    value: Tensor
    count: int = 3


@pytest.mark.parametrize(
    ("keep", "take"),
    [
        (lambda value: value, lambda raw: raw),
        (lambda value: {"a": [value]}, lambda raw: raw["a"][0]),
        (lambda value: (1, value), lambda raw: raw[1]),
        (Named, lambda raw: raw.value),
        (Boxed, lambda raw: raw.value),
    ],
)
def test_under_autocast_losses_and_predictions_are_made_in_float32(keep, take) -> None:
    task = model()
    task.head.keep = keep
    task.head.loss = lambda raw, targets: {"sum": take(raw).sum(), "on": torch.tensor(_autocast())}
    task.head.decode = lambda raw, metas: [(type(raw), take(raw).dtype, _autocast())]
    with torch.autocast("cpu", torch.bfloat16):
        assert task.head.weight(torch.ones(1, 1)).dtype == torch.bfloat16
        losses = task(PIXELS, metas(2, (16, 16)), [None, None])
        ((kind, dtype, on),) = task.predict(PIXELS, metas(2, (16, 16)))
    assert losses["sum"].dtype == dtype == torch.float32
    assert not bool(losses["on"])
    assert not on
    assert kind is type(keep(torch.zeros(1)))


def _autocast() -> bool:
    return torch.is_autocast_enabled("cpu")
