"""Drawn heads that stand for faces: what one is by nature, and how it is seen in one picture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Ranges = Mapping[str, tuple[float, float]]
Values = Mapping[str, np.ndarray]

# In units of half the head's height, from its middle, x to the right and y down. Colours are shares of white.
TRAITS: Ranges = {
    "width": (0.66, 0.9),
    "jaw": (0.0, 0.35),  # by which the lower half is narrower
    "skin": (0.0, 1.0),  # from light to dark
    "hair": (0.0, 1.0),  # from dark to fair
    "red": (0.0, 1.0),  # of the hair
    "hairline": (-0.75, -0.35),
    "eye_height": (-0.25, 0.02),
    "eye_gap": (0.26, 0.42),
    "eye_width": (0.09, 0.17),
    "eye_shape": (0.45, 0.95),  # height of an eye by its width
    "iris": (0.0, 1.0),  # from brown to blue
    "brow_gap": (0.14, 0.28),
    "brow_width": (0.1, 0.22),
    "brow_depth": (0.02, 0.06),
    "nose_length": (0.18, 0.42),
    "nose_width": (0.06, 0.16),
    "mouth_height": (0.42, 0.62),
    "mouth_width": (0.16, 0.36),
    "lips": (0.035, 0.09),
    "ears": (0.05, 0.16),
    "mark_x": (-0.45, 0.45),
    "mark_y": (0.1, 0.55),
    "mark_size": (0.0, 0.06),
}
"""What is one's own; a value of each lies between its bounds."""

POSES: Ranges = {
    "scale": (0.36, 0.44),  # half the head's height, as a share of the image's side
    "roll": (-0.2, 0.2),  # radians
    "yaw": (-0.16, 0.16),  # by which eyes and mouth are shifted; the nose, nearer to us, more
    "x": (0.45, 0.55),
    "y": (0.47, 0.57),
    "gain": (0.7, 1.15),
    "light": (0.0, 0.5),  # by which one side is brighter than the middle
    "light_way": (0.0, 2 * np.pi),
    "warmth": (-0.12, 0.12),  # more red, less blue
    "open": (0.6, 1.6),  # height of the lips by what it is at rest
    "lids": (0.6, 1.1),  # the same of the eyes
    "brows": (-0.04, 0.04),
    "noise": (2.0, 8.0),  # standard deviation in grey levels of 255
}
"""How one is seen in a picture."""

WAVES = 2  # of the background
MUTED = 0.5  # range of its colours, as a share of full brightness; loud ones would drown the person
_SIDES = (-1, 1)


def scaled(ranges: Ranges, uniform: np.ndarray) -> Values:
    """Values by name, each (N, 1, 1), of numbers (N, len(ranges)) in [0, 1)."""
    return {
        name: (low + (high - low) * uniform[:, place])[:, None, None]
        for place, (name, (low, high)) in enumerate(ranges.items())
    }


def portraits(
    traits: Values, poses: Values, background: np.ndarray, noise: np.ndarray, size: int
) -> np.ndarray:
    """N pictures, uint8 (N, size, size, 3).

    background: (N, 2 + WAVES, 3) in [0, 1), the colours at two ends, then cycles right, down and phase of the
    waves between them. noise: (N, size, size, 1) in [0, 1).
    """
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    right, down = grid[None, None, :] - poses["x"], grid[None, :, None] - poses["y"]
    turn = np.cos(poses["roll"]), np.sin(poses["roll"])
    x = (turn[0] * right + turn[1] * down) / poses["scale"]
    y = (turn[0] * down - turn[1] * right) / poses["scale"]
    picture = _Picture(_backdrop(background, grid), poses["scale"] * size)
    _head(picture, traits, x, y)
    _features(picture, traits, poses, x - poses["yaw"] * (1 - 0.3 * y**2), y)
    way = poses["light_way"]
    light = poses["gain"] * (1 + poses["light"] * 2 * (np.cos(way) * right + np.sin(way) * down))
    tint = 1 + poses["warmth"] * np.array([1.0, 0.0, -1.0], np.float32)
    lit = 255 * picture.pixels * light[..., None] * tint[:, :, None]
    # The deviation of a uniform number in -1..1 is 1 / sqrt(3).
    noisy = lit + poses["noise"][..., None] * np.sqrt(3) * (2 * noise - 1)
    drawn: np.ndarray = np.clip(noisy, 0, 255).round().astype(np.uint8)
    return drawn


