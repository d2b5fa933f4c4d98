"""Every public class of kornia.augmentation: usable in a policy, row by row, or refused with a reason."""

from __future__ import annotations

import inspect
import pickle
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import kornia.augmentation
import numpy as np
import pytest
import torch
from torch import Tensor

from sslkit.data.views.kornia_named import CLASSES, COLOUR, KORNIA, REFUSED, KorniaOperation
from sslkit.data.views.operations import OPERATIONS, build_operation
from sslkit.data.views.policy import build_views
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.keyed_random import Keys, Stream

ROWS, SIDE = 4, 32
# What has no default, or does nothing by default.
OPTIONS: dict[str, dict[str, Any]] = {
    "ColorJiggle": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "ColorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "RandAugment": {"n": 2, "m": 10},
    "RandomAffine": {"degrees": 20, "translate": [0.1, 0.1], "scale": [0.8, 1.2], "shear": [-5.0, 5.0]},
    "RandomBrightness": {"brightness": [0.5, 1.5]},
    "RandomContrast": {"contrast": [0.5, 1.5]},
    "RandomFisheye": {"center_x": [-0.3, 0.3], "center_y": [-0.3, 0.3], "gamma": [0.8, 1.2]},
    "RandomGamma": {"gamma": [0.5, 2.0]},
    "RandomGaussianBlur": {"kernel_size": [5, 5], "sigma": [0.1, 2.0]},
    "RandomHue": {"hue": [-0.3, 0.3]},
    "RandomJPEG": {"jpeg_quality": [5.0, 50.0]},
    "RandomMotionBlur": {"kernel_size": [3, 5], "angle": 35.0, "direction": 0.5},
    "RandomPlanckianJitter": {"mode": "blackbody", "select_from": [0, 23]},
    "RandomPosterize": {"bits": [2, 5]},
    "RandomRain": {"number_of_drops": [50, 100]},
    "RandomRotation": {"degrees": 15.0},
    "RandomRotation90": {"times": [1, 3]},
    "RandomSaturation": {"saturation": [0.3, 2.0]},
    "RandomSharpness": {"sharpness": 0.9},
    "RandomShear": {"shear": 10.0},
    "RandomSnow": {"snow_coefficient": [0.2, 0.8], "brightness": [1, 3]},
    "RandomTranslate": {"translate_x": [-0.2, 0.2], "translate_y": [-0.2, 0.2]},
}


def pictures(rows: int = ROWS, channels: int = 3, side: int = SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    smooth = torch.nn.functional.interpolate(
        torch.rand(rows, channels, 4, 4, generator=generator), size=(side, side), mode="bilinear"
    )
    return (0.1 + 0.7 * smooth + 0.1 * torch.rand(rows, channels, side, side, generator=generator)).clamp(
        0, 1
    )


def stream(rows: int = ROWS) -> Stream:
    return Keys(seed=1, epoch=2, ids=torch.arange(rows)).stream(0, "1.test")


def built(name: str, **options: Any) -> KorniaOperation:
    operation = build_operation({"op": name, "p": 1.0, **OPTIONS.get(name, {}), **options})
    assert isinstance(operation, KorniaOperation)
    return operation


def test_every_public_class_is_usable_or_refused() -> None:
    public = {name for name, kind in vars(kornia.augmentation).items() if inspect.isclass(kind)}
    assert len(public) > 80
    assert public <= KORNIA | set(REFUSED)
    assert not set(KORNIA) & set(REFUSED)
    assert not set(KORNIA) & set(OPERATIONS)
    assert {"AutoAugment", "RandAugment", "TrivialAugment", "RandomPlasmaShadow", "RandomErasing"} <= KORNIA


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_class_says_why(name: str) -> None:
    with pytest.raises(ConfigError, match=f"kornia's {name} cannot be an operation of a view: .{{20}}"):
        build_operation({"op": name})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("RandomResizedCrop", "crop_resize"),
        ("Resize", "size"),
        ("RandomMixUpV2", "one sample alone"),
        ("RandomMosaic", "one sample alone"),
        ("RandomAffine3D", "volumes"),
        ("Normalize", "mean and std"),
        ("VideoSequential", "one by one"),
        ("AugmentationBase2D", "base class"),
        ("RandomDissolving", "download"),
    ],
)
def test_the_reasons_name_what_to_do_instead(name: str, told: str) -> None:
    assert told in REFUSED[name]


