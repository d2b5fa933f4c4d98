"""The public reference: whole batches through kornia's functions, given the numbers that our operations drew.

Kornia resamples the crop (`remap`, bilinear, after a Gaussian against aliasing as in its `resize`), adjusts
colours, turns hue, drops colour, solarises, blurs, mirrors, finds edges and normalises. What kornia has no
function for that takes given numbers (quarter turns, cutout, noise, intensity_jitter) is our own `apply`.
Largest difference to the exact engine on smooth pictures in [0, 1]; a test holds each bound:

- crops that enlarge: 1e-4. Crops of canvases larger than the view: 0.01 in the mean, as a Gaussian stands
  for the triangle and sees pixels beside the box, so a canvas's padding may tint the edge of the view.
- colour jitter, one adjustment or all four: 1e-3. The other operations: 1e-4.
- solarisation: a pixel at the very threshold may fall on its other side.

Compiled, every change is computed for all samples and kept where it was chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from kornia.color import rgb_to_grayscale
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation_with_gray_subtraction,
    normalize,
    solarize,
)
from kornia.filters import gaussian_blur2d, sobel
from kornia.geometry.transform import hflip, remap
from torch import Tensor

from sslkit.data.views.colour import BRIGHTNESS, CONTRAST, HUE, SATURATION, ColorDrop, ColorJitter, Solarize
from sslkit.data.views.crops import CropResize, CropResizeFlip, Whole
from sslkit.data.views.engine import Renderer, View
from sslkit.data.views.filters import GaussianBlur, Sobel
from sslkit.data.views.operation import Change, Crop, Operation, Parameters, on_chosen
from sslkit.data.views.placement import Flip
from sslkit.data.views.resample import Windows, centre_windows, resize_boxes
from sslkit.errors import ConfigError

Choose = Callable[[Tensor, Parameters, Change], Tensor]
"""Images, a draw with `chosen`, and a change: the images with the chosen rows changed."""


class KorniaEngine:
    """Computes views by kornia, batch by batch (implements `Engine`).

    compiled: through torch.compile, which takes a minute or two for each kind of view, and again when a
    batch has another size. A view with an operation that is not kornia's is then left to the exact engine.
    Raises ConfigError where torch.compile does not work on this machine; a view that it cannot compile
    raises it at its first batch.

    exact_rows: False, as kornia chooses its algorithms by the size of the batch. On processors rows have been
    equal to the bit so far. A run repeats and resumes to the bit all the same, as its batches are the same.
    """

    exact_rows = False

    def __init__(self, compiled: bool = False) -> None:
        self.name = "kornia_compiled" if compiled else "kornia"
        self.compiled = compiled
        if compiled:
            probe = _compiled(lambda numbers: numbers * 2 + 1)
            probe(torch.zeros(3))

    def renderer(self, view: View, mean: Sequence[float], std: Sequence[float]) -> Renderer | None:
        """What computes this view; None for a crop kornia cannot follow."""
        if type(view.crop) not in (CropResize, CropResizeFlip, Whole):
            return None
        if any(
            isinstance(step, GaussianBlur) and step.radius(view.size) >= view.size for step in view.operations
        ):
            return None  # kornia reflects an image once at most
        if not self.compiled:
            return partial(_rendered, view, mean, std, on_chosen)
        if any(type(operation) not in _CHANGES for operation in view.operations):
            return None
        return _compiled_renderer(view, tuple(mean), tuple(std))


@cache
def _compiled_renderer(view: View, mean: tuple[float, ...], std: tuple[float, ...]) -> Renderer:
    """Views that are alike, as the two of SimCLR, are compiled once."""
    return _compiled(partial(_rendered, view, mean, std, _everywhere))


def _rendered(
    view: View,
    mean: Sequence[float],
    std: Sequence[float],
    choose: Choose,
    canvases: Tensor,
    numbers: Sequence[Parameters],
) -> Tensor:
    if canvases.shape[0] == 0:
        return torch.empty((*canvases.shape[:2], view.size, view.size), device=canvases.device)
    images = _cropped(view.crop, canvases, numbers[0], view.size)
    for operation, drawn in zip(view.operations, numbers[1:], strict=True):
        change = _CHANGES.get(type(operation))
        if change is None:
            images = operation.apply(images, drawn)
        else:
            images = choose(images, drawn, partial(change, operation, choose))
    means = torch.tensor(mean, device=images.device, dtype=images.dtype)
    normalised: Tensor = normalize(images, means, torch.tensor(std, device=images.device, dtype=images.dtype))
    return normalised


def _cropped(crop: Crop, canvases: Tensor, drawn: Parameters, size: int) -> Tensor:
    """Canvases (N, C, S, S) to images (N, C, size, size) in [0, 1], by the windows of the exact engine."""
    if isinstance(crop, Whole):
        windows = centre_windows(drawn["rectangles"], size, crop=1.0)
    else:
        windows = resize_boxes(drawn["boxes"], size)
    images = canvases.float() / 255
    # As kornia's resize(antialias=True) does, but with a sigma for each sample and axis.
    factor = canvases.shape[3] / size
    if factor > 1:
        kernel = int(max(2 * (factor - 1), 3)) // 2 * 2 + 1
        sigma = ((windows.step - 1) / 2).clamp(min=0.001)
        images = gaussian_blur2d(images, (kernel, kernel), sigma)
    rows, columns = _places(windows, 0, size), _places(windows, 1, size)
    if "mirrored" in drawn:
        columns = torch.where(drawn["mirrored"][:, None], columns.flip(1), columns)
    result: Tensor = remap(
        images,
        columns[:, None, :].expand(-1, size, -1),
        rows[:, :, None].expand(-1, -1, size),
        padding_mode="border",
        align_corners=True,  # places count from the centre of the first pixel
    )
    return result


def _places(windows: Windows, axis: int, size: int) -> Tensor:
    """Where each pixel looks along an axis, counted from the centre of the canvas's first: (N, size)."""
    start, step, first, last = (values[:, axis, None] for values in windows)
    pixel = torch.arange(size, device=start.device)
    return (start + (pixel + 0.5) * step - 0.5).clamp(min=first, max=last)


