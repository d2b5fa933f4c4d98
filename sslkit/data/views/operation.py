"""What a view is made of: an operation draws its numbers per sample, then does its work on pixels.

Drawing and working are apart so that numbers are drawn once for a whole batch, while pixels are worked on in
pieces that fit the cache. A sample's result must never depend on the other rows. Operations therefore use
elementwise arithmetic, which IEEE 754 makes exact in any batch; sums along a row of weights, each formed on
its own (separable.py); or sums of numbers so coarse that no order of summation changes them. Batched matrix
products and convolutions of real numbers are avoided: libraries choose their algorithm by the size of the
batch, and rounding follows the algorithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from sslkit.errors import ConfigError
from sslkit.keyed_random import Stream

Parameters = Mapping[str, Tensor]
"""The numbers of one operation, one row per sample in every tensor."""

Change = Callable[[Tensor, Parameters], Tensor]
"""What an operation does to the rows it was chosen for; it may reuse their memory."""


class Operation(Protocol):
    """One step of a view on float32 images (N, C, size, size) in [0, 1].

    name: what a policy calls it. colour: whether it needs red, green and blue.
    """

    name: ClassVar[str]
    colour: ClassVar[bool]

    def draw(self, stream: Stream) -> Parameters:
        """Every number the operation needs, one row per sample."""
        ...

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """The changed images; the memory of the given ones may be reused."""
        ...


class Crop(Protocol):
    """The first step of a view: from canvases and their valid rectangles to images."""

    name: ClassVar[str]
    colour: ClassVar[bool]

    def draw(self, stream: Stream, rectangles: Tensor) -> Parameters:
        """Where to look in each canvas; rectangles are int64 (N, 4): top, left, height, width."""
        ...

    def apply(self, canvases: Tensor, parameters: Parameters, size: int) -> Tensor:
        """Canvases (N, C, S, S) in levels 0..255 to images (N, C, size, size) in [0, 1]."""
        ...


def on_chosen(images: Tensor, parameters: Parameters, change: Change) -> Tensor:
    """Change the rows where `parameters["chosen"]` (bool, (N,)) holds and leave the others as they are.

    On the CPU only those rows are computed. Counting them would make an accelerator wait, so there all rows
    are computed and the wanted ones kept; rows being independent, the result is the same.
    """
    chosen = parameters["chosen"]
    if images.device.type != "cpu":
        changed = change(images.clone(), parameters)
        return changed.where(chosen[:, None, None, None], images)
    rows = chosen.nonzero().squeeze(1)
    if rows.numel() == 0:
        return images
    if rows.numel() == images.shape[0]:
        return change(images, parameters)
    part = {name: values.index_select(0, rows) for name, values in parameters.items()}
    return images.index_copy_(0, rows, change(images.index_select(0, rows), part))


@dataclass(frozen=True, kw_only=True)
class Sometimes:
    """An operation that is applied to a sample with probability p and draws nothing else."""

    name: ClassVar[str]
    p: float = 0.5

    def __post_init__(self) -> None:
        check_number(self.name, "p", self.p, 0.0, 1.0)

    def draw(self, stream: Stream) -> Parameters:
        """chosen: bool (N,)."""
        return {"chosen": stream.uniform() < self.p}


def between(uniform: Tensor, low: float, high: float) -> Tensor:
    """Uniform numbers in [0, 1) spread over [low, high)."""
    return uniform * (high - low) + low


def per_image(values: Tensor) -> Tensor:
    """(N,) shaped to multiply images (N, C, H, W)."""
    return values[:, None, None, None]


def check_number(operation: str, option: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError unless low <= value <= high."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        upper = "" if math.isinf(high) else f" to {high:g}"
        raise ConfigError(f"{operation}.{option} is {value!r}; it must be a number from {low:g}{upper}.")


def check_range(operation: str, option: str, value: tuple[float, float], low: float, high: float) -> None:
    """Raise ConfigError unless value is a pair with low <= value[0] <= value[1] <= high."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise ConfigError(f"{operation}.{option} is {value!r}; it must be two numbers, as [{low:g}, 1].")
    for end in value:
        check_number(operation, option, end, low, high)
    if value[0] > value[1]:
        raise ConfigError(f"{operation}.{option} is {list(value)}; the smaller number comes first.")
