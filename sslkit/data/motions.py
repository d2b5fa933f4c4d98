"""Kinds of motion that differ in how a picture changes, and in nothing that one picture shows.

A pose is a point of a torus: place right and down, angle, size and paleness, each counted in whole rounds and
uniform at second 0. A motion adds to it what does not depend on it. So the pose at every second is uniform
too, whatever the kind, and a frame alone is distributed alike in all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

KINDS = ("stays", "slides", "leaps", "shakes", "turns", "swells", "fades")
SIZE_RANGE = (0.16, 0.4)  # square root of the shape's area, as a share of the side
PALE_RANGE = (0.0, 0.75)  # share of the background's colour in the shape's
SPEED = (0.25, 0.6)  # of a slide: sides of the image a second
LEAP = (0.25, 0.5)  # sides of the image
LEAPS = (2.0, 4.0)  # a second
SHAKE = (0.05, 0.1)  # sides of the image, either way
SHAKES = (1.5, 3.0)  # to and fro, a second
TURN = (1.5, 3.0)  # radians a second; of a star a fifth of a turn looks like none
BREATHS = (0.4, 0.8)  # swellings or fadings a second, there and back
GROUND, LIGHT = 0.35, 0.95  # grey of the background and of the shape: colours would outweigh what changes
LAW = (SIZE_RANGE, PALE_RANGE, SPEED, LEAP, LEAPS, SHAKE, SHAKES, TURN, BREATHS, GROUND, LIGHT)


@dataclass(frozen=True)
class Pose:
    """How a shape stands at a second: centre (x, y) in sides of the image, angle in radians, clockwise.

    area_root: square root of its area, in sides. pale: the share of the background's colour in its own.
    """

    centre: np.ndarray
    angle: float
    area_root: float
    pale: float = 0.0


def pose(kind: str, start: np.ndarray, draws: np.ndarray, second: float) -> Pose:
    """The pose at a second: start (5,) and draws (4,) are uniform in [0, 1), the draws say how it moves."""
    rounds = start + moved(kind, draws, second)
    size, pale = (within(bounds, _there_and_back(at)) for bounds, at in zip(_BOUNDS, rounds[3:], strict=True))
    return Pose(rounds[:2], 2 * math.pi * float(rounds[2]), size, pale)


def moved(kind: str, draws: np.ndarray, second: float) -> np.ndarray:
    """What a motion of the kind adds to a pose, in rounds, float64 (5,); nothing at second 0."""
    pace, reach, way, phase = (float(drawn) for drawn in draws)
    along = np.array([math.cos(2 * math.pi * way), math.sin(2 * math.pi * way)])
    side = 1.0 if way < 0.5 else -1.0
    added = np.zeros(5)
    if kind == "slides":
        added[:2] = within(SPEED, pace) * second * along
    elif kind == "leaps":
        added[:2] = within(LEAP, reach) * math.floor(within(LEAPS, pace) * second + phase) * along
    elif kind == "shakes":
        swung = math.sin(2 * math.pi * (within(SHAKES, pace) * second + phase)) - math.sin(
            2 * math.pi * phase
        )
        added[:2] = within(SHAKE, reach) * swung * along
    elif kind == "turns":
        added[2] = side * within(TURN, pace) * second / (2 * math.pi)
    elif kind in ("swells", "fades"):
        added[3 if kind == "swells" else 4] = side * within(BREATHS, pace) * second
    return added


def within(bounds: tuple[float, float], share: float) -> float:
    """The number that lies a share of the way from the lower bound to the upper one."""
    low, high = bounds
    return float(low + (high - low) * share)


def _there_and_back(rounds: float) -> float:
    """0 to 1 and back to 0 in a round, evenly: uniform where the round's place is."""
    return 1 - abs(2 * (rounds % 1) - 1)


_BOUNDS = (SIZE_RANGE, PALE_RANGE)