def _jittered(operation: Any, choose: Choose, images: Tensor, drawn: Parameters) -> Tensor:
    del operation
    for turn in drawn["order"].unbind(dim=1):
        for adjustment, adjust in _ADJUST.items():
            now = {"chosen": turn == adjustment, "amount": drawn["amounts"][:, adjustment]}
            images = choose(images, now, partial(_adjusted, adjust))
    return images


def _adjusted(adjust: Callable[[Tensor, Tensor], Tensor], images: Tensor, drawn: Parameters) -> Tensor:
    return adjust(images, drawn["amount"])


def _hue_turned(images: Tensor, turns: Tensor) -> Tensor:
    turned: Tensor = adjust_hue(images, turns * (2 * math.pi))
    return turned


_ADJUST: dict[int, Callable[[Tensor, Tensor], Tensor]] = {
    BRIGHTNESS: adjust_brightness_accumulative,
    CONTRAST: adjust_contrast_with_mean_subtraction,
    SATURATION: adjust_saturation_with_gray_subtraction,
    HUE: _hue_turned,
}


def _dropped(operation: Any, choose: Choose, images: Tensor, drawn: Parameters) -> Tensor:
    del operation, choose, drawn
    grey: Tensor = rgb_to_grayscale(images)
    return grey.repeat(1, images.shape[1], 1, 1)  # not expanded: what follows may work in place


def _solarised(operation: Any, choose: Choose, images: Tensor, drawn: Parameters) -> Tensor:
    del choose, drawn
    solarised: Tensor = solarize(images, float(operation.threshold))
    return solarised


def _blurred(operation: Any, choose: Choose, images: Tensor, drawn: Parameters) -> Tensor:
    del choose
    side = 2 * operation.radius(images.shape[3]) + 1
    blurred: Tensor = gaussian_blur2d(images, (side, side), drawn["sigma"][:, None].expand(-1, 2))
    return blurred


def _mirrored(operation: Any, choose: Choose, images: Tensor, drawn: Parameters) -> Tensor:
    del operation, choose, drawn
    mirrored: Tensor = hflip(images)
    return mirrored


def _edges(operation: Any, choose: Choose, images: Tensor, drawn: Parameters) -> Tensor:
    del operation, choose, drawn
    edges: Tensor = sobel(images)
    return edges


_CHANGES: dict[type[Operation], Callable[[Any, Choose, Tensor, Parameters], Tensor]] = {
    ColorDrop: _dropped,
    ColorJitter: _jittered,
    Flip: _mirrored,
    GaussianBlur: _blurred,
    Sobel: _edges,
    Solarize: _solarised,
}


def _everywhere(images: Tensor, parameters: Parameters, change: Change) -> Tensor:
    """Compute the change for all rows: a compiler must know shapes, which are then no matter of the draw."""
    return change(images, parameters).where(parameters["chosen"][:, None, None, None], images)


def _compiled(work: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function through torch.compile; a failure to compile is a ConfigError that names the way out."""
    compiled = torch.compile(work)

    def run(*arguments: Any) -> Tensor:
        try:
            return compiled(*arguments)
        except Exception as failure:
            if not type(failure).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            raise ConfigError(
                f"torch.compile fails here ({type(failure).__name__}: {str(failure).splitlines()[0]}); use "
                "the views' engine kornia, fused or exact, or install a C++ compiler."
            ) from failure

    return run
