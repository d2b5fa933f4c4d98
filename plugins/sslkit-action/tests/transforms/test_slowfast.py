"""SlowFast: the slow pathway is the given network, the fast one sees every frame, links join them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import ClipRows
from sslkit.errors import ConfigError, ModelError
from sslkit.models.architecture import Architecture, Transform
from sslkit.models.backbone import Backbone
from sslkit.models.creation import create_backbone
from sslkit.models.modes import layers
from sslkit_action.transforms.slowfast import SlowFast, slowfast

NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "resnet": ("test_resnet", {}, 64),
    "convnext": ("test_convnext", {}, 64),
    "swin": ("swin_tiny_patch4_window7_224", {"img_size": 32, "window_size": 1, "depths": (1,) * 4}, 32),
    "vit": ("test_vit", {"img_size": 32, "dynamic_img_size": False}, 32),
}


def built(kind: str, **options: Any) -> tuple[SlowFast, nn.Module, int]:
    """SlowFast in eval mode, a copy of the network it was made of, and a side of images it takes."""
    torch.manual_seed(0)
    name, settings, side = NETWORKS[kind]
    network = timm.create_model(name, num_classes=0, **settings).eval()
    wrapped = slowfast(copy.deepcopy(network), **options).eval()
    assert isinstance(wrapped, SlowFast)
    return wrapped, network, side


def links(network: Any) -> list[Tensor]:
    """The weights of the links, fine to coarse."""
    return [lateral.convolution.weight for lateral in network.laterals]


def shaken(network: SlowFast) -> SlowFast:
    """The same with links that add something."""
    torch.manual_seed(1)
    for weight in links(network):
        nn.init.normal_(weight, std=0.1)
    return network


def run(network: Any, clips: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The pooled rows and maps of clips (N, T, C, H, W)."""
    network.clip_rows.clips = len(clips)
    rows = clips.flatten(0, 1)
    stages = [tap.stage for tap in network.taps]
    with torch.no_grad():
        maps = network.forward_intermediates(rows, indices=stages, output_fmt="NCHW", intermediates_only=True)
        return network(rows), maps


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("frames", [8, 6])
def test_at_first_the_slow_pathway_is_the_given_network_on_every_alpha_th_frame(
    kind: str, frames: int
) -> None:
    wrapped, network, side = built(kind)
    clips = torch.randn(2, frames, 3, side, side)
    pooled, maps = run(wrapped, clips)
    seen = torch.cat([clip[place][None] for clip in clips for place in range(0, frames, 4)])
    with torch.no_grad():
        alone = network(seen)
        stages = [tap.stage for tap in wrapped.taps]
        expected = network.forward_intermediates(  # type: ignore[operator]
            seen, indices=stages, output_fmt="NCHW", intermediates_only=True
        )
    assert torch.equal(pooled[:, : alone.shape[1]], alone)
    for found, given in zip(maps, expected, strict=True):
        assert torch.equal(found, given)


def test_links_add_the_convolved_fast_maps_where_stages_end() -> None:
    wrapped, network, side = built("resnet")
    shaken(wrapped)
    clips = torch.randn(2, 8, 3, side, side)
    _, maps = run(wrapped, clips)
    fast = wrapped.fast(clips.transpose(1, 2))
    x = network.conv1(clips[:, ::4].flatten(0, 1))  # type: ignore[operator]
    x = network.act1(network.bn1(x))  # type: ignore[operator]
    for place, values in enumerate(fast):
        if place:
            x = getattr(network, f"layer{place}")(network.maxpool(x) if place == 1 else x)  # type: ignore[operator]
        weight = links(wrapped)[place]
        for clip in range(2):
            for row in range(2):
                for tap in range(5):  # five frames around frame 4 * row
                    frame = 4 * row + tap - 2
                    if 0 <= frame < 8:
                        seen = torch.einsum("oi,ihw->ohw", weight[:, :, tap, 0, 0], values[clip, :, frame])
                        x[2 * clip + row] += seen
        torch.testing.assert_close(maps[place], x.detach(), atol=1e-3, rtol=1e-3)
        x = x.detach()


def test_the_embedding_is_both_pathways_side_by_side() -> None:
    wrapped, _, side = built("resnet")
    shaken(wrapped)
    clips = torch.randn(2, 6, 3, side, side)
    pooled, _ = run(wrapped, clips)
    fast = wrapped.fast(clips.transpose(1, 2))[-1]
    width = fast.shape[1]
    assert pooled.shape == (2 * 2, wrapped.num_features)
    for clip in range(2):
        for row, frames in enumerate([(0, 1, 2, 3), (4, 5)]):  # the frames that the row stands for
            mean = torch.stack([fast[clip, :, frame].mean(dim=(-2, -1)) for frame in frames]).mean(dim=0)
            torch.testing.assert_close(pooled[2 * clip + row, -width:], mean.detach())


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_order_of_frames_matters(kind: str) -> None:
    wrapped, network, side = built(kind)
    backbone = Backbone(shaken(wrapped), Architecture(kind)).eval()
    clips = torch.randn(1, 8, 3, side, side)
    mixed = clips[:, [0, 2, 1, 3, 4, 7, 6, 5]]  # the slow pathway sees the same frames
    with torch.no_grad():
        change = (backbone(clips) - backbone(mixed)).abs().max()
        alone = network(clips.flatten(0, 1)).mean(dim=0) - network(mixed.flatten(0, 1)).mean(dim=0)
    assert change > 1e-4
    assert alone.abs().max() < 1e-5  # a network for images cannot tell


