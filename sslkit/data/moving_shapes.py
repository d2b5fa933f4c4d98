"""Labelled videos drawn on the fly: ten shapes that move, turn and grow before a drifting texture.

They need no download, and only the outline tells the class: colours, motion and texture are drawn without
regard to it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sslkit.data.decode.encode import write_video
from sslkit.data.outlines import CLASSES, distances
from sslkit.errors import ConfigError
from sslkit.keyed_random import Stream, hashed, word

SIZE_RANGE = (0.3, 0.45)  # square root of the shape's area, as a share of the image's side
GROWTH = 0.25  # of that size, up and down, once in GROWTH_SECONDS
GROWTH_SECONDS = 2.0
SPEED = (0.15, 0.5)  # sides of the image a second along each axis
TURN = 2.0  # radians a second at most, either way round
MARGIN = 0.25  # the centre stays so far inside, as a share of the side, and turns back there
WAVES = 4  # of the background's texture
CONTRAST = 0.08  # amplitude of one wave, as a share of full brightness
COLOUR_CANDIDATES = 4  # the shape's colour is the furthest from the background's of this many


def write_videos(
    folder: Path,
    *,
    videos: int = 20,
    seconds: float = 2.0,
    size: int = 64,
    rate: float = 25.0,
    seed: int = 0,
) -> list[Path]:
    """Write square videos of `size` pixels as folder/CLASS/NUMBER.mp4, and give their paths.

    Video i depends on (seed, i), its class is i modulo 10. Raises ConfigError for sizes that cannot be drawn.
    """
    if videos < 1 or size < 16 or size % 2 or not (rate > 0 and seconds * rate >= 1):
        given = f"videos={videos}, seconds={seconds}, size={size}, rate={rate}"
        raise ConfigError(f"{given}: at least 1 video of 1 frame and of an even side >= 16 can be drawn")
    paths = []
    for number in range(videos):
        path = folder / CLASSES[number % len(CLASSES)] / f"{number:04d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        times = np.arange(round(seconds * rate)) / rate
        write_video(path, draw_frames(number, times, size=size, seed=seed), rate)
        paths.append(path)
    return paths


def draw_frames(number: int, times: np.ndarray, *, size: int, seed: int = 0) -> np.ndarray:
    """Frames uint8 (T, size, size, 3) of video `number` at seconds (T,)."""

    def uniform(name: str, *shape: int) -> np.ndarray:
        key = hashed(seed, word("moving shapes"), word(name), torch.tensor([number]))
        drawn: np.ndarray = Stream(key).uniform(*shape)[0].numpy()
        return drawn

    def within(low: float, high: float, shares: np.ndarray) -> np.ndarray:
        return low + (high - low) * shares

    moment = times[:, None, None]
    pulse = np.sin(2 * np.pi * (moment / GROWTH_SECONDS + uniform("pulse", 1)))
    area_root = within(*SIZE_RANGE, uniform("size", 1)) * (1 + GROWTH * pulse)
    speed = within(*SPEED, uniform("speed", 2)) * np.where(uniform("way", 2) < 0.5, -1, 1)
    gone = uniform("centre", 2) + speed * times[:, None] / (1 - 2 * MARGIN)
    centre = MARGIN + (1 - 2 * MARGIN) * np.abs((gone + 1) % 2 - 1)  # to and fro between the margins
    angle = 2 * np.pi * uniform("angle", 1) + TURN * (2 * uniform("turn", 1) - 1) * moment
    grid = (np.arange(size) + 0.5) / size
    x = (grid[None, None, :] - centre[:, 0, None, None]) / area_root
    y = (grid[None, :, None] - centre[:, 1, None, None]) / area_root
    across, down = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    labels = np.full(len(times), number % len(CLASSES))
    distance = distances(labels, across, down) * area_root * size
    inside = np.clip(0.5 - distance, 0, 1)[..., None]  # a one pixel wide ramp: the share that is covered

    base = uniform("background", 3)
    candidates = uniform("colour", COLOUR_CANDIDATES, 3)
    colour = candidates[((candidates - base) ** 2).sum(-1).argmax()]
    phases = [
        wave[0] * 8 * np.pi * grid[None, None, :]
        + wave[1] * 8 * np.pi * grid[None, :, None]
        + wave[2] * 4 * moment
        for wave in 2 * uniform("waves", WAVES, 3) - 1
    ]
    tints = uniform("tints", WAVES, 3)
    texture = sum(
        np.sin(phase[..., None] + 2 * np.pi * tint) for phase, tint in zip(phases, tints, strict=True)
    )
    pixels: np.ndarray = 255 * ((base + CONTRAST * texture) * (1 - inside) + colour * inside)
    return pixels.clip(0, 255).round().astype(np.uint8)
