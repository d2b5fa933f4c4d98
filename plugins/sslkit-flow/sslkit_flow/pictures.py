"""Flow as pictures: colours, arrows, and what is left between the frames once it is taken out.

Shapes: frames uint8 (H, W, 3), vectors float (2, H, W) in pixels, x to the right and y down.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torchvision.utils import flow_to_image

from sslkit.contracts import FlowField
from sslkit.errors import DataError

LEAST_WIDTH = 200
"""Frames narrower than this are enlarged by a whole factor in `draw_pair`, so that its captions fit."""

_ARROWS, _LEAST_SPACING = 16, 8  # along the longer side; pixels from one to the next
_FINER = 3  # arrows are drawn so many times larger, then shrunk: smooth at any size
_FACTORS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
_ARROW, _RIM = (255, 214, 10, 255), (0, 0, 0, 200)
_PAPER, _INK, _UNKNOWN = (255, 255, 255), (34, 34, 34), 70
_WHEEL = 0.22  # side of the legend's wheel, as a share of the panel's shorter side


def flow_colours(vectors: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Vectors to uint8 (H, W, 3): direction is hue, length is saturation (Baker et al. 2011, section 4).

    largest: the length that is shown in full colour, as longer ones are too; by default that of the longest.
    """
    field = torch.as_tensor(np.ascontiguousarray(vectors), dtype=torch.float32)
    if largest is not None:
        lengths = field.norm(dim=0)
        field = field * (largest / lengths.clamp(min=max(largest, 1e-12))).clamp(max=1.0)
        # torchvision divides by the longest: one more column holds that one.
        scale = field.new_zeros(2, field.shape[1], 1)
        scale[0] = largest
        field = torch.cat([field, scale], dim=2)
    colours: np.ndarray = flow_to_image(field).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(colours[:, : vectors.shape[2]])


