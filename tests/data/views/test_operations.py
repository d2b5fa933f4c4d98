"""Every operation against kornia or torchvision, given the same numbers; and how operations are named."""

from __future__ import annotations

import kornia
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from sslkit.data.views.colour import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    SATURATION,
    ColorDrop,
    ColorJitter,
    Solarize,
    shift_hue,
)
from sslkit.data.views.filters import GaussianBlur, GaussianNoise, Sobel
from sslkit.data.views.operations import OPERATIONS, build_operation
from sslkit.data.views.placement import Cutout, Flip, Original, Rotate
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.keyed_random import Keys, Stream

SIZE = 40


def photographs(count: int = 6, size: int = SIZE) -> Tensor:
    """Smooth colours with some texture, in [0, 1]."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return (smooth + 0.1 * torch.rand(count, 3, size, size, generator=generator)).clamp(0, 1)


def stream(count: int, name: str = "test") -> Stream:
    return Keys(seed=1, epoch=2, ids=torch.arange(count)).stream(0, name)


def everyone(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def test_the_ten_operations_of_simclr_solarize_and_intensity_jitter_are_listed() -> None:
    assert set(OPERATIONS) == {
        *("crop_resize", "crop_resize_flip", "flip", "color_drop", "color_jitter", "rotate", "cutout"),
        *("gaussian_noise", "gaussian_blur", "sobel", "original", "solarize", "intensity_jitter"),
    }
    assert all(kind.name == name for name, kind in OPERATIONS.items())


ADJUST = {
    BRIGHTNESS: tv.adjust_brightness,
    CONTRAST: tv.adjust_contrast,
    SATURATION: tv.adjust_saturation,
    HUE: tv.adjust_hue,
}


def test_jitter_equals_torchvision_in_each_sample_s_own_order() -> None:
    images = photographs(12)
    jitter = ColorJitter(p=1.0)
    numbers = jitter.draw(stream(12))
    assert len({tuple(order) for order in numbers["order"].tolist()}) > 4
    expected = []
    for image, amounts, order in zip(images, numbers["amounts"], numbers["order"], strict=True):
        for turn in order.tolist():
            image = ADJUST[turn](image, amounts[turn].item())
        expected.append(image)
    torch.testing.assert_close(
        jitter.apply(images.clone(), numbers), torch.stack(expected), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("adjustment", [BRIGHTNESS, CONTRAST, SATURATION])
def test_one_adjustment_alone_equals_torchvision(adjustment: int) -> None:
    images = photographs()
    amounts = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(6, 1)
    amounts[:, adjustment] = torch.linspace(0.2, 1.8, 6)
    numbers = {"chosen": everyone(6), "amounts": amounts, "order": torch.arange(4).repeat(6, 1)}
    expected = torch.stack(
        [ADJUST[adjustment](x, a[adjustment].item()) for x, a in zip(images, amounts, strict=True)]
    )
    ours = ColorJitter(p=1.0).apply(images.clone(), numbers)
    torch.testing.assert_close(ours, expected, atol=3e-4, rtol=0)


def test_hue_shift_equals_kornia_for_every_kind_of_colour() -> None:
    levels = torch.linspace(0, 1, 6)  # includes black, white, greys, pure colours and equal largest channels
    colours = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 12, 18).repeat(7, 1, 1, 1)
    turns = torch.tensor([-0.5, -0.2, -0.01, 0.0, 0.1, 0.3, 0.5])
    ours = shift_hue(colours.clone(), turns)
    torch.testing.assert_close(
        ours, kornia.enhance.adjust_hue(colours, turns * 2 * torch.pi), atol=1e-5, rtol=0
    )


def test_color_drop_equals_kornia_greyscale() -> None:
    images = photographs()
    ours = ColorDrop().apply(images.clone(), {"chosen": everyone(6)})
    torch.testing.assert_close(ours, kornia.color.rgb_to_grayscale(images).repeat(1, 3, 1, 1))


def test_solarize_equals_torchvision() -> None:
    images = photographs()
    ours = Solarize(threshold=0.4).apply(images.clone(), {"chosen": everyone(6)})
    assert torch.equal(ours, tv.solarize(images, 0.4))


def test_blur_equals_kornia_with_each_sample_s_sigma() -> None:
    images, blur = photographs(), GaussianBlur(kernel=0.3)
    sigma = torch.tensor([0.1, 0.5, 1.0, 1.5, 2.0, 5.0])
    ours = blur.apply(images.clone(), {"chosen": everyone(6), "sigma": sigma})
    expected = kornia.filters.gaussian_blur2d(images, (13, 13), torch.stack([sigma, sigma], dim=1), "reflect")
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_blur_kernel_is_a_tenth_of_the_image_made_odd() -> None:
    assert 2 * GaussianBlur().radius(224) + 1 == 23
    assert 2 * GaussianBlur().radius(32) + 1 == 3


def test_sobel_equals_kornia() -> None:
    images = photographs()
    ours = Sobel().apply(images.clone(), {"chosen": everyone(6)})
    torch.testing.assert_close(ours, kornia.filters.sobel(images), atol=5e-5, rtol=0)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_rotate_turns_by_quarters(quarters: int) -> None:
    images = photographs()
    ours = Rotate().apply(images.clone(), {"quarters": torch.full((6,), quarters)})
    assert torch.equal(ours, torch.rot90(images, quarters, (2, 3)))


def test_flip_mirrors_only_the_chosen() -> None:
    images, chosen = photographs(), torch.tensor([True, False] * 3)
    ours = Flip().apply(images.clone(), {"chosen": chosen})
    assert torch.equal(ours[chosen], tv.horizontal_flip(images[chosen]))
    assert torch.equal(ours[~chosen], images[~chosen])


def test_cutout_paints_one_square_inside_the_image() -> None:
    images, cutout = torch.ones(200, 3, SIZE, SIZE), Cutout(p=1.0, side=(0.25, 0.5), fill=0.0)
    ours = cutout.apply(images.clone(), cutout.draw(stream(200)))
    for image in ours:
        down, right = (image[0] == 0).nonzero().unbind(1)
        height, width = int(down.max() - down.min()) + 1, int(right.max() - right.min()) + 1
        assert height == width
        assert 0.25 * SIZE <= height <= 0.5 * SIZE
        assert down.numel() == height * width
        assert torch.equal(image[0], image[2])
    assert (ours[:, :, 0] == 0).any()
    assert (ours[:, :, -1] == 0).any()


def test_noise_has_the_drawn_deviation_and_differs_between_samples_and_pixels() -> None:
    images, noise = torch.full((4, 3, 64, 64), 0.5), GaussianNoise(p=1.0, std=(0.05, 0.1))
    numbers = noise.draw(stream(4))
    added = noise.apply(images.clone(), numbers) - images
    torch.testing.assert_close(added.std(dim=(1, 2, 3)), numbers["std"], rtol=0.03, atol=0)
    assert added.mean(dim=(1, 2, 3)).abs().max() < 0.005
    assert torch.corrcoef(added.flatten(1)).fill_diagonal_(0).abs().max() < 0.05


def test_original_changes_nothing() -> None:
    images = photographs()
    assert Original().apply(images, Original().draw(stream(6))) is images


def test_drawn_numbers_have_the_stated_distributions() -> None:
    many = stream(20000)
    jitter = ColorJitter(p=0.8, brightness=0.4, contrast=1.5, saturation=0.2, hue=0.1).draw(many)
    assert jitter["chosen"].float().mean().item() == pytest.approx(0.8, abs=0.01)
    low, high = jitter["amounts"].aminmax(dim=0)
    torch.testing.assert_close(low, torch.tensor([0.6, 0.0, 0.8, -0.1]), atol=2e-3, rtol=0)
    torch.testing.assert_close(high, torch.tensor([1.4, 2.5, 1.2, 0.1]), atol=2e-3, rtol=0)
    orders = torch.unique(jitter["order"], dim=0, return_counts=True)[1]
    assert len(orders) == 24
    assert orders.min() > 20000 / 24 * 0.8
    blur = GaussianBlur().draw(many)
    assert blur["sigma"].mean().item() == pytest.approx(1.05, abs=0.02)
    quarters = torch.bincount(Rotate().draw(many)["quarters"], minlength=4) / 20000
    torch.testing.assert_close(quarters, torch.full((4,), 0.25), atol=0.015, rtol=0)


def test_building_accepts_lists_for_ranges_as_recipes_write_them() -> None:
    assert build_operation({"op": "gaussian_blur", "sigma": [0.2, 1.0]}) == GaussianBlur(sigma=(0.2, 1.0))


@pytest.mark.parametrize(
    ("spec", "kind", "told"),
    [
        ({"op": "colour_jitter"}, UnknownNameError, "color_jitter"),
        ({"op": "flip", "prob": 0.5}, UnknownNameError, "option of flip 'prob'"),
        ({"op": "gaussian_blur", "sigmas": [0, 1]}, UnknownNameError, "'sigma'"),
        ({"op": "flip", "p": 1.5}, ConfigError, "flip.p is 1.5"),
        ({"op": "flip", "p": "half"}, ConfigError, "flip.p is 'half'"),
        ({"op": "crop_resize", "scale": [0.9, 0.1]}, ConfigError, "smaller number comes first"),
        ({"op": "crop_resize", "scale": 0.5}, ConfigError, "two numbers"),
        ({"op": "crop_resize", "scale": [0, 1]}, ConfigError, "greater than 0"),
        ({"op": "crop_resize_flip", "p": 2}, ConfigError, "crop_resize_flip.p"),
        ({"op": "color_jitter", "hue": 0.7}, ConfigError, "color_jitter.hue is 0.7"),
        ({"p": 0.5}, ConfigError, "key 'op'"),
        ("flip", ConfigError, "key 'op'"),
    ],
)
def test_a_bad_operation_is_refused_by_name(spec: object, kind: type[ConfigError], told: str) -> None:
    with pytest.raises(kind, match=told):
        build_operation(spec)  # type: ignore[arg-type]
