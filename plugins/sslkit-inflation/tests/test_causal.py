"""A causal network gives the past the same numbers whatever comes after, and one frame at a time too."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.video import r3d_18

from sslkit.models.architecture import Transform
from sslkit.models.backbone import Backbone
from sslkit.models.creation import create_backbone
from sslkit.models.streaming import Stream
from sslkit_inflation.inflate import inflate
from sslkit_inflation.still_video import awaken

NETWORKS = ["test_resnet", "test_convnext", "mobilenetv3_small_050"]
SIDE = 32


def backbone(name: str, **options: Any) -> Backbone:
    torch.manual_seed(0)
    given = {"init": "tile", "padding": "causal"} | options
    found = create_backbone(name, size=64, stem="standard", transforms=[Transform("inflate", given, inflate)])
    awaken(found, torch.Generator().manual_seed(0))
    return found.eval()


def noise(frames: int, seed: int = 0, side: int = SIDE) -> Tensor:
    return torch.randn(2, frames, 3, side, side, generator=torch.Generator().manual_seed(seed))


def outputs(found: Backbone, clips: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [found.embed_frames(clips), *(one.values for one in found.feature_maps(clips).values())]


@pytest.mark.parametrize("stride", [[1, 1, 1, 1, 1], [2, 1, 3, 1, 1]], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_later_frames_change_nothing_to_the_bit(name: str, stride: list[int]) -> None:
    found = backbone(name, stride=stride)
    times = (found.info.temporal_strides[-1], *found.info.temporal_strides)
    clips = noise(7)
    before = outputs(found, clips)
    for last in (0, 3, 5):
        other = clips.clone()
        other[:, last + 1 :] = noise(7, seed=1)[:, last + 1 :]
        for time, one, two in zip(times, before, outputs(found, other), strict=True):
            known = (last + 1) // time
            assert torch.equal(one[:, :known], two[:, :known])
            assert not torch.equal(one, two)


def test_a_network_that_looks_ahead_is_caught() -> None:
    clips, other = noise(7), noise(7)
    other[:, 4:] = noise(7, seed=1)[:, 4:]
    found = backbone("test_resnet", padding="replicate")
    one, two = outputs(found, clips)[0], outputs(found, other)[0]
    assert not torch.equal(one[:, :4], two[:, :4])
    stem = r3d_18().stem.eval()  # any other network for video
    with torch.no_grad():
        first, second = (stem(given.transpose(1, 2)) for given in (clips, other))
    assert not torch.equal(first[:, :, :4], second[:, :, :4])


@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_resnet", {}),
        ("test_resnet", {"kernel": 4, "stride": [3, 1, 2, 1, 1]}),
        ("test_convnext", {"stride": [1, 2, 1, 2, 1]}),
        ("mobilenetv3_small_050", {"stride": [2, 1, 1, 2, 1]}),
        ("test_vit", {"stride": 2, "kernel": 3}),
    ],
    ids=str,
)
def test_a_stream_gives_what_the_whole_clip_gives(name: str, options: dict[str, Any], chunk: int) -> None:
    found = backbone(name, **options)
    clips = noise(7, side=64)
    times = found.info.temporal_strides
    whole = outputs(found, clips)
    pieces = clips.split(chunk, dim=1)
    stream, of_maps = Stream(found), Stream(found)
    embedded = torch.cat([stream(piece) for piece in pieces], dim=1)
    maps = [of_maps.maps(piece) for piece in pieces]
    mapped = [torch.cat([one[name].values for one in maps], dim=1) for name in maps[0]]
    for time, given, expected in zip((times[-1], *times), (embedded, *mapped), whole, strict=True):
        assert given.shape[1] == 7 // time
        scale = float(expected.abs().max())
        torch.testing.assert_close(given, expected[:, : given.shape[1]], atol=1e-5 * scale, rtol=0)


def test_streams_side_by_side_do_not_mix_and_copies_go_on_alone() -> None:
    found = backbone("test_resnet", stride=[1, 2, 1, 1, 1])
    one, two = noise(6), noise(6, seed=1)
    first, second = Stream(found), Stream(found)
    given = []
    for t in range(3):
        given.append((first(one[:, t : t + 1]), second(two[:, t : t + 1])))
    twin = copy.deepcopy(first)
    twin(two[:, :1])
    for t in range(3, 6):
        given.append((first(one[:, t : t + 1]), second(two[:, t : t + 1])))
    assert found.network.clip_rows.history is None
    for place, clips in enumerate((one, two)):
        known = torch.cat([pair[place] for pair in given], dim=1)
        torch.testing.assert_close(known, outputs(found, clips)[0], atol=1e-5, rtol=1e-4)


def test_a_stream_keeps_few_frames_however_long_the_video() -> None:
    stream = Stream(backbone("test_resnet", stride=[1, 2, 1, 1, 1]))
    sizes = []
    for t in range(8):
        stream(noise(1, seed=t))
        sizes.append(sum(kept.numel() for kept in stream._history.values()))
    assert sizes[2::2] == [sizes[2]] * 3
    assert sizes[3::2] == [sizes[3]] * 3
