"""RAFT with the backbone's maps is torchvision's RAFT whose encoders give the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.optical_flow import raft, raft_large, raft_small
from torchvision.models.optical_flow.raft import CorrBlock

from sslkit.contracts import FeatureInfo, FeatureMap, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError, ModelError
from sslkit_flow.heads.raft import RAFT

GREY = (0.5, 0.5, 0.5)
BUILDERS = {"small": (raft_small, 160), "large": (raft_large, 256)}


class Given(nn.Module):
    """An encoder that knows its answer."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, pixels: Tensor) -> Tensor:
        return self.answer


def info(strides: tuple[int, ...] = (8, 16), temporal: tuple[int, ...] = ()) -> FeatureInfo:
    widths = tuple(6 + 2 * place for place in range(len(strides)))
    names = tuple(f"m{place}" for place in range(len(strides)))
    return FeatureInfo(names, widths, strides, 1, 4, GREY, GREY, temporal_strides=temporal)


def seen(offered: FeatureInfo, canvas: tuple[int, int], pairs: int = 2) -> HeadFeatures:
    generator = torch.Generator().manual_seed(0)
    meta = Meta(0, "", canvas, canvas, canvas)
    maps = []
    for width, stride in zip(offered.channels, offered.strides, strict=True):
        shape = [-(-side // stride) for side in canvas]
        maps.append(FeatureMap(torch.randn(pairs, 2, width, *shape, generator=generator), stride))
    return HeadFeatures(None, tuple(maps), canvas, (meta,) * pairs)


def built(canvas: tuple[int, int], **options: int | str) -> RAFT:
    torch.manual_seed(0)
    return RAFT(info(), Task("flow", (), canvas, frames=2), **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("size", ["small", "large"])
def test_every_estimate_is_torchvisions_and_so_is_what_it_teaches(
    size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    canvas = (64, 96)
    head = built(canvas, size=size, levels=3, radius=3, updates=4)
    features = seen(info(), canvas)
    rows = [FeatureMap(part.values.flatten(0, 1), part.stride) for part in features.maps]
    both = head.features(rows, canvas)
    context = head.context([FeatureMap(part.values[::2], part.stride) for part in rows], canvas)
    build, _ = BUILDERS[size]
    twin = build(
        feature_encoder=Given(torch.cat([both[::2], both[1::2]])),
        context_encoder=Given(context),
        corr_block=CorrBlock(num_levels=3, radius=3),
    ).eval()
    twin.update_block.load_state_dict(head.update.state_dict())
    if size == "small":  # ours stays one a cell
        monkeypatch.setattr(raft, "upsample_flow", lambda flow, up_mask: 8 * flow)
    else:
        twin.mask_predictor.load_state_dict(head.mask.state_dict())  # type: ignore[union-attr]
    blank = torch.zeros(2, 3, *canvas)
    expected = twin(blank, blank, num_flow_updates=4)
    found = head(features)
    assert len(found) == len(expected) == 4
    for level, estimate in zip(found, expected, strict=True):
        assert level.vectors.shape[-1] * level.stride == canvas[1]
        torch.testing.assert_close(level.vectors, estimate, rtol=0, atol=1e-5)
    assert float(found[-1].vectors.detach().abs().max()) > 1e-3
    ours = torch.stack([level.vectors.mean() for level in found]).sum()
    theirs = torch.stack([estimate.mean() for estimate in expected]).sum()
    slopes = zip(
        torch.autograd.grad(ours, list(head.update.parameters())),
        torch.autograd.grad(theirs, list(twin.update_block.parameters())),
        strict=True,
    )
    for one, other in slopes:
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_it_keeps_nothing_of_what_it_saw() -> None:
    head = built((64, 64), levels=2, updates=1)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    one, other = head(seen(info(), (64, 64))), head(seen(info(), (64, 64)))
    assert torch.equal(one[-1].vectors, other[-1].vectors)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


@pytest.mark.parametrize("strides", [(8, 16, 32), (16, 16), (12,), (14, 14)])
def test_a_network_without_a_map_of_stride_8_will_do(strides: tuple[int, ...]) -> None:
    canvas = (70, 90)
    offered = info(strides)
    head = RAFT(offered, Task("flow", (), canvas, frames=2), levels=2, updates=1)
    (level,) = head(seen(offered, canvas))
    assert level.vectors.shape == (2, 2, 9, 12)
    level.vectors.square().sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_a_canvas_too_small_for_the_levels_is_refused_with_what_would_do() -> None:
    with pytest.raises(ConfigError, match=r"64x64 pixels has 8x8 cells .* 4 levels .* 128 pixels, or fewer"):
        built((64, 64))
    built((121, 128))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "huge"}, "size is 'huge'; it is one of small, large"),
        ({"updates": 0}, "updates are 4, 3 and 0"),
    ],
)
def test_other_options_are_refused(options: dict[str, int | str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built((128, 128), **options)


def test_a_network_that_makes_one_map_of_two_frames_is_refused() -> None:
    with pytest.raises(ModelError, match=r"temporal strides \(1, 2\)"):
        RAFT(info(temporal=(1, 2)), Task("flow", (), (128, 128), frames=2))
    single = HeadFeatures(None, (FeatureMap(torch.zeros(2, 1, 6, 8, 8), 8),), (64, 64), ())
    with pytest.raises(ModelError, match=r"\(2, 1, 6, 8, 8\)"):
        built((64, 64), levels=2)(single)