class _Picture:
    """Pixels (N, H, W, 3) that are painted over, part by part; unit: pixels that a length of 1 takes."""

    def __init__(self, pixels: np.ndarray, unit: np.ndarray) -> None:
        self.pixels, self._unit = pixels, unit

    def ellipse(
        self, x: np.ndarray, y: np.ndarray, wide: np.ndarray, high: np.ndarray, colour: np.ndarray
    ) -> None:
        """Paint an ellipse around 0 with half axes `wide` and `high`; colour: (N, 1, 1, 3)."""
        self.fill((np.hypot(x / wide, y / high) - 1) * np.minimum(wide, high), colour)

    def fill(self, away: np.ndarray, colour: np.ndarray) -> None:
        """Paint what is inside an outline, of the distances to it (N, H, W), negative inside."""
        # A one pixel wide ramp; of what is thinner than a pixel it leaves a shade.
        share = np.clip(0.5 - away * self._unit, 0, 1)[..., None]
        self.pixels = self.pixels * (1 - share) + colour * share


def _head(picture: _Picture, traits: Values, x: np.ndarray, y: np.ndarray) -> None:
    """Hair, ears, the face, and the hair above the forehead."""
    skin, hair = _skin(traits), _hair(traits)
    width = traits["width"]
    one = np.ones_like(width)
    picture.ellipse(x, y + 0.12, width * 1.08, one, hair)
    for side in _SIDES:
        picture.ellipse(x - side * width, y - 0.05, traits["ears"], one * 0.2, skin * 0.92)
    narrowed = x / (1 - traits["jaw"] * np.clip(y, 0, 1))
    picture.ellipse(narrowed, y, width, one, skin)
    # The same outline again, where it lies above the hairline.
    above = np.maximum(np.hypot(narrowed / width, y) - 1.02, y - traits["hairline"] - 0.15 * x**2)
    picture.fill(above, hair)


def _features(picture: _Picture, traits: Values, poses: Values, x: np.ndarray, y: np.ndarray) -> None:
    """Eyes, brows, nose, mouth and a mark."""
    skin, hair = _skin(traits), _hair(traits)
    one = np.ones_like(traits["width"])
    high = traits["eye_width"] * traits["eye_shape"] * poses["lids"]
    iris = _blend(traits["iris"], (0.28, 0.16, 0.08), (0.35, 0.55, 0.75))
    for side in _SIDES:
        beside, level = x - side * traits["eye_gap"], y - traits["eye_height"]
        picture.ellipse(beside, level, traits["eye_width"], high, np.full_like(skin, 0.95))
        picture.ellipse(beside, level, high * 0.8, high * 0.8, iris)
        raised = level + traits["brow_gap"] + poses["brows"]
        picture.ellipse(beside, raised, traits["brow_width"], traits["brow_depth"], hair * 0.7)
    along = y - traits["eye_height"] - 0.1 - traits["nose_length"] / 2
    picture.ellipse(
        x - 0.4 * poses["yaw"], along, traits["nose_width"], traits["nose_length"] / 2, skin * 0.82
    )
    lips = skin * np.array([0.95, 0.55, 0.55], np.float32)
    below = y - traits["mouth_height"]
    picture.ellipse(x, below, traits["mouth_width"], traits["lips"] * poses["open"], lips)
    mark = np.maximum(traits["mark_size"], 1e-3) * one
    picture.ellipse(x - traits["mark_x"], y - traits["mark_y"], mark, mark, skin * 0.4)


def _skin(traits: Values) -> np.ndarray:
    return _blend(traits["skin"], (0.95, 0.8, 0.7), (0.4, 0.27, 0.2))


def _hair(traits: Values) -> np.ndarray:
    plain = _blend(traits["hair"], (0.1, 0.08, 0.07), (0.75, 0.62, 0.4))
    return plain * (1 + 0.5 * traits["red"][..., None] * np.array([1.0, 0.0, -0.3], np.float32))


def _blend(
    share: np.ndarray, start: tuple[float, float, float], end: tuple[float, float, float]
) -> np.ndarray:
    """Colours (N, 1, 1, 3) between two."""
    first, last = np.array(start, np.float32), np.array(end, np.float32)
    colour: np.ndarray = first + share[..., None] * (last - first)
    return colour


def _backdrop(background: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Two colours that run into each other in waves, (N, H, W, 3)."""
    share = np.full((len(background), len(grid), len(grid)), 0.5, np.float32)
    for right, down, phase in (
        background[:, 2 + wave, :, None, None].swapaxes(0, 1) for wave in range(WAVES)
    ):
        turns = 4 * (right - 0.5) * grid[None, :] + 4 * (down - 0.5) * grid[:, None] + phase
        share += np.sin(2 * np.pi * turns) / (2 * WAVES)
    first, last = (MUTED * background[:, end, None, None] + (1 - MUTED) / 2 for end in (0, 1))
    drawn: np.ndarray = first + share[..., None] * (last - first)
    return drawn
