"""What is drawn for a sample is a function of its key, and of the shape asked for."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from sslkit.data.augment import Augment, Elastic
from sslkit.data.warp import Placed, fit
from sslkit.errors import ConfigError
from sslkit.keyed_random import Keys


def key(id: int, *, seed: int = 0, epoch: int = 0) -> Keys:
    return Keys(seed, epoch, torch.tensor([id]))


def alike(one: Placed, other: Placed) -> bool:
    if one.displaced is None or other.displaced is None:
        return one == other and one.displaced is other.displaced
    return one == other and torch.equal(one.displaced, other.displaced)


FULL = Augment(flip=0.5, scale=(0.5, 2.0), elastic=Elastic(3, 12, 0.5), colour=0.4)


def test_a_draw_is_a_function_of_seed_epoch_id_and_view() -> None:
    first = FULL.draw((50, 70), (48, 64), key(3))
    assert alike(first, FULL.draw((50, 70), (48, 64), key(3)))
    for other in (key(4), key(3, seed=1), key(3, epoch=1)):
        assert not alike(first, FULL.draw((50, 70), (48, 64), other))
    assert not alike(first, FULL.draw((50, 70), (48, 64), key(3), view=1))
    zoomed = Augment(scale=(0.5, 2.0))
    assert zoomed.draw((50, 70), (48, 64), key(3)) != zoomed.draw((50, 70), (48, 64), key(3), view=1)
    bent = [Elastic(3, 12).field((20, 20), key(3), view) for view in (0, 0, 1)]
    assert torch.equal(bent[0], bent[1])
    assert not torch.equal(bent[0], bent[2])
    noise = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    assert not torch.equal(FULL.coloured(noise, key(3)), FULL.coloured(noise, key(3), view=1))


def test_nothing_asked_for_is_a_plain_fit() -> None:
    nothing = Augment()
    image = torch.randint(0, 256, (3, 50, 90), dtype=torch.uint8)
    assert nothing.draw((50, 90), (48, 64), key(0)) == fit((50, 90), (48, 64))
    assert nothing.coloured(image, key(0)) is image


def test_scales_are_uniform_in_their_logarithm_between_their_limits() -> None:
    augment = Augment(scale=(0.5, 2.0))
    scales = [augment.draw((480, 640), (480, 640), key(id)).scaled[1] / 640 for id in range(600)]
    logs = sorted(math.log2(scale) for scale in scales)
    assert logs[0] >= -1.002
    assert logs[-1] <= 1.002
    # Kolmogorov and Smirnov: 1.63 / sqrt(n) is the 1 % point.
    assert max(abs((x + 1) / 2 - place / 600) for place, x in enumerate(logs)) < 1.63 / math.sqrt(600)


def test_windows_lie_anywhere_inside_and_small_images_at_the_top_left() -> None:
    augment = Augment(scale=(2.0, 2.0))
    offsets = Counter(augment.draw((10, 8), (10, 12), key(id)).offset for id in range(800))
    assert set(offsets) == {(top, left) for top in range(11) for left in range(5)}
    assert max(offsets.values()) < 2.6 * 800 / 55
    small = Augment(scale=(0.5, 0.9))
    assert all(small.draw((10, 8), (10, 12), key(id)).offset == (0, 0) for id in range(50))
    assert all(max(small.draw((10, 8), (10, 12), key(id)).valid) <= 9 for id in range(50))


def test_probabilities_are_kept() -> None:
    drawn = [FULL.draw((20, 20), (24, 24), key(id)) for id in range(400)]
    assert 160 < sum(one.flipped for one in drawn) < 240
    assert 160 < sum(one.displaced is not None for one in drawn) < 240
    both = sum(one.flipped and one.displaced is not None for one in drawn)
    assert 65 < both < 135  # they do not depend on each other
    assert not any(Augment().draw((20, 20), (24, 24), key(id)).flipped for id in range(100))


@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 2.0), (4.0, 8.0), (6.0, 40.0)])
def test_displacements_have_the_deviation_and_smoothness_asked_for(alpha: float, sigma: float) -> None:
    """Noise smoothed by a Gaussian is correlated as exp(-d^2 / (4 sigma^2)) over a distance d."""
    size = (90, 130)
    fields = torch.stack([Elastic(alpha, sigma).field(size, key(id)) for id in range(100)])
    assert fields.shape == (100, 2, *size)
    assert float(fields.std()) == pytest.approx(alpha, rel=0.1)
    assert abs(float(fields.mean())) < 0.15 * alpha
    far = round(sigma)
    for near, there in (
        (fields[..., :-far], fields[..., far:]),
        (fields[..., :-far, :], fields[..., far:, :]),
    ):
        correlation = torch.corrcoef(torch.stack([near.flatten(), there.flatten()]))[0, 1]
        assert float(correlation) == pytest.approx(math.exp(-((far / sigma) ** 2) / 4), abs=0.08)
    x_with_y = torch.corrcoef(torch.stack([fields[:, 0].flatten(), fields[:, 1].flatten()]))[0, 1]
    assert abs(float(x_with_y)) < 0.1
    inside, border = fields[..., 30:60, 40:90].std(), fields[..., :3, :3].std()
    assert float(border) == pytest.approx(float(inside), rel=0.25)


def test_colours_are_torchvisions_one_after_another() -> None:
    """Saturation, then brightness, then contrast, up to its rounding and clipping in between."""
    image = torch.randint(90, 160, (3, 30, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augment = Augment(colour=0.3)
    for id in range(20):
        brightness, contrast, saturation = (
            0.7 + 0.6 * key(id).stream(0, "colour").uniform(3)[0].to(torch.float64)
        ).tolist()
        expected = tv.adjust_saturation(image.double() / 255, saturation)
        expected = tv.adjust_contrast(tv.adjust_brightness(expected, brightness), contrast)
        got = augment.coloured(image, key(id)).double()
        assert (got - 255 * expected.clamp(0, 1)).abs().max() < 0.6


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_numbers_of_channels_keep_their_differences(channels: int) -> None:
    image = torch.randint(90, 160, (channels, 30, 40), dtype=torch.uint8)
    changed = Augment(colour=0.2).coloured(image, key(1))
    brightness, contrast, _ = (0.8 + 0.4 * key(1).stream(0, "colour").uniform(3)[0]).tolist()
    assert changed.shape == image.shape
    spread = (changed.double() - changed.double()[:1]) - brightness * contrast * (image.double() - image[:1])
    assert spread.abs().max() < 1.1


def test_frames_change_as_one_picture_of_them_all() -> None:
    frames = torch.randint(
        0, 256, (4, 3, 6, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    jitter = Augment(colour=0.4)
    strip = torch.cat(list(frames), dim=2)
    for id in range(5):
        changed = jitter.coloured(frames, key(id), apart=0.0)
        assert changed.shape == frames.shape
        assert torch.equal(torch.cat(list(changed), dim=2), jitter.coloured(strip, key(id)))


def test_frames_that_change_apart_have_a_draw_each() -> None:
    frame = torch.randint(0, 256, (3, 6, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    apart = Augment(colour=0.4).coloured(torch.stack([frame] * 3), key(0), apart=1.0)
    assert len({one.numpy().tobytes() for one in apart}) == 3
    shares = [
        not torch.equal(*Augment(colour=0.4).coloured(torch.stack([frame] * 2), key(id), apart=0.3))
        for id in range(300)
    ]
    assert 0.22 < sum(shares) / 300 < 0.38


def test_strong_colour_is_clipped_and_never_wraps() -> None:
    image = torch.full((3, 4, 4), 250, dtype=torch.uint8)
    values = {int(Augment(colour=2.0).coloured(image, key(id))[0, 0, 0]) for id in range(40)}
    assert 255 in values
    assert min(values) < 100


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"flip": 1.5}, "flip=1.5: use a probability"),
        ({"scale": (0.0, 1.0)}, r"scale=\(0.0, 1.0\): use two numbers above 0"),
        ({"scale": (2.0, 1.0)}, "the smaller first"),
        ({"colour": -0.1}, "colour=-0.1"),
        ({"colour": float("nan")}, "colour=nan"),
    ],
)
def test_numbers_that_cannot_work_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Augment(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0.0, 10.0), "use pixels above 0"),
        ((5.0, 9.9), r"alpha=5.0, sigma=9.9: .* sigma >= 2 \* alpha"),
        ((1.0, 9.0, 1.1), "p=1.1: use a probability"),
    ],
)
def test_deformations_that_would_fold_are_refused(given: tuple[float, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Elastic(*given)


def windows(count: int, source: tuple[int, int] = (300, 400)) -> list[tuple[float, float]]:
    """(height, width) in pixels of the image of what a canvas of 128 pixels shows of it."""
    augment = Augment(crop=(0.08, 1.0))
    drawn = [augment.draw(source, (128, 128), key(id)) for id in range(count)]
    assert all(one.valid == (128, 128) for one in drawn)  # always full
    return [(128 * source[0] / one.scaled[0], 128 * source[1] / one.scaled[1]) for one in drawn]


def test_a_crop_shows_a_share_of_the_image_between_its_limits() -> None:
    shares = sorted(height * width / (300 * 400) for height, width in windows(600))
    assert shares[0] > 0.075
    assert shares[-1] <= 1.001
    # Uniform up to what always fits: a window of ratio 3/4 is as high as the image at a share of 0.5625.
    small = [share for share in shares if share < 0.55]
    spread = [(share - 0.08) / (0.55 - 0.08) for share in small]
    assert max(abs(x - place / len(spread)) for place, x in enumerate(spread)) < 1.63 / math.sqrt(len(spread))
    assert abs(len(small) / 600 - 0.47 / 0.92) < 0.06


def test_the_ratio_of_a_crop_is_uniform_in_its_logarithm() -> None:
    logs = sorted(
        math.log(width / height) / math.log(4 / 3)
        for height, width in windows(600)
        if height * width < 60_000
    )
    assert logs[0] > -1.05
    assert logs[-1] < 1.05
    limit = 1.63 / math.sqrt(len(logs)) + 0.02  # sides are rounded to pixels
    assert max(abs((x + 1) / 2 - place / len(logs)) for place, x in enumerate(logs)) < limit


def test_crops_lie_anywhere_and_boxes_and_pixels_go_with_them() -> None:
    augment = Augment(crop=(0.1, 0.5), flip=0.5)
    image = torch.zeros(3, 60, 80, dtype=torch.uint8)
    image[:, 20:40, 30:50] = 255
    seen = 0
    for id in range(60):
        placed = augment.draw((60, 80), (64, 64), key(id))
        ((left, top, right, bottom),) = placed.boxes(torch.tensor([[30.0, 20.0, 50.0, 40.0]])).tolist()
        bright = (placed.image(image)[0] > 127).nonzero()
        if len(bright):
            seen += 1
            assert bright.amin(0).tolist() == pytest.approx([top, left], abs=1.5)
            assert bright.amax(0).tolist() == pytest.approx([bottom - 1, right - 1], abs=1.5)
    assert 30 < seen <= 60
    offsets = [augment.draw((60, 80), (64, 64), key(id)).offset for id in range(60)]
    assert len(set(offsets)) > 50


def test_without_a_crop_draws_are_what_they_were() -> None:
    assert Augment(scale=(0.5, 2.0), flip=0.5).draw((50, 70), (48, 64), key(3)) == Placed(
        (50, 70), (48, 64), (24, 34), flipped=True
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": (0.0, 1.0)}, "two shares of the area"),
        ({"crop": (0.5, 1.2)}, "two shares of the area"),
        ({"crop": (0.8, 0.5)}, "two shares of the area"),
        ({"crop": (0.1, 1.0), "scale": (1.0, 2.0)}, "takes the place of scale"),
    ],
)
def test_crops_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Augment(**options)