@pytest.mark.parametrize("kind", NETWORKS)
def test_clips_of_a_batch_do_not_meet(kind: str) -> None:
    wrapped, _, side = built(kind)
    clips = torch.randn(3, 5, 3, side, side)
    pooled, maps = run(shaken(wrapped), clips)
    for place in range(3):
        alone, of_maps = run(wrapped, clips[place : place + 1])
        torch.testing.assert_close(pooled[2 * place : 2 * place + 2], alone, atol=1e-4, rtol=1e-4)
        for values, lone in zip(maps, of_maps, strict=True):
            torch.testing.assert_close(values[2 * place : 2 * place + 2], lone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_gradient_reaches_every_parameter_of_both_pathways(kind: str) -> None:
    wrapped, _, side = built(kind)
    shaken(wrapped).clip_rows.clips = 1
    wrapped(torch.randn(5, 3, side, side)).square().sum().backward()
    unreached = [name for name, value in wrapped.named_parameters() if value.grad is None]
    assert unreached == []
    new = [*wrapped.fast.named_parameters(), *wrapped.laterals.named_parameters()]
    still = [name for name, value in new if value.grad is not None and not value.grad.any()]
    # The class token of a ViT has been made before the last link adds to the patches; maps still show it.
    assert still == (["3.convolution.weight"] if kind == "vit" else [])


def test_links_learn_from_zero() -> None:
    wrapped, _, side = built("resnet")
    wrapped.clip_rows.clips = 1
    wrapped(torch.randn(5, 3, side, side)).square().sum().backward()
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in links(wrapped))


def test_copies_stand_on_their_own() -> None:
    wrapped, _, side = built("resnet")
    shaken(wrapped)
    clips = torch.randn(1, 8, 3, side, side)
    pooled, _ = run(wrapped, clips)
    for made in (copy.deepcopy(wrapped), pickle.loads(pickle.dumps(wrapped))):
        nn.init.zeros_(links(wrapped)[-1])
        assert torch.equal(run(made, clips)[0], pooled)
        nn.init.zeros_(links(made)[0])
        assert not torch.equal(run(made, clips)[0], pooled)
        assert made.clip_rows is not wrapped.clip_rows
        shaken(wrapped)
        assert torch.equal(run(wrapped, clips)[0], pooled)


def test_the_state_dict_is_all_it_takes() -> None:
    wrapped, _, side = built("resnet")
    clips = torch.randn(1, 8, 3, side, side)
    pooled, _ = run(shaken(wrapped), clips)
    other = slowfast(timm.create_model("test_resnet", num_classes=0)).eval()
    assert not torch.equal(run(other, clips)[0], pooled)
    other.load_state_dict(wrapped.state_dict())
    assert torch.equal(run(other, clips)[0], pooled)


def test_no_hook_outlives_a_forward_even_one_that_fails() -> None:
    def fail(*_given: object) -> None:
        raise RuntimeError("in the middle")

    wrapped, _, side = built("resnet")
    broken = wrapped.slow.get_submodule("layer3").register_forward_pre_hook(fail)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="in the middle"):
            wrapped(torch.randn(4, 3, side, side))
        assert not any(module._forward_hooks for module in wrapped.modules())
    broken.remove()
    run(wrapped, torch.randn(1, 4, 3, side, side))
    assert not any(module._forward_hooks for module in wrapped.modules())


def test_parameters_of_the_fast_pathway_grow_with_the_square_of_beta() -> None:
    def count(beta: float) -> int:
        wrapped: Any = slowfast(timm.create_model("resnet18", num_classes=0), beta=beta)
        return sum(int(value.numel()) for value in wrapped.fast.parameters())

    # The stem and the norms grow with beta itself, hence not exactly 4.
    assert count(1 / 4) / count(1 / 8) == pytest.approx(4, rel=0.08)


def test_alpha_says_how_many_frames_the_slow_pathway_sees() -> None:
    seen: dict[str, list[int]] = {"slow": [], "fast": []}
    for alpha in (2, 8):
        wrapped, _, side = built("resnet", alpha=alpha)
        wrapped.slow.register_forward_hook(lambda _m, given, _o: seen["slow"].append(len(given[0])))
        wrapped.fast.register_forward_hook(lambda _m, given, _o: seen["fast"].append(given[0].shape[2]))
        wrapped(torch.randn(16, 3, side, side))
    assert seen == {"slow": [8, 2], "fast": [16, 16]}


