"""U-Net: climbs through any strides, with zeros or mirrors at the edge."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import FeatureInfo, FeatureMap, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError, ModelError
from sslkit_segmentation.heads.unet import UNet, climb, first_margin
from sslkit_segmentation.mirroring import mirrored

CANVAS = (96, 160)
TASK = Task("semantic", ("sky", "road"), CANVAS)
META = Meta(0, "", CANVAS, CANVAS, CANVAS)


def info_of(strides: tuple[int, ...]) -> FeatureInfo:
    channels = tuple(4 + place for place in range(len(strides)))
    return FeatureInfo(
        ("m",) * len(strides), channels, strides, math.lcm(*strides), 4, (0.5,) * 3, (0.5,) * 3
    )


def features(info: FeatureInfo) -> HeadFeatures:
    generator = torch.Generator().manual_seed(1)
    rows, columns = (-(-side // info.size_divisor) * info.size_divisor for side in CANVAS)
    maps = tuple(
        FeatureMap(torch.randn(1, width, rows // s, columns // s, generator=generator), s)
        for width, s in zip(info.channels, info.strides, strict=True)
    )
    return HeadFeatures(None, maps, CANVAS, (META,))


def built(strides: tuple[int, ...], **options: str | int) -> tuple[UNet, HeadFeatures]:
    torch.manual_seed(0)
    info = info_of(strides)
    return UNet(info, TASK, **{"width": 4, **options}).eval(), features(info)  # type: ignore[arg-type]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("unpooling", ["nearest", "bed_of_nails", "bilinear"])
@pytest.mark.parametrize("strides", [(2, 4, 8, 16, 32), (4, 16), (3, 6, 12), (16, 16, 16), (14,), (1,)])
def test_any_strides_end_on_the_canvas(padding: str, unpooling: str, strides: tuple[int, ...]) -> None:
    head, given = built(strides, padding=padding, unpooling=unpooling)
    scores = head(given)
    assert scores.shape == (1, 2, *CANVAS)
    assert scores.isfinite().all()
    scores.square().sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters() if parameter.requires_grad)


def test_far_from_the_edge_both_paddings_are_one_network() -> None:
    same, given = built((4, 8, 16))
    valid, _ = built((4, 8, 16), padding="valid")
    valid.load_state_dict(same.state_dict())
    difference = (same(given) - valid(given)).detach().abs()[0].amax(dim=0)
    # Zeros reach in by two cells a level and one of interpolation: 3 x 8 and 3 x 4 pixels, 6 to the pixels.
    assert float(difference[42:-42, 42:-42].max()) < 1e-5
    assert float(difference[:4].max()) > 1e-3


def test_valid_is_the_mirrored_maps_cropped_to_what_the_convolutions_leave() -> None:
    head, given = built((4, 8, 16), padding="valid", unpooling="nearest")
    far = 6  # cells of the coarsest map, more than needed
    values, skips = mirrored(given.maps[2].values, far), [mirrored(given.maps[1].values, far * 2)]
    skips.append(mirrored(given.maps[0].values, far * 4))
    for skip, level in zip(skips, head.levels, strict=True):
        values = values.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        values = level(torch.cat([_cropped(skip, values), values][::-1], dim=1))
    rows, columns = ((size - cells) // 2 for size, cells in zip(values.shape[2:], (24, 40), strict=True))
    scores = head.classify(values[..., rows : rows + 24, columns : columns + 40])
    expected = F.interpolate(scores, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(head(given), expected, atol=1e-5, rtol=1e-5)


def _cropped(skip: Tensor, like: Tensor) -> Tensor:
    down, right = ((a - b) // 2 for a, b in zip(skip.shape[2:], like.shape[2:], strict=True))
    return skip[..., down : down + like.shape[2], right : right + like.shape[3]]


@pytest.mark.parametrize("ratios", [(2, 2, 2, 2), (1, 1, 2), (4,), (2, 1, 3), ()])
def test_the_first_margin_is_the_least_that_suffices(ratios: tuple[float, ...]) -> None:
    def left(margin: float) -> float:
        for ratio in ratios:
            margin = margin * ratio - 2
        return margin

    assert left(first_margin(ratios)) >= 0
    assert not ratios or left(first_margin(ratios) - 1) < 0


def test_the_climb_goes_on_beyond_a_coarse_finest_map() -> None:
    assert climb((2, 4, 8, 16, 32), whole=True) == (2, 2, 2, 2)
    assert climb((16, 16, 16, 16), whole=True) == (1, 1, 1, 2, 2)
    assert climb((14,), whole=True) == (2, 2)
    assert climb((4, 7), whole=False) == (1.75,)


def test_every_map_has_a_say() -> None:
    head, given = built((2, 4, 8))
    before = head(given)
    for place in range(3):
        maps = list(copy.copy(given.maps))
        maps[place] = FeatureMap(maps[place].values + 1, maps[place].stride)
        assert (head(HeadFeatures(None, tuple(maps), CANVAS, (META,))) - before).abs().max() > 1e-4


def test_strides_and_words_that_do_not_fit_are_refused() -> None:
    for options in ({"padding": "valid"}, {"unpooling": "bed_of_nails"}):
        with pytest.raises(ModelError, match=r"strides \(4, 7\)"):
            built((4, 7), **options)
    head, given = built((4, 7))
    assert head(given).shape == (1, 2, *CANVAS)
    with pytest.raises(ConfigError, match="did you mean 'nearest'"):
        built((4, 8), unpooling="nearst")