@pytest.mark.parametrize("name", sorted(KORNIA))
def test_a_row_follows_from_its_key_alone(name: str) -> None:
    operation, images = built(name), pictures()
    numbers = operation.draw(stream())
    before = torch.get_rng_state()
    together = operation.apply(images.clone(), numbers)
    assert torch.equal(torch.get_rng_state(), before)
    assert together.shape == images.shape
    assert together.isfinite().all()
    assert together.amin() >= 0
    assert together.amax() <= 1
    assert not torch.equal(together, images)
    # Another order, other generators, a copy from another process: the same bits.
    torch.manual_seed(99), np.random.seed(99), random.seed(99)
    other: KorniaOperation = pickle.loads(pickle.dumps(operation))
    for row in (2, 0, 3, 1):
        alone = {key: values[row : row + 1] for key, values in numbers.items()}
        assert torch.equal(other.apply(images[row : row + 1].clone(), alone)[0], together[row])


RANDOM = sorted(
    KORNIA
    - {"RandomAutoContrast", "RandomBoxBlur", "RandomClahe", "RandomEqualize", "RandomGrayscale"}
    - {"RandomHorizontalFlip", "RandomVerticalFlip", "RandomInvert", "RandomMedianBlur"}
)


@pytest.mark.parametrize("name", RANDOM)
def test_rows_with_other_keys_get_other_numbers(name: str) -> None:
    operation, images = built(name), pictures(1).repeat(8, 1, 1, 1)
    changed = operation.apply(images.clone(), operation.draw(stream(8)))
    assert len({row.numpy().tobytes() for row in changed}) > 1


@pytest.mark.parametrize(
    "name", ["RandomPosterize", "RandomGaussianNoise", "RandomPlasmaShadow", "RandomAffine"]
)
def test_it_is_kornia_s_own_result_under_that_seed(name: str) -> None:
    operation, images = built(name), pictures()
    numbers = operation.draw(stream())
    ours = operation.apply(images.clone(), numbers)
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in OPTIONS.get(name, {}).items()}
    module = getattr(kornia.augmentation, name)(**options, p=1.0)
    for image, key, changed in zip(images, numbers["keys"].tolist(), ours, strict=True):
        torch.manual_seed(key)
        assert torch.equal(changed, module(image[None])[0].clamp(0, 1))


def test_colour_is_asked_for_exactly_where_other_channels_fail() -> None:
    def fails(name: str, channels: int, rows: int) -> bool:
        operation, images = built(name), pictures(rows, channels, 16)
        try:
            return operation.apply(images, operation.draw(stream(rows))).shape != images.shape
        except ConfigError:
            return True

    tries = {name: 60 if name.endswith("Augment") else 1 for name in KORNIA}
    assert {name for name in KORNIA if fails(name, 1, tries[name])} == COLOUR
    # These take grey and colour but nothing else, and say so at the first batch.
    grey_or_colour = {"RandomRain", "RandomSaltAndPepperNoise"}
    assert {name for name in KORNIA - COLOUR if fails(name, 5, tries[name])} == grey_or_colour


def test_chosen_rows_are_a_share_p_and_the_others_stay() -> None:
    operation, images = built("RandomInvert", p=0.3), pictures(16)
    many = operation.draw(stream(4000))["chosen"]
    assert many.float().mean().item() == pytest.approx(0.3, abs=0.03)
    numbers = operation.draw(stream(16))
    changed, chosen = operation.apply(images.clone(), numbers), numbers["chosen"]
    assert 0 < int(chosen.sum()) < 16
    assert torch.equal(changed[~chosen], images[~chosen])
    assert torch.equal(changed[chosen], 1 - images[chosen])