class AlongTime(nn.Module):
    """A convolution that also averages each frame with the one before; stands for an inflated one."""

    def __init__(self, inner: nn.Module, clip_rows: ClipRows) -> None:
        super().__init__()
        self.inner, self.clip_rows = inner, clip_rows

    def forward(self, rows: Tensor) -> Tensor:
        clips = rows.view(self.clip_rows.clips, -1, *rows.shape[1:])
        before = F.pad(clips, (0, 0, 0, 0, 0, 0, 1, 0))[:, :-1]
        mixed: Tensor = self.inner(((clips + before) / 2).flatten(0, 1))
        return mixed


def test_an_inflated_network_keeps_looking_along_time() -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=0).eval()
    network.clip_rows = ClipRows()
    network.temporal_strides = (1,) * 5
    network.layer2[0].conv1 = AlongTime(network.layer2[0].conv1, network.clip_rows)
    wrapped = slowfast(network, alpha=2).eval()
    assert isinstance(wrapped, SlowFast)
    assert wrapped.clip_rows is network.clip_rows
    assert wrapped.temporal_strides == (2,) * 5
    clips = torch.randn(2, 6, 3, 64, 64)
    pooled, _ = run(wrapped, clips)
    network.clip_rows.clips = 2
    with torch.no_grad():
        alone = network(clips[:, ::2].flatten(0, 1))
    assert torch.equal(pooled[:, : alone.shape[1]], alone)
    made = copy.deepcopy(wrapped)
    assert made.slow.layer2[0].conv1.clip_rows is made.clip_rows  # type: ignore[index, union-attr]


@pytest.mark.parametrize("frames", [16, 13, 1])
def test_strides_along_time_of_both_multiply(frames: int) -> None:
    inflate = pytest.importorskip("sslkit_inflation.inflate").inflate
    network = inflate(timm.create_model("test_resnet", num_classes=0), stride=[1, 1, 2, 2, 1])
    backbone = Backbone(slowfast(network, alpha=2), Architecture("both")).eval()
    assert backbone.info.temporal_strides == (2, 2, 4, 8, 8)
    clips = torch.randn(2, frames, 3, 64, 64)
    with torch.no_grad():
        rows = [one.values.shape[1] for one in backbone.feature_maps(clips).values()]
        assert backbone.embed_frames(clips).shape[:2] == (2, -(-frames // 8))
    assert rows == [-(-frames // stride) for stride in (2, 2, 4, 8, 8)]


def test_a_recipe_builds_it_as_a_backbone() -> None:
    transform = Transform("slowfast", {"alpha": 2, "beta": 0.25}, slowfast)
    backbone = create_backbone("test_resnet", size=64, stem="standard", transforms=(transform,)).eval()
    assert backbone.info.temporal_strides == (2,) * 5
    assert backbone.info.strides == (2, 4, 8, 16, 32)
    assert backbone.embedding_dim == 96 + 24
    clips = torch.randn(2, 5, 3, 64, 64)
    with torch.no_grad():
        assert backbone.embed_frames(clips).shape == (2, 3, 120)
        assert backbone(clips).shape == backbone(clips[:, 0]).shape == (2, 120)
        shapes = [tuple(one.values.shape) for one in backbone.feature_maps(clips).values()]
    assert shapes[-1] == (2, 3, 96, 2, 2)
    before = layers(create_backbone("test_resnet", size=64, stem="standard"))
    assert [len(group) for group in layers(backbone)][:-1] == [len(group) for group in before]
    assert {name.split(".")[1] for name in layers(backbone)[-1]} == {"fast", "laterals"}


def test_networks_of_fixed_size_say_so_still() -> None:
    wrapped, _, _ = built("vit")
    assert Backbone(wrapped, Architecture("vit")).fixed_size == (32, 32)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"alpha": 0}, "alpha is 0; it is at least 1"),
        ({"beta": 0.0}, "beta is 0.0; it is above 0"),
        ({"beta": 2.0}, "at most 1"),
        ({"lateral_kernel": 4}, "lateral_kernel is 4; it is odd"),
        ({"depth": 0}, "depth is 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        slowfast(timm.create_model("test_resnet", num_classes=0), **options)


def test_checkpointing_that_goes_round_the_stages_is_refused() -> None:
    wrapped, _, side = built("resnet")
    wrapped.slow.set_grad_checkpointing(True)  # type: ignore[operator]
    wrapped.train()
    with pytest.raises(ModelError, match="turn gradient checkpointing off"):
        wrapped(torch.randn(4, 3, side, side))
