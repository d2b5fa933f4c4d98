"""The ranges of a policy that can be widened and narrowed, and what they are at a strength.

A strength of 0 is the end that changes nothing, 1 the policy's own range; above 1 a range goes on as far as
its operation allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sslkit.data.views.operations import CROPS, build_operation
from sslkit.data.views.specs import Spec, ViewSpec, listed

Pair = tuple[float, float]

_SMALLEST_AREA = 0.01  # share of the picture's area that a crop shows at least, however strong
_SMALLEST_SIGMA = 0.01  # pixels; a blur of that does not change a bit


@dataclass(frozen=True)
class Range:
    """One option of an operation, and which of the uniform numbers that the operation draws spread over it.

    scaled: the option's value at a strength. columns: the places of those numbers in a row of the draw. ends:
    the numbers, 0 or 1, that stand for the range's hard end or ends. certain: the operation is applied where
    number 0 is below p, so 0 there makes sure of it. operation: where it stands, as "1.color_jitter".
    """

    scaled: Callable[[Any, float], Any]
    columns: tuple[int, ...]
    ends: tuple[float, ...] = (1.0,)
    certain: bool = True
    operation: str = ""


def _factor(value: float, strength: float) -> float:
    return value * strength


def _turns(value: float, strength: float) -> float:
    return min(0.5, value * strength)


def _probability(value: float, strength: float) -> float:
    return min(1.0, value * strength)


def _share(value: Pair, strength: float) -> Pair:
    return min(1.0, value[0] * strength), min(1.0, value[1] * strength)


def _sigma(value: Pair, strength: float) -> Pair:
    return max(_SMALLEST_SIGMA, value[0] * strength), max(_SMALLEST_SIGMA, value[1] * strength)


def _area(value: Pair, strength: float) -> Pair:
    low, high = value
    # Written so that strengths of 0 and 1 give the very ends.
    return max(low * strength + high * (1 - strength), min(low, _SMALLEST_AREA)), high


_BOTH = (0.0, 1.0)
_APPLIED = Range(_probability, (0,), ends=(0.0,))
# All ten attempts of a crop are pinned; the drawn ratio decides which of them fits.
_CROP = {"scale": Range(_area, tuple(range(1, 11)), ends=(0.0,), certain=False)}

RANGES: dict[str, dict[str, Range]] = {
    "crop_resize": _CROP,
    "crop_resize_flip": _CROP,
    "color_jitter": {
        "brightness": Range(_factor, (1,), _BOTH),
        "contrast": Range(_factor, (2,), _BOTH),
        "saturation": Range(_factor, (3,), _BOTH),
        "hue": Range(_turns, (4,), _BOTH),
        "p": _APPLIED,
    },
    "intensity_jitter": {
        "brightness": Range(_factor, (1,), _BOTH),
        "contrast": Range(_factor, (2,), _BOTH),
        "p": _APPLIED,
    },
    "gaussian_blur": {"sigma": Range(_sigma, (1,)), "p": _APPLIED},
    "gaussian_noise": {"std": Range(_share, (1,)), "p": _APPLIED},
    "cutout": {"side": Range(_share, (1,)), "p": _APPLIED},
    "color_drop": {"p": _APPLIED},
    "flip": {"p": _APPLIED},
    "rotate": {"p": _APPLIED},
    "sobel": {"p": _APPLIED},
    "solarize": {"p": _APPLIED},
}
"""What can be widened, by operation and option."""


def ranges_of(spec: Spec) -> dict[str, Range]:
    """The ranges of a policy's first view by name, as "color_jitter.hue", in its order.

    Those of an operation that is never applied, or that are one number at every strength, are left out. An
    operation that stands twice is measured where it stands first.
    """
    found: dict[str, Range] = {}
    operations = [build_operation(operation) for operation in listed(spec[0])]
    # Place 0 is the crop's, whether the policy names one or not.
    for position, built in enumerate(operations, start=int(operations[0].name not in CROPS)):
        for option, known in RANGES.get(built.name, {}).items():
            value = getattr(built, option)
            fixed = known.scaled(value, 0.0) == known.scaled(value, 1.0)
            if not fixed and getattr(built, "p", 1.0) > 0:
                found.setdefault(
                    f"{built.name}.{option}", replace(known, operation=f"{position}.{built.name}")
                )
    return found


def at_strengths(spec: Spec, strengths: Mapping[str, float]) -> Spec:
    """The policy with these ranges, by name, at their strengths wherever they stand."""
    views: list[ViewSpec] = []
    for view in spec:
        operations = [{**operation, **_scaled(operation, strengths)} for operation in listed(view)]
        views.append({**view, "operations": operations} if isinstance(view, Mapping) else operations)
    return views


def _scaled(operation: Mapping[str, Any], strengths: Mapping[str, float]) -> dict[str, Any]:
    built = build_operation(operation)
    names = {option: f"{built.name}.{option}" for option in RANGES.get(built.name, {})}
    return {
        option: RANGES[built.name][option].scaled(getattr(built, option), strengths[name])
        for option, name in names.items()
        if name in strengths
    }