def test_p_is_the_class_s_own_where_not_given() -> None:
    for name in KORNIA:
        own = inspect.signature(CLASSES[name]).parameters.get("p")
        operation = build_operation({"op": name, **OPTIONS.get(name, {})})
        assert isinstance(operation, KorniaOperation)
        assert operation.p == (1.0 if own is None else own.default)


def test_threads_do_not_disturb_each_other() -> None:
    operation, images = built("RandomGaussianNoise", std=0.1), pictures(40)
    numbers = operation.draw(stream(40))
    expected = operation.apply(images.clone(), numbers)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # many changes of thread within one image
    try:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: operation.apply(images.clone(), numbers), range(8)))
    finally:
        sys.setswitchinterval(interval)
    assert all(torch.equal(result, expected) for result in done)


def test_in_a_policy_views_do_not_depend_on_the_batch() -> None:
    spec = [["crop_resize_flip", "RandomPlasmaBrightness", "color_drop", "RandomErasing"]] * 2
    views = build_views(
        [[{"op": name} for name in view] for view in spec], size=24, mean=(0.5,) * 3, std=(0.2,) * 3
    )
    pixels = (pictures(6) * 255).byte()
    whole = torch.tensor([0, 0, SIDE, SIDE]).repeat(6, 1)
    together = views(pixels, whole, Keys(3, 0, torch.arange(6)))
    apart = [
        views(pixels[k : k + 2], whole[k : k + 2], Keys(3, 0, torch.arange(k, k + 2))) for k in (0, 2, 4)
    ]
    for number in range(2):
        assert torch.equal(together[number], torch.cat([part[number] for part in apart]))
    assert not torch.equal(together[0], together[1])


def test_a_policy_for_grey_pictures_refuses_what_needs_colour_by_name() -> None:
    grey = {"size": 24, "mean": (0.5,), "std": (0.2,)}
    with pytest.raises(ConfigError, match="RandomRGBShift needs red, green and blue"):
        build_views([[{"op": "RandomRGBShift"}]], **grey)
    build_views([[{"op": "RandomErasing"}]], **grey)


def test_pictures_kornia_cannot_take_are_refused_with_its_complaint() -> None:
    operation = built("RandomSaltAndPepperNoise")
    with pytest.raises(
        ConfigError, match=r"RandomSaltAndPepperNoise cannot take images of \(5, 32, 32\).*1 or 3"
    ):
        operation.apply(pictures(2, 5), operation.draw(stream(2)))


@pytest.mark.parametrize(
    ("spec", "kind", "told"),
    [
        ({"op": "RandomPosterise"}, UnknownNameError, "did you mean 'RandomPosterize'"),
        ({"op": "posterize"}, UnknownNameError, "'RandomPosterize' or 'solarize'"),
        ({"op": "xyz"}, UnknownNameError, "by their own names, as RandomPosterize"),
        (
            {"op": "RandomPosterize", "bit": 3},
            UnknownNameError,
            "option of RandomPosterize 'bit'; did you mean 'bits'",
        ),
        (
            {"op": "RandomPosterize", "same_on_batch": True},
            UnknownNameError,
            "'same_on_batch'; known: bits, p",
        ),
        (
            {"op": "RandomPosterize", "bits": [9, 1]},
            ConfigError,
            "kornia refuses the options .* smaller than",
        ),
        ({"op": "RandomPosterize", "p": 2}, ConfigError, "RandomPosterize.p is 2"),
        ({"op": "RandomAffine"}, ConfigError, "RandomAffine needs degrees"),
        ({"op": "RandomGaussianBlur"}, ConfigError, "needs kernel_size and sigma"),
    ],
)
def test_a_bad_operation_is_refused_by_name(spec: dict[str, Any], kind: type[ConfigError], told: str) -> None:
    with pytest.raises(kind, match=told):
        build_operation(spec)
