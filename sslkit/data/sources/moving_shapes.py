"""Procedural videos whose class is a motion: no single frame tells it.

After CATER (Girdhar and Ramanan 2020): where the answer can be read off one frame, a video network need not
look along time. Here a shape moves in one of eight directions or turns one of two ways round, or does one of
several kinds of things.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from sslkit.contracts import Item, Moment
from sslkit.data.motions import GROUND, KINDS, LAW, LIGHT, Pose, pose, within
from sslkit.data.outlines import CLASSES as OUTLINES
from sslkit.data.outlines import distances
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.keyed_random import Stream, hashed, word

DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
MOTIONS = (*DIRECTIONS, "clockwise", "counterclockwise")
Motions = Literal["directions", "kinds"]
SPLITS = ("train", "test")
SHAPES = tuple(name for name in OUTLINES if name not in ("disc", "ring"))  # of these nobody sees a turn
SIZE_RANGE = (0.26, 0.4)  # square root of the shape's area, as a share of the side; none reaches round
SPEED = (0.25, 0.6)  # sides of the image a second
TURN = (1.5, 3.0)  # radians a second; of a star a fifth of a turn looks like none
BEND = math.radians(10)  # by which a direction is missed at most; the next one is 45 degrees away
WAVES = 3  # of the background's texture
CONTRAST = 0.05  # amplitude of one wave, as a share of full brightness
DRIFT = 3.0  # radians a second of a wave at most, either way
STRIPES = 0.12  # amplitude of the stripes that are fast to the shape
COLOUR_CANDIDATES = 4  # the shape's colour is the furthest from the background's of this many


class MovingShapesSource:
    """`count` videos of `seconds` at `rate` frames a second, one item each; the label of i is i modulo K.

    motions: "directions", the class is one of eight ways to go or of two to turn; "kinds", it is what
    happens, such as a slide, a turn or a swelling, whichever way (`sslkit.data.motions`). Embeddings of
    frames that hardly know places can tell kinds, by how much and how fast they change, not directions.
    Kinds are shown by a light shape on an even grey: where colours differ from video to video, what a frozen
    network makes of them outweighs what changes along time.

    Shape, size, colours, textures, place, angle and the drift of the background are drawn without regard to
    the class, on a torus: what leaves on one side comes in on the other. Place and angle are uniform at every
    second, so that a frame alone is distributed alike in all classes. A mirrored or reversed video is of
    another direction: train on them without flips; its kind is the same.

    Pixels of video i are a function of (seed, split, i) and the second. Raises ConfigError for what cannot be
    drawn, UnknownNameError for a split that is not there.
    """

    def __init__(
        self,
        *,
        count: int = 1000,
        size: int = 64,
        seconds: float = 2.0,
        rate: float = 25.0,
        seed: int = 0,
        split: str | None = None,
        motions: Motions = "directions",
    ) -> None:
        if count < 1 or size < 16 or not (0 < rate < math.inf and 1 <= seconds * rate < math.inf):
            given = f"count={count}, size={size}, seconds={seconds}, rate={rate}"
            raise ConfigError(f"{given}: at least 1 video of 1 frame and of a side >= 16 can be drawn")
        if split is not None and split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
        if motions not in get_args(Motions):
            raise UnknownNameError("motions", str(motions), get_args(Motions))
        self.count, self.size, self.seconds, self.rate = count, size, seconds, rate
        self.seed, self.split = seed, split or SPLITS[0]
        self.classes: Sequence[str] = MOTIONS if motions == "directions" else KINDS
        self.labels: np.ndarray | None = np.arange(count, dtype=np.int64) % len(self.classes)
        look = (SHAPES, SIZE_RANGE, SPEED, TURN, BEND, WAVES, CONTRAST, DRIFT, STRIPES, COLOUR_CANDIDATES)
        key = f"moving shapes {count} {size} {seconds} {rate} {seed} {self.split} {look}"
        if motions == "kinds":
            key += f" {KINDS} {LAW}"
        self.fingerprint = hashlib.sha256(key.encode()).hexdigest()[:32]
        self.native_side: int | None = None
        self.splits: Sequence[str] = SPLITS
        self.video = True

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, id: int) -> Item:
        if not 0 <= id < self.count:
            raise IndexError(f"id {id} is outside 0..{self.count - 1}")
        label = id % len(self.classes)
        painter = MovingShape(self.seed, self.split, id, self.classes[label], self.size)
        content = Moment(painter, 0.0, self.seconds, self.seconds, self.rate)
        return Item(content, f"{self.split}/{id}-{self.classes[label]}", label)


@dataclass(frozen=True)
class MovingShape:
    """Paints one video: seconds float64 (T,) to frames uint8 (T, size, size, 3), each of its second alone.

    motion: one of `MOTIONS` or of `KINDS`. Only what comes after second 0 depends on it, and for the kinds
    together colours, sizes and contrast; all else is drawn by (seed, split, id).
    """

    seed: int
    split: str
    id: int
    motion: str
    size: int

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        paint = self._painted()
        return np.stack([paint(float(second)) for second in seconds])

    def _painted(self) -> Callable[[float], np.ndarray]:
        """What draws the frame at a second; all random numbers are drawn here."""
        look, pose_at = self._uniform("look", 3), self._poses()
        waves, stripes = self._uniform("waves", WAVES, 7), self._uniform("stripes", 3)
        base, candidates = self._uniform("base", 3), self._uniform("colour", COLOUR_CANDIDATES, 3)
        colour = candidates[((candidates - base) ** 2).sum(-1).argmax()]
        if self.motion in KINDS:
            waves, base, colour = waves[:0], np.full(3, GROUND), np.full(3, LIGHT)
        outline = np.array([OUTLINES.index(SHAPES[int(look[0] * len(SHAPES))])])
        grid = (np.arange(self.size) + 0.5) / self.size

        def paint(second: float) -> np.ndarray:
            now = pose_at(second)
            angle, area_root = now.angle, now.area_root
            # From -0.5 to 0.5 around the centre: the nearest of its images on the torus.
            x, y = ((grid - along + 0.5) % 1 - 0.5 for along in now.centre)
            across = (np.cos(angle) * x[None, :] + np.sin(angle) * y[:, None]) / area_root
            down = (np.cos(angle) * y[:, None] - np.sin(angle) * x[None, :]) / area_root
            distance = distances(outline, across[None], down[None])[0] * area_root * self.size
            inside = np.clip(0.5 - distance, 0, 1)[..., None]  # a one pixel wide ramp: the covered share
            lines = np.sin(2 * np.pi * ((1 + 2 * stripes[0]) * across + stripes[1]))[..., None]
            shape = colour + STRIPES * stripes[2] * lines
            shape = shape + now.pale * (base - shape)
            pixels = 255 * ((base + _texture(waves, grid, second)) * (1 - inside) + shape * inside)
            return np.asarray(pixels.clip(0, 255).round().astype(np.uint8))

        return paint

    def _poses(self) -> Callable[[float], Pose]:
        """What says how the shape stands at a second; of a kind, place and angle begin as of a direction."""
        place = self._uniform("place", 3)
        if self.motion in KINDS:
            start, draws = np.concatenate([place, self._uniform("phase", 2)]), self._uniform("kind", 4)
            return lambda second: pose(self.motion, start, draws, second)
        moved, turned = self._speeds(*self._uniform("motion", 2))
        area_root = within(SIZE_RANGE, self._uniform("look", 3)[1])
        return lambda second: Pose(
            place[:2] + second * moved, 2 * np.pi * place[2] + second * turned, area_root
        )

    def _speeds(self, speed: float, bend: float) -> tuple[np.ndarray, float]:
        """Sides a second along x and y, and radians a second, clockwise as y runs down."""
        if self.motion in DIRECTIONS:
            way = 2 * np.pi * DIRECTIONS.index(self.motion) / len(DIRECTIONS) + BEND * (2 * bend - 1)
            return within(SPEED, speed) * np.array([np.cos(way), np.sin(way)]), 0.0
        return np.zeros(2), within(TURN, speed) * (1 if self.motion == "clockwise" else -1)

    def _uniform(self, name: str, *shape: int) -> np.ndarray:
        key = hashed(self.seed, word("moving shapes"), word(self.split), word(name), torch.tensor([self.id]))
        drawn: np.ndarray = Stream(key).uniform(*shape)[0].double().numpy()
        return drawn


def _texture(waves: np.ndarray, grid: np.ndarray, second: float) -> np.ndarray:
    """Plane waves (H, W, 3) of the numbers (WAVES, 7), whole ones along each side of the torus, drifting."""
    right, down = np.floor(waves[:, :2].T * 9) - 4
    turns = waves[:, 2:3] + waves[:, 4:]
    tint = np.exp(1j * (2 * np.pi * turns + DRIFT * (2 * waves[:, 3:4] - 1) * second))
    rows, columns = (np.exp(2j * np.pi * along[:, None] * grid) for along in (down, right))
    shown: np.ndarray = CONTRAST * np.einsum("kh,kw,kc->hwc", rows, columns, tint).imag
    return shown
