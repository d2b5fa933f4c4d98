"""What covers a painted surface: outlines and textures, functions of the surface's own coordinates.

Both frames of a pair evaluate the same functions, so that no pixel of one is made from pixels of the other.
Surface coordinates are in pixels; shapes: x and y of any one shape (...).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

_MARGIN = 2  # texels a cubic looks beyond the tile

PATTERNS = ("plain", "gradient", "stripes", "checker", "spots")


@dataclass(frozen=True)
class Ellipse:
    """Half axes in pixels, along x and y."""

    axes: tuple[float, float]

    @property
    def radius(self) -> float:
        """No point of it is farther from the origin."""
        return max(self.axes)

    def distances(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Signed distances to the edge in pixels, negative inside, exact to first order at the edge."""
        across, down = self.axes
        root = np.sqrt((x / across) ** 2 + (y / down) ** 2)
        slope = np.sqrt((x / across**2) ** 2 + (y / down**2) ** 2) / np.maximum(root, 1e-6)
        found: np.ndarray = (root - 1) / np.maximum(slope, 1e-6)
        return found


@dataclass(frozen=True)
class Polygon:
    """A polygon whose whole edge is seen from the origin, such as a star.

    angles: of its corners, rising in 0..2 pi, neighbours less than pi apart. radii: theirs, in pixels.
    """

    angles: np.ndarray
    radii: np.ndarray

    @property
    def radius(self) -> float:
        """No point of it is farther from the origin."""
        return float(self.radii.max())

    def distances(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Signed distances to the line of the edge one looks at from the origin, negative inside."""
        corners = self.radii[:, None] * np.stack([np.cos(self.angles), np.sin(self.angles)], axis=-1)
        along = np.roll(corners, -1, axis=0) - corners
        normals = np.stack([along[:, 1], -along[:, 0]], axis=-1)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        offsets = (normals * corners).sum(axis=-1)
        edge = np.searchsorted(self.angles, np.arctan2(y, x) % (2 * np.pi), side="right") - 1
        found: np.ndarray = normals[edge, 0] * x + normals[edge, 1] * y - offsets[edge]
        return found


Outline = Ellipse | Polygon


@dataclass(frozen=True)
class Texture:
    """Two colours in a pattern, and periodic noise on all of it.

    colours: (2, 3) in 0..1. noise: as `noise_tile` gives it, added `contrast` times. pattern: one of
    `PATTERNS`; period in pixels and angle are those of gradients, stripes and checkers.
    """

    colours: np.ndarray
    noise: torch.Tensor
    contrast: float
    pattern: str = "plain"
    period: float = 16.0
    angle: float = 0.0

    def colour(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Colours float32 (..., 3), about 0..1."""
        noise = _periodic(self.noise, x, y)
        colours: np.ndarray = np.float32(self.contrast) * noise
        first, second = self.colours.astype(np.float32)
        colours += first
        if self.pattern != "plain":
            colours += self._share(x, y, noise)[..., None].astype(np.float32) * (second - first)
        return colours

    def _share(self, x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """How much of the second colour there is; edges are ramps of a pixel, so nothing aliases."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        across = cosine * x + sine * y
        if self.pattern == "gradient":
            return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * across / (8 * self.period)))
        if self.pattern == "spots":
            return np.asarray(np.clip(0.5 + 2 * noise.mean(axis=-1), 0, 1))
        share: np.ndarray = np.clip(0.5 + _to_edge(across, self.period), 0, 1)
        if self.pattern == "stripes":
            return share
        other = np.clip(0.5 + _to_edge(cosine * y - sine * x, self.period), 0, 1)
        return np.asarray(share * (1 - other) + other * (1 - share))


def noise_tile(phases: np.ndarray, *, slope: float, finest: float, tint: np.ndarray) -> torch.Tensor:
    """A periodic tile of noise, mean 0 and deviation 1 (random phases, amplitudes 1 / f^slope).

    Float32 (3, side + 4, side + 4): two texels of margin on all sides repeat those across, for cubics.
    phases: shares of a turn, (3, side, side // 2 + 1). finest: the shortest wavelength in texels, above 2,
    so that it can be sampled. tint: (3, 3), how the three fields make up red, green and blue.
    """
    side = phases.shape[-2]
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = np.hypot(down, across)
    frequency[0, 0] = np.inf  # the mean
    amplitude = (frequency**-slope * (frequency <= 1 / finest)).astype(np.float32)
    turns = torch.from_numpy(np.asarray(2 * np.pi * phases, np.float32))
    fields = torch.fft.irfft2(torch.polar(torch.from_numpy(amplitude).expand_as(turns).contiguous(), turns))
    mixed = torch.einsum("cf,fhw->chw", torch.from_numpy(np.asarray(tint, np.float32)), fields)
    return F.pad(mixed[None] / mixed.std().clamp(min=1e-12), (_MARGIN,) * 4, mode="circular")[0]


def _periodic(tile: torch.Tensor, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A tile repeated without end, cubic between its texels, at x and y: float32 (..., 3)."""
    side = tile.shape[-1] - 2 * _MARGIN
    places = torch.from_numpy(np.stack([x % side, y % side], axis=-1).astype(np.float32))
    grid = (places + _MARGIN) * (2 / (side + 2 * _MARGIN - 1)) - 1
    flat = grid.reshape(1, 1, -1, 2)
    found = F.grid_sample(tile[None], flat, mode="bicubic", padding_mode="border", align_corners=True)
    colours: np.ndarray = found[0, :, 0].T.reshape(*x.shape, 3).numpy()
    return colours


def _to_edge(along: np.ndarray, period: float) -> np.ndarray:
    """Pixels to the nearest of edges half a period apart, of alternating sign."""
    found: np.ndarray = period / 4 - np.abs(along % period - period / 2)
    return found
