"""Pairs of frames drawn on the fly, with exact flow: shapes that fly before a moving background.

After Flying Chairs (Dosovitskiy et al. 2015, section 4): every shape moves with the background and on its
own; looks are drawn from wide ranges, as in AutoFlow (Sun et al. 2021), so that real frames lie among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from sslkit.contracts import FlowField, Frames, Item
from sslkit.errors import ConfigError, UnknownNameError, did_you_mean
from sslkit.keyed_random import Stream, hashed, word
from sslkit_flow.sources.scene import FIRST, SECOND, Affine, Layer, Scene
from sslkit_flow.sources.surfaces import PATTERNS, Ellipse, Outline, Polygon, Texture, noise_tile

SPLITS = ("train", "test")
LAYERS = (4, 16)  # shapes in a scene
RADIUS = (0.06, 0.28)  # of a shape, as a share of the side; small ones are more frequent
SMALL = 1.5  # exponent that makes them so
STRAY = 0.1  # centres lie so far outside at most, as a share of the side
CORNERS = (3, 8)  # of polygons; of stars as many points
PERIOD = (6.0, 40.0)  # pixels of a stripe or checker and its neighbour
SLOPE = (0.6, 2.0)  # of the noise's spectrum, white to cloudy
FINEST = (3.0, 8.0)  # its shortest wavelength in pixels: sharp to blurred
CONTRAST = (0.02, 0.16)  # its deviation, as a share of full brightness

# All motion is in units of the mean asked for; together these make the mean over pixels what was asked.
BACKGROUND_SHIFT, SHAPE_SHIFT = 0.8, 0.86  # mean lengths, exponentially distributed: a long tail
LONGEST = 6.0  # of those means
TURN = 0.35, 1.2  # deviations of rotation of background and shapes, radians, times motion / side
ZOOM = 0.3, 0.8  # and of the logarithm of scale, and of shear

_VALIDITIES = ("valid", "invalid")


class FlyingShapesSource:
    """`count` pairs of frames uint8 (size, size, 3); pair i is a function of (seed, split, i).

    motion: mean displacement over the pixels in pixels, size / 16 by default; single ones are up to ten times
    as long. brightness: by which share frame 2 may be brighter or darker, 0 by default. occluded: whether
    pixels that are not seen in frame 2 are `valid` in the target, which knows where they went. Frames are
    drawn when asked for. Raises ConfigError for options that cannot be drawn.
    """

    target_kind = "flow"
    classes: Sequence[str] = ()
    labels: np.ndarray | None = None
    native_side: int | None = None

    def __init__(
        self,
        count: int | str = 1000,
        *,
        size: int = 128,
        seed: int = 0,
        motion: float | None = None,
        brightness: float = 0.0,
        occluded: str = "valid",
        split: str | None = None,
    ) -> None:
        self.count = _whole(count)
        self.size, self.seed = size, seed
        self.motion = size / 16 if motion is None else float(motion)
        self.brightness, self.occluded_are = brightness, occluded
        if size < 16 or not 0 <= self.motion <= size / 2:
            raise ConfigError(
                f"size={size}, motion={self.motion:g}: sides have 16 pixels or more, motion is 0..size / 2"
            )
        if not 0 <= brightness < 1:
            raise ConfigError(f"brightness={brightness}: it is a share, 0..1, such as 0.1")
        if occluded not in _VALIDITIES:
            raise ConfigError(
                f"occluded={occluded}: it is valid or invalid{did_you_mean(str(occluded), _VALIDITIES)}"
            )
        if split is not None and split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
        self.splits: Sequence[str] = SPLITS
        self.split = split or SPLITS[0]
        given = (self.count, size, seed, self.motion, brightness, occluded, self.split)
        look = (LAYERS, RADIUS, SMALL, STRAY, CORNERS, PERIOD, SLOPE, FINEST, CONTRAST, PATTERNS)
        moves = (BACKGROUND_SHIFT, SHAPE_SHIFT, LONGEST, TURN, ZOOM)
        self.fingerprint = hashlib.sha256(repr((given, look, moves)).encode()).hexdigest()[:32]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, id: int) -> Item:
        scene = self.scene(id)
        return Item(Frames((scene.frame(FIRST), scene.frame(SECOND))), f"{self.split}/{id}")

    def target(self, id: int) -> FlowField:
        """The exact flow of a pair, valid everywhere or where the pixel is seen in frame 2."""
        scene = self.scene(id, textures=False)
        vectors = torch.from_numpy(scene.flow()).float()
        if self.occluded_are == "valid":
            return FlowField(vectors, torch.ones(vectors.shape[-2:], dtype=torch.bool))
        return FlowField(vectors, torch.from_numpy(~scene.occluded()))

    def occlusion(self, id: int) -> torch.Tensor:
        """Which pixels of frame 1 are not seen in frame 2, covered or outside: bool (size, size)."""
        return torch.from_numpy(self.scene(id, textures=False).occluded())

    def problems(self) -> list[str]:
        """What is drawn has none."""
        return []

    def class_counts(self) -> np.ndarray:
        """Flow has no classes: int64 (len, 0)."""
        return np.zeros((len(self), 0), np.int64)

    def scene(self, id: int, *, textures: bool = True) -> Scene:
        """All of a pair; without textures it has its motion and outlines only."""
        if not 0 <= id < self.count:
            raise IndexError(f"id {id} is outside 0..{self.count - 1}")

        def uniform(name: str, *shape: int) -> np.ndarray:
            key = hashed(self.seed, word("flying shapes"), word(self.split), word(name), torch.tensor([id]))
            drawn: np.ndarray = Stream(key).uniform(*shape)[0].double().numpy()
            return drawn

        shapes = _between(LAYERS, uniform("layers", 1)[0])
        moves, outlines, looks = (uniform(name, shapes + 1, 32) for name in ("moves", "outlines", "looks"))
        middle = np.full(2, (self.size - 1) / 2)
        drift = self._motion(moves[0], middle, BACKGROUND_SHIFT, TURN[0], ZOOM[0])
        layers = []
        for number in range(shapes + 1):
            behind = number == 0
            start = _turned(2 * np.pi * outlines[number, 0], self._centre(outlines[number]))
            motion = drift
            if not behind:
                motion = drift.after(self._motion(moves[number], start.shift, SHAPE_SHIFT, TURN[1], ZOOM[1]))
            outline = None if behind else self._outline(outlines[number])
            texture = _BLANK
            if textures:
                side = _power_of_two(self.size if behind else self.size // 2)
                texture = _texture(looks[number], uniform(f"noise {number}", 3, side, side // 2 + 1))
            layers.append(Layer(outline, texture, (start, motion.after(start))))
        gain = 1 + self.brightness * (2 * uniform("brightness", 1)[0] - 1)
        return Scene(tuple(layers), self.size, (1.0, float(gain)))

    def _centre(self, shares: np.ndarray) -> np.ndarray:
        stretched: np.ndarray = (1 + 2 * STRAY) * shares[1:3] - STRAY
        return stretched * self.size - 0.5

    def _outline(self, shares: np.ndarray) -> Outline:
        """An ellipse, a polygon or a star, as often."""
        radius = self.size * (RADIUS[0] + (RADIUS[1] - RADIUS[0]) * shares[3] ** SMALL)
        kind = int(3 * shares[4])
        if kind == 0:
            return Ellipse((radius, radius * (0.35 + 0.65 * shares[5])))
        count = _between(CORNERS, shares[5]) * kind
        jitter = 0.4 / kind  # neighbours stay less than half a turn apart
        angles = 2 * np.pi * (np.arange(count) + jitter * shares[8 : 8 + count]) / count
        if kind == 1:
            return Polygon(angles, radius * (0.6 + 0.4 * shares[-count:]))
        inner = 0.35 + 0.35 * shares[6]
        return Polygon(angles, radius * np.where(np.arange(count) % 2, inner, 1.0))

    def _motion(
        self, shares: np.ndarray, centre: np.ndarray, shift: float, turn: float, zoom: float
    ) -> Affine:
        """Frame 1 to frame 2, about a centre."""
        length = self.motion * shift * min(-np.log1p(-shares[0]), LONGEST)
        way = 2 * np.pi * shares[1]
        # Sums of three shares are nearly normal and have an end; their deviation is 1/2.
        steps = 2 * (shares[2:14].reshape(4, 3).sum(axis=1) - 1.5) * (self.motion / self.size)
        angle, (larger, wider, slanted) = turn * steps[0], zoom * steps[1:]
        stretch = np.exp(larger) * np.array([[np.exp(wider / 2), slanted], [0.0, np.exp(-wider / 2)]])
        matrix = _rotation(angle) @ stretch
        moved = centre + length * np.array([np.cos(way), np.sin(way)])
        return Affine(matrix, moved - matrix @ centre)


def _texture(shares: np.ndarray, phases: np.ndarray) -> Texture:
    """Colours, pattern, contrast and blur at random."""
    slope, finest, contrast, period = (
        low + (high - low) * share
        for (low, high), share in zip((SLOPE, FINEST, CONTRAST, PERIOD), shares[:4], strict=True)
    )
    grey = 1 - 0.5 * shares[4]  # natural textures differ more in brightness than in colour
    tint = grey + (1 - grey) * 2 * (shares[8:17].reshape(3, 3) - 0.5)
    noise = noise_tile(phases, slope=slope, finest=finest, tint=tint)
    pattern = PATTERNS[int(len(PATTERNS) * shares[5])]
    colours = shares[17:23].reshape(2, 3)
    greys = colours.mean(axis=1, keepdims=True)
    pale = greys + shares[23] * (colours - greys)
    return Texture(pale, noise, contrast, pattern, period, 2 * np.pi * shares[6])


_BLANK = Texture(np.zeros((2, 3)), torch.zeros(3, 5, 5), 0.0)


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _turned(angle: float, centre: np.ndarray) -> Affine:
    return Affine(_rotation(angle), centre)


def _between(limits: tuple[int, int], share: float) -> int:
    """A whole number from low to high, both included."""
    low, high = limits
    return low + int((high - low + 1) * share)


def _power_of_two(least: int) -> int:
    return 1 << max(4, (least - 1).bit_length())


def _whole(count: int | str) -> int:
    """`flying-shapes:2000` gives the number as a word."""
    try:
        number = int(count)
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(
            f"count={count!r}: write a number of pairs above 0, as in flying-shapes:2000,size=128"
        )
    return number
