"""Operations that move or remove pixels: flip, rotation, cutout; and the one that does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sslkit.data.views.operation import Parameters, Sometimes, between, check_number, check_range, on_chosen
from sslkit.keyed_random import Stream


@dataclass(frozen=True, kw_only=True)
class Original:
    """Leave the image as it is (the identity of SimCLR's figure 4)."""

    name: ClassVar[str] = "original"
    colour: ClassVar[bool] = False

    def draw(self, stream: Stream) -> Parameters:
        """Nothing."""
        del stream
        return {}

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """The images given."""
        del parameters
        return images


@dataclass(frozen=True, kw_only=True)
class Flip(Sometimes):
    """Mirror left to right with probability p."""

    name: ClassVar[str] = "flip"
    colour: ClassVar[bool] = False
    p: float = 0.5

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Mirrored images."""
        return on_chosen(images, parameters, lambda some, _: some.flip(3))


@dataclass(frozen=True, kw_only=True)
class Rotate:
    """Turn by 90, 180 or 270 degrees with probability p; 0.75 makes all four positions equally likely."""

    name: ClassVar[str] = "rotate"
    colour: ClassVar[bool] = False
    p: float = 0.75

    def __post_init__(self) -> None:
        check_number(self.name, "p", self.p, 0.0, 1.0)

    def draw(self, stream: Stream) -> Parameters:
        """quarters: int64 (N,), counterclockwise quarter turns, 0 to 3."""
        numbers = stream.uniform(2)
        turned = (numbers[:, 1] * 3).long().clamp_(max=2) + 1
        return {"quarters": torch.where(numbers[:, 0] < self.p, turned, 0)}

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Turned images: pixels move, none is resampled."""
        quarters = parameters["quarters"]
        images = on_chosen(images, {"chosen": quarters == 1}, lambda some, _: some.rot90(1, (2, 3)))
        images = on_chosen(images, {"chosen": quarters == 2}, lambda some, _: some.flip(2, 3))
        return on_chosen(images, {"chosen": quarters == 3}, lambda some, _: some.rot90(3, (2, 3)))


@dataclass(frozen=True, kw_only=True)
class Cutout:
    """Paint a random square with `fill` with probability p (DeVries and Taylor, 2017).

    side: the square's side as a share of the image's, drawn uniformly; it lies wholly inside the image.
    """

    name: ClassVar[str] = "cutout"
    colour: ClassVar[bool] = False
    p: float = 0.5
    side: tuple[float, float] = (0.2, 0.5)
    fill: float = 0.5

    def __post_init__(self) -> None:
        check_number(self.name, "p", self.p, 0.0, 1.0)
        check_range(self.name, "side", self.side, 0.0, 1.0)
        check_number(self.name, "fill", self.fill, 0.0, 1.0)

    def draw(self, stream: Stream) -> Parameters:
        """chosen: bool (N,). side: (N,), a share. place: (N, 2), share of the room above and to the left."""
        numbers = stream.uniform(4)
        return {
            "chosen": numbers[:, 0] < self.p,
            "side": between(numbers[:, 1], *self.side),
            "place": numbers[:, 2:],
        }

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Images with their square painted."""
        size = images.shape[3]
        side = (parameters["side"] * size).round()
        first = (parameters["place"] * (size - side + 1)[:, None]).floor()
        place = torch.arange(size, device=images.device)
        inside = (place >= first[..., None]) & (place < (first + side[:, None])[..., None])
        square = inside[:, 0, :, None] & inside[:, 1, None, :] & parameters["chosen"][:, None, None]
        return images.masked_fill_(square[:, None], self.fill)
