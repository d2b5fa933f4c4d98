"""Ranges: nothing at strength 0, the policy's own at 1, and never past what an operation allows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit.data.views.operations import OPERATIONS, build_operation
from sslkit.data.views.policy import POLICIES, ViewPolicy
from sslkit.data.views.ranges import RANGES, at_strengths, ranges_of
from sslkit.errors import ConfigError
from sslkit.keyed_random import Keys, Stream

EVERY_RANGE = [(operation, option) for operation, options in RANGES.items() for option in options]
CROPS = ("crop_resize", "crop_resize_flip")


def views(operation: str, option: str, strength: float) -> tuple[Tensor, Tensor]:
    """Pictures as they are, and under one operation, applied for certain, with one range at a strength."""
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (24, 3, 20, 20), dtype=torch.uint8, generator=generator)
    rectangles = torch.tensor([[0, 0, 20, 20]]).repeat(24, 1)
    # Other ranges of the operation are closed, so that only this one can change a picture.
    closed: dict[str, Any] = {} if option == "p" else {k: 0.0 for k in jitters(operation) if k != option}
    sure = {"p": 1.0} if operation != "crop_resize" else {}
    if operation in CROPS:
        closed, sure = {"ratio": [1.0, 1.0]}, {"p": 0.0} if operation == "crop_resize_flip" else {}
    spec = at_strengths([[{"op": operation, **sure, **closed}]], {f"{operation}.{option}": strength})
    policy = ViewPolicy(spec, size=20, mean=(0, 0, 0), std=(1, 1, 1))
    return pixels.float() / 255, policy(pixels, rectangles, Keys(0, 0, torch.arange(24)))[0]


def jitters(operation: str) -> list[str]:
    return [
        option for option in RANGES[operation] if option in ("brightness", "contrast", "saturation", "hue")
    ]


@pytest.mark.parametrize(("operation", "option"), EVERY_RANGE)
def test_a_range_changes_nothing_at_strength_0_and_something_at_1(operation: str, option: str) -> None:
    plain, shown = views(operation, option, 0.0)
    torch.testing.assert_close(shown, plain, atol=2e-6, rtol=0)
    plain, shown = views(operation, option, 1.0)
    changed = [not torch.allclose(a, b, atol=0.01) for a, b in zip(plain, shown, strict=True)]
    assert sum(changed) >= 20 if option != "p" else any(changed)


@pytest.mark.parametrize(("operation", "option"), EVERY_RANGE)
def test_strength_1_is_the_policy_s_own_range_and_2_is_still_allowed(operation: str, option: str) -> None:
    own = build_operation({"op": operation})
    name = f"{operation}.{option}"
    assert build_operation(at_strengths([[{"op": operation}]], {name: 1.0})[0][0]) == own
    values = [
        getattr(build_operation(at_strengths([[{"op": operation}]], {name: strength})[0][0]), option)
        for strength in (0.0, 0.3, 0.7, 1.0, 1.5, 2.0)
    ]
    assert values == sorted(values, reverse=operation in CROPS)
    assert values[0] != values[1] != values[2]


def test_ranges_stop_where_the_operation_does() -> None:
    spec = [
        [
            {"op": "crop_resize", "scale": [0.2, 1.0]},
            {"op": "color_jitter", "hue": 0.4},
            {"op": "gaussian_noise", "std": [0.1, 0.8]},
            {"op": "color_drop", "p": 0.7},
        ]
    ]
    names = ["crop_resize.scale", "color_jitter.hue", "gaussian_noise.std", "color_drop.p"]
    (view,) = at_strengths(spec, dict.fromkeys(names, 2.0))
    assert view[0]["scale"] == (0.01, 1.0)
    assert view[1]["hue"] == 0.5
    assert view[2]["std"] == (0.2, 1.0)
    assert view[3]["p"] == 1.0


def test_a_range_is_scaled_in_every_view_and_others_stay() -> None:
    local = {"size": 8, "operations": [{"op": "crop_resize", "scale": [0.1, 0.5]}, {"op": "flip", "p": 0.3}]}
    spec = [[{"op": "crop_resize", "scale": [0.4, 1.0]}], local]
    first, second = at_strengths(spec, {"crop_resize.scale": 0.5})
    assert first == [{"op": "crop_resize", "scale": (0.7, 1.0)}]
    assert second == {
        "size": 8,
        "operations": [{"op": "crop_resize", "scale": (0.3, 0.5)}, {"op": "flip", "p": 0.3}],
    }


def test_a_policy_s_ranges_are_those_of_its_first_view_that_have_room() -> None:
    assert [name for name in ranges_of(POLICIES["simclr"]) if not name.endswith(".p")] == [
        "crop_resize_flip.scale",
        "color_jitter.brightness",
        "color_jitter.contrast",
        "color_jitter.saturation",
        "color_jitter.hue",
        "gaussian_blur.sigma",
    ]
    assert "solarize.p" not in ranges_of(POLICIES["byol"])  # never applied in BYOL's first view
    closed = [[{"op": "crop_resize", "scale": [1.0, 1.0]}, {"op": "color_jitter", "hue": 0.0, "p": 0.0}]]
    assert ranges_of(closed) == {}


def test_an_operation_knows_where_it_stands() -> None:
    jitter, blur = {"op": "color_jitter"}, {"op": "gaussian_blur"}
    with_crop, without = (
        ranges_of([[{"op": "crop_resize"}, jitter, blur, jitter]]),
        ranges_of([[blur, jitter]]),
    )
    assert with_crop["crop_resize.scale"].operation == "0.crop_resize"
    assert with_crop["color_jitter.hue"].operation == "1.color_jitter"
    assert with_crop["gaussian_blur.sigma"].operation == "2.gaussian_blur"
    assert without["gaussian_blur.sigma"].operation == "1.gaussian_blur"
    assert without["color_jitter.hue"].operation == "2.color_jitter"


def test_an_operation_without_ranges_is_passed_by() -> None:
    assert set(RANGES) <= set(OPERATIONS)
    assert at_strengths([[{"op": "original"}]], {"flip.p": 0.0}) == [[{"op": "original"}]]
    with pytest.raises(ConfigError, match="a list of operations"):
        ranges_of([[]])


@pytest.mark.parametrize("operation", [operation for operation in RANGES if operation not in CROPS])
def test_number_0_of_a_draw_decides_whether_an_operation_is_applied(operation: str) -> None:
    class Given(Stream):
        first = 0.0

        def uniform(self, *shape: int) -> Tensor:
            numbers = super().uniform(*shape)
            numbers.view(len(self.keys), -1)[:, 0] = self.first
            return numbers

    stream = Given(torch.arange(50))
    built: Any = build_operation({"op": operation, "p": 0.5})
    for first, applied in ((0.0, True), (0.49, True), (0.51, False)):
        Given.first = first
        drawn = built.draw(stream)
        chosen = drawn["chosen"] if "chosen" in drawn else drawn["quarters"] > 0
        assert (chosen == applied).all()
