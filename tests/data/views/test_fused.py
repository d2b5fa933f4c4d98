"""The fused engine: rows independent to the last bit, and as near to the exact engine as fused.py says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.data.views import fused, fused_products
from sslkit.data.views.fusion import Amounts, Fusion
from sslkit.data.views.policy import ViewPolicy, build_views
from sslkit.keyed_random import Keys

CROP = {"op": "crop_resize_flip"}
TURNS = [{"op": "flip"}, {"op": "rotate"}, {"op": "flip"}, {"op": "rotate"}]
JITTER = {"op": "color_jitter", "p": 1.0}
ONE_OF_FOUR = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
EVERYTHING = [
    CROP,
    {"op": "color_jitter"},
    {"op": "rotate"},
    {"op": "gaussian_blur"},
    {"op": "color_drop"},
    {"op": "flip"},
    {"op": "solarize"},
    {"op": "gaussian_noise"},
    {"op": "cutout"},
]
# By images, by products, and by images with sides that no block divides.
SIZES = [(64, 96), (24, 40), (70, 90)]


def photos(count: int, side: int, channels: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Smooth shapes, edges and some noise, with rectangles smaller than the canvas."""
    generator = torch.Generator().manual_seed(1)
    layers = [torch.rand(count, channels, cells, cells, generator=generator) for cells in (3, 8, 25)]
    image = sum(F.interpolate(layer, size=side, mode="bicubic") for layer in layers) / len(layers)
    image = image + 0.25 * (layers[0][:, :, :1, :1] > image)
    pixels = ((image - 0.5) * 1.5 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    sides = torch.randint(side * 2 // 3, side + 1, (count, 2), generator=generator)
    return pixels, torch.cat([(side - sides) // 2, sides], dim=1), torch.arange(count) * 7 + 3


def built(spec: Any, size: int, channels: int = 3) -> ViewPolicy:
    return build_views(spec, size=size, mean=(0.4,) * channels, std=(0.25,) * channels, engine="fused")


def both(spec: Any, size: int, side: int, count: int = 24) -> tuple[Tensor, Tensor]:
    """The first view in [0, 1], exact and fused."""
    pixels, rectangles, ids = photos(count, side)
    views = built(spec, size)
    assert views.engine == "fused"
    shown = [
        made.displayable(made(pixels, rectangles, Keys(0, 0, ids))[0])
        for made in (views.with_engine("exact"), views)
    ]
    return shown[0], shown[1]


@pytest.mark.parametrize(("size", "side"), SIZES)
@pytest.mark.parametrize(
    ("operations", "most"),
    [
        ([], 0.0045),
        (TURNS, 0.0045),
        ([{"op": "color_drop", "p": 1.0}], 0.0045),
        ([{"op": "gaussian_blur", "p": 1.0}], 0.01),
        ([*TURNS, {"op": "gaussian_blur", "p": 1.0, "kernel": 0.2}, *TURNS], 0.01),
        ([JITTER | ONE_OF_FOUR | {"brightness": 0.8}], 0.01),
        ([JITTER | ONE_OF_FOUR | {"contrast": 0.8}], 0.01),
        ([JITTER | ONE_OF_FOUR | {"saturation": 0.4}], 0.012),
        ([{"op": "intensity_jitter", "p": 1.0, "contrast": 0.0}], 0.01),
        ([{"op": "gaussian_blur", "p": 1.0}, {"op": "gaussian_blur", "p": 1.0}], 0.01),
        ([{"op": "sobel", "p": 1.0}, {"op": "flip"}], 0.01),
    ],
    ids=[
        *("crop", "turns", "grey", "blur", "turned blur", "bright", "contrast", "saturation", "intensity"),
        *("blurred twice", "edges"),
    ],
)
def test_what_commutes_is_exact_but_for_rounding(
    operations: list[Any], most: float, size: int, side: int
) -> None:
    exact, fast = both([[CROP, *operations]], size, side)
    assert float((exact - fast).abs().max()) < most


@pytest.mark.parametrize(("size", "side"), SIZES)
@pytest.mark.parametrize(
    ("spec", "difference", "moments"),
    [
        ([[CROP, JITTER | ONE_OF_FOUR | {"hue": 0.2}]], 0.06, 0.02),
        ([[CROP, JITTER]], 0.05, 0.02),
        ("simclr", 0.04, 0.02),
        ("simclr_small", 0.03, 0.012),
        ("byol", 0.03, 0.012),
        ("multi_channel", 0.02, 0.012),
    ],
    ids=["hue", "jitter", "simclr", "simclr_small", "byol", "multi_channel"],
)
def test_strong_colour_is_alike_in_mean_spread_and_sample_by_sample(
    spec: Any, difference: float, moments: float, size: int, side: int
) -> None:
    exact, fast = both(spec, size, side, count=48)
    assert float((exact - fast).abs().mean()) < difference
    for moment in (torch.mean, torch.std):
        for channel in range(3):
            assert float(moment(exact[:, channel]) - moment(fast[:, channel])) == pytest.approx(
                0, abs=moments
            )
    # A chance pair of views of the same picture differs by far more.
    assert float((exact - fast).abs().mean()) < 0.35 * float((exact - exact.roll(1, 0)).abs().mean())


@pytest.mark.parametrize(("size", "side"), SIZES)
def test_solarisation_inverts_the_same_pixels(size: int, side: int) -> None:
    exact, fast = both([[CROP, {"op": "solarize", "p": 0.5, "threshold": 0.4}]], size, side)
    apart = (exact - fast).abs()
    # Only a pixel that rounding carries over the threshold is far off.
    assert float((apart > 0.01).float().mean()) < 0.02


@pytest.mark.parametrize(("size", "side"), SIZES)
@pytest.mark.parametrize("spec", ["simclr", "byol", [EVERYTHING, EVERYTHING[1:]]], ids=str)
def test_a_row_is_the_same_to_the_last_bit_in_any_batch(spec: Any, size: int, side: int) -> None:
    views = built(spec, size)
    pixels, rectangles, ids = photos(19, side)
    whole = views(pixels, rectangles, Keys(4, 2, ids))
    for order in ([0], [18], [3, 4], list(range(7)), list(range(18, -1, -1)), [5, 1, 17, 5, 9, 0, 2, 11]):
        part = views(pixels[order], rectangles[order], Keys(4, 2, ids[order]))
        for made, expected in zip(part, whole, strict=True):
            assert torch.equal(made, expected[order])


@pytest.mark.parametrize(("size", "side"), [(64, 96), (24, 40), (20, 33)])
def test_threads_change_nothing(size: int, side: int) -> None:
    views = built([EVERYTHING], size)
    pixels, rectangles, ids = photos(45, side)
    threads = torch.get_num_threads()
    shown = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            shown += views(pixels, rectangles, Keys(0, 0, ids))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(shown[0], shown[1])
    assert torch.equal(shown[0], shown[2])


def test_products_have_one_shape_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries choose how to add up by the shape; here they happen to choose alike."""
    shapes = set()
    resampled = fused_products._resampled

    def seen(fusion: Fusion, canvases: Tensor, amounts: Amounts) -> Tensor:
        shapes.add((tuple(canvases.shape), amounts.sigma.shape[0]))
        return resampled(fusion, canvases, amounts)

    monkeypatch.setattr(fused_products, "_resampled", seen)
    views = built("simclr", 24)
    for count in (1, 5, 70):
        pixels, rectangles, ids = photos(count, 40)
        views(pixels, rectangles, Keys(0, 0, ids))
    assert len(shapes) == 1


def test_products_and_images_are_two_ways_to_one_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerators take products for every size; on a processor they are computed here to compare."""
    spec = [[CROP, *TURNS, {"op": "gaussian_blur", "p": 0.5}, JITTER, {"op": "solarize"}]]
    pixels, rectangles, ids = photos(13, 96)
    views = built(spec, 64)
    (images,) = views(pixels, rectangles, Keys(0, 0, ids))
    monkeypatch.setattr(fused, "_SMALL", 10**9)
    (products,) = views(pixels, rectangles, Keys(0, 0, ids))
    apart = (images - products).abs() * 0.25  # the deviation that was divided by
    # Jitter may treble a rounding; only a pixel carried over the threshold of solarisation is far off.
    assert float((apart > 0.03).float().mean()) < 0.005
    assert float(apart.mean()) < 0.003


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
@pytest.mark.parametrize(("size", "side"), SIZES[:2])
def test_any_number_of_channels(channels: int, size: int, side: int) -> None:
    pixels, rectangles, ids = photos(9, side, channels)
    views = built("multi_channel", size, channels)
    fast = views(pixels, rectangles, Keys(0, 0, ids))
    exact = views.with_engine("exact")(pixels, rectangles, Keys(0, 0, ids))
    for one, other in zip(exact, fast, strict=True):
        assert one.shape == other.shape == (9, channels, size, size)
        assert float((one - other).abs().mean()) * 0.25 < 0.02


def test_views_stay_within_what_pixels_can_be() -> None:
    pixels, rectangles, ids = photos(20, 96)
    wild = JITTER | {"brightness": 2.0, "contrast": 2.0, "saturation": 2.0, "hue": 0.5}
    (view,) = built([[CROP, wild]], 64)(pixels, rectangles, Keys(0, 0, ids))
    assert float(view.min()) == pytest.approx(-0.4 / 0.25)
    assert float(view.max()) == pytest.approx(0.6 / 0.25)


def test_padding_never_shows_in_a_view() -> None:
    for size, side in SIZES:
        pixels, rectangles, ids = photos(20, side)
        marked = torch.full_like(pixels, 255)
        for image, (top, left, height, width) in zip(marked, rectangles.tolist(), strict=True):
            image[:, top : top + height, left : left + width] = 100
        blur = {"op": "gaussian_blur", "p": 1.0}
        for view in built([[CROP, blur], [{"op": "flip"}, blur]], size)(marked, rectangles, Keys(0, 0, ids)):
            assert float((view * 0.25 + 0.4 - 100 / 255).abs().max()) < 0.005


def test_the_batch_and_torch_s_generator_are_left_alone() -> None:
    for size, side in SIZES:
        pixels, rectangles, ids = photos(4, side)
        before, state = pixels.clone(), torch.get_rng_state()
        built([EVERYTHING], size)(pixels, rectangles, Keys(0, 0, ids))
        assert torch.equal(pixels, before)
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("size", "side"), SIZES[:2])
def test_an_empty_batch_gives_empty_views(size: int, side: int) -> None:
    pixels, rectangles, ids = photos(0, side)
    for view in built([EVERYTHING, EVERYTHING[1:]], size)(pixels, rectangles, Keys(0, 0, ids)):
        assert view.shape == (0, 3, size, size)


@pytest.mark.parametrize(
    ("operations", "count"),
    [
        ([{"op": "color_jitter"}, {"op": "color_drop"}, {"op": "gaussian_blur"}, {"op": "solarize"}], 4),
        ([{"op": "gaussian_blur"}, {"op": "color_jitter"}, {"op": "gaussian_blur"}], 2),
        ([{"op": "solarize"}, {"op": "color_jitter"}], 1),
        ([{"op": "gaussian_noise"}, {"op": "color_jitter"}], 0),
        ([{"op": "rotate"}, {"op": "flip"}, {"op": "intensity_jitter"}, {"op": "original"}], 3),
    ],
)
def test_operations_are_fused_up_to_the_first_that_cannot_be(operations: list[Any], count: int) -> None:
    (view,) = built([[CROP, *operations]], 32)._views
    fusion = Fusion.of(view)
    assert len(fusion.fused) == count
    assert fusion.fused + fusion.rest == view.operations