def warped(second: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The second frame brought back to the first, uint8 (H, W, 3), bilinear; black where flow leaves it."""
    height, width = vectors.shape[1:]
    inside = _inside(vectors)
    rows, columns = np.mgrid[:height, :width]
    places = np.stack([columns + vectors[0], rows + vectors[1]], axis=-1)
    limits = np.array([max(1, width - 1), max(1, height - 1)]) / 2
    grid = torch.from_numpy((places / limits - 1).astype(np.float32))[None]
    pixels = torch.from_numpy(np.ascontiguousarray(second)).permute(2, 0, 1)[None].float()
    found = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=True)
    taken = found[0].permute(1, 2, 0).round().byte().numpy()
    brought: np.ndarray = np.where(inside[..., None], taken, np.uint8(0))
    return brought


def draw_flow(image: np.ndarray, vectors: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """A frame with arrows on a grid, uint8 (H, W, 3); their lengths are `arrow_factor` times the motion's.

    valid: bool (H, W), where the motion is known; no arrow starts elsewhere. Raises DataError where image
    and vectors differ in size.
    """
    height, width = image.shape[:2]
    if vectors.shape[1:] != (height, width):
        raise DataError(
            f"an image of {(height, width)} pixels cannot be drawn with flow of {vectors.shape[1:]}; both "
            "must be those of the original"
        )
    factor, spacing = arrow_factor(vectors, valid), _spacing(height, width)
    over = Image.new("RGBA", (width * _FINER, height * _FINER))
    pen = ImageDraw.Draw(over)
    thick = max(_FINER, round(_FINER * spacing / 12))
    for row in _grid(height, spacing):
        for column in _grid(width, spacing):
            if valid is not None and not valid[row, column]:
                continue
            start = np.array([column + 0.5, row + 0.5]) * _FINER
            step = factor * _FINER * vectors[:, row, column].astype(float)
            if np.isfinite(step).all():
                _arrow(pen, start, start + step, thick)
    over = over.resize((width, height), Image.Resampling.BOX)
    drawn = Image.alpha_composite(Image.fromarray(image).convert("RGBA"), over)
    return np.asarray(drawn.convert("RGB"))


def arrow_factor(vectors: np.ndarray, valid: np.ndarray | None = None) -> float:
    """How many times longer than the motion arrows are, a round number; long ones just do not overlap."""
    lengths = np.hypot(*vectors.astype(float))
    known = lengths[np.isfinite(lengths) if valid is None else valid & np.isfinite(lengths)]
    typical = float(np.quantile(known, 0.95)) if known.size else 0.0
    room = 1.25 * _spacing(*vectors.shape[1:])
    fitting = [factor for factor in _FACTORS if factor * typical <= room]
    if typical < 0.01 or not fitting:
        return 1.0 if fitting else _FACTORS[0]
    return fitting[-1]


def draw_pair(frames: np.ndarray, field: FlowField, largest: float | None = None) -> np.ndarray:
    """Four panels with captions, uint8 (H', W', 3), from frames uint8 (2, H, W, 3) and their flow.

    Above: frame 1 with arrows, the flow in colours with their wheel. Below: frame 2 warped back, and its
    absolute difference to frame 1. Pixels whose flow is not known are dark grey in the flow and black in the
    difference. largest: as `flow_colours` takes it. Raises DataError for anything but two frames of its size.
    """
    vectors = field.vectors.detach().cpu().float().numpy()
    if frames.shape != (2, *vectors.shape[1:], 3):
        raise DataError(
            f"frames of shape {frames.shape} cannot be drawn with flow of {vectors.shape[1:]}; give two "
            "frames of its size"
        )
    known = np.isfinite(vectors).all(axis=0)
    if field.valid is not None:
        known &= field.valid.cpu().numpy()
    vectors = np.where(known, vectors, 0)
    first, second = frames
    full = float(np.hypot(*vectors).max()) if largest is None else largest
    colours = flow_colours(vectors, full)
    colours[~known] = _UNKNOWN
    back = warped(second, vectors)
    compared = known & _inside(vectors)
    left, before = (np.abs(first.astype(float) - other).mean(axis=-1) for other in (back, second))
    gap = np.where(compared, left, 0).round().astype(np.uint8)[..., None].repeat(3, axis=2)
    means = [float(difference[compared].mean()) if compared.any() else 0.0 for difference in (left, before)]
    times = math.ceil(LEAST_WIDTH / first.shape[1])
    large = times * _larger(vectors.transpose(1, 2, 0), times).transpose(2, 0, 1)
    mask = _larger(known, times)
    factor = arrow_factor(large, mask)
    panels = [
        (draw_flow(_larger(first, times), large, mask), f"frame 1, arrows x {factor:g}"),
        (_with_wheel(_larger(colours, times)), f"flow, up to {full:.3g} px"),
        (_larger(back, times), "frame 2 warped back"),
        (_larger(gap, times), f"difference {means[0]:.1f}, was {means[1]:.1f}"),
    ]
    return _tiled(panels)


def _inside(vectors: np.ndarray) -> np.ndarray:
    """Whether each pixel of frame 1 lies in frame 2, bool (H, W)."""
    height, width = vectors.shape[1:]
    rows, columns = np.mgrid[:height, :width]
    x, y = columns + vectors[0], rows + vectors[1]
    found: np.ndarray = (x >= -0.5) & (y >= -0.5) & (x < width - 0.5) & (y < height - 0.5)
    return found


def _spacing(height: int, width: int) -> int:
    return max(_LEAST_SPACING, round(max(height, width) / _ARROWS))


def _grid(length: int, spacing: int) -> range:
    """Places of arrows, as far from either end."""
    count = max(1, length // spacing)
    return range((length - (count - 1) * spacing) // 2, length, spacing)


def _arrow(pen: ImageDraw.ImageDraw, start: np.ndarray, end: np.ndarray, thick: int) -> None:
    """A line with a head at its end, or a dot where it is shorter than its own head."""
    along = end - start
    length = float(np.hypot(*along))
    head = 3.0 * thick
    if length < head / 2:
        for grown, colour in ((1.5, _RIM), (0.8, _ARROW)):
            pen.ellipse([*(start - grown * thick), *(start + grown * thick)], fill=colour)
        return
    along /= length
    across = np.array([-along[1], along[0]])
    neck = end - along * min(head, length)
    for grown, colour in ((thick, _RIM), (0, _ARROW)):
        sides = across * (head / 2 + grown)
        tip, root = end + along * grown, neck - along * grown / 2
        pen.line([*start, *neck], fill=colour, width=thick + grown)
        pen.polygon([tuple(point) for point in (tip, root + sides, root - sides)], fill=colour)


def _larger(pixels: np.ndarray, times: int) -> np.ndarray:
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def _with_wheel(panel: np.ndarray) -> np.ndarray:
    """The panel with a disc of all directions in its lower right corner."""
    side = max(9, round(_WHEEL * min(panel.shape[:2])))
    if side + 4 > min(panel.shape[:2]):
        return panel
    steps = np.linspace(-1, 1, side, dtype=np.float32)
    vectors = np.stack(np.meshgrid(steps, steps))
    length = np.hypot(*vectors)
    wheel = flow_colours(vectors * np.minimum(1, 1 / np.maximum(length, 1e-6)), 1.0)
    corner = panel[-side - 2 : -2, -side - 2 : -2]
    corner[length <= 1] = wheel[length <= 1]
    rim = (length > 1 - 4 / side) & (length <= 1)
    corner[rim] = _INK
    return panel


def _tiled(panels: list[tuple[np.ndarray, str]]) -> np.ndarray:
    """Two by two, each under its caption; letters grow with the panels, so that a shrunk picture reads."""
    height, width = panels[0][0].shape[:2]
    size = max(10, round(width / 18))
    font = ImageFont.load_default(size)
    line, gap = round(1.5 * size), max(2, size // 3)
    sheet = Image.new("RGB", (2 * width + gap, 2 * (height + line)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, (pixels, caption) in enumerate(panels):
        left, top = (place % 2) * (width + gap), (place // 2) * (height + line)
        pen.text((left + gap, top + line // 6), caption, fill=_INK, font=font)
        sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)), (left, top + line))
    return np.asarray(sheet)
