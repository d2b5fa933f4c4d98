"""kornia's engine against the exact one, given the same numbers; its crop against torch, one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from kornia.geometry.transform import resize
from torch import Tensor

from sslkit.data.views import kornia_engine
from sslkit.data.views.crops import CropResize, Whole
from sslkit.data.views.engine import View
from sslkit.data.views.exact import ExactEngine
from sslkit.data.views.kornia_engine import KorniaEngine
from sslkit.data.views.operation import Parameters
from sslkit.data.views.operations import CROPS, build_operation
from sslkit.errors import ConfigError
from sslkit.keyed_random import Keys

ROWS, SIDE = 8, 32
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
CROP = {"op": "crop_resize_flip"}
JITTER: dict[str, Any] = {"op": "color_jitter", "p": 1.0}
PLAIN = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def canvases(rows: int = ROWS, side: int = SIDE, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(rows, channels, side // 8, side // 8, generator=generator)
    smooth = F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
    return (smooth.clamp(0, 1) * 255).byte()


def rectangles(rows: int = ROWS, side: int = SIDE) -> Tensor:
    """Letterboxed: the middle three quarters of every other canvas."""
    high = torch.arange(rows) % 2 * (side // 4)
    return torch.stack([high // 2, torch.zeros_like(high), side - high, torch.full_like(high, side)], dim=1)


def view_of(*specs: dict[str, Any], size: int = SIDE) -> View:
    crop, *operations = [build_operation(spec) for spec in (CROP, *specs)]
    return View(size, crop, tuple(operations))  # type: ignore[arg-type]


def drawn(view: View, areas: Tensor) -> list[Parameters]:
    keys = Keys(seed=4, epoch=1, ids=torch.arange(areas.shape[0]))
    numbers = [view.crop.draw(keys.stream(0, "0"), areas)]
    return [*numbers, *(step.draw(keys.stream(0, str(k))) for k, step in enumerate(view.operations, start=1))]


def both(view: View, side: int = SIDE, channels: int = 3) -> tuple[Tensor, Tensor]:
    pixels, numbers = canvases(side=side, channels=channels), drawn(view, rectangles(side=side))
    means, deviations = MEAN * 2, STD * 2
    engines = (KorniaEngine(), ExactEngine())
    ours = [engine.renderer(view, means[:channels], deviations[:channels]) for engine in engines]
    kornia, exact = (render(pixels, numbers) for render in ours if render is not None)
    return kornia * torch.tensor(deviations[:channels])[:, None, None], exact * torch.tensor(
        deviations[:channels]
    )[:, None, None]


@pytest.mark.parametrize(
    ("spec", "bound"),
    [
        ({"op": "original"}, 1e-4),
        ({"op": "flip", "p": 0.5}, 1e-4),
        ({"op": "rotate"}, 1e-4),
        ({"op": "color_drop", "p": 0.5}, 1e-4),
        ({"op": "gaussian_blur", "p": 0.7, "kernel": 0.3}, 1e-4),
        ({"op": "sobel", "p": 0.5}, 1e-4),
        ({"op": "cutout"}, 1e-4),
        ({"op": "gaussian_noise"}, 1e-4),
        ({"op": "intensity_jitter"}, 1e-4),
        ({**JITTER, **PLAIN, "brightness": 0.8}, 1e-3),
        ({**JITTER, **PLAIN, "contrast": 0.8}, 1e-3),
        ({**JITTER, **PLAIN, "saturation": 0.8}, 1e-3),
        ({**JITTER, **PLAIN, "hue": 0.5}, 1e-3),
        ({**JITTER, "p": 0.8}, 1e-3),
        ({"op": "RandomPosterize", "p": 0.7}, 0.2),  # a value on the other side of a level steps by one
    ],
)
def test_an_operation_equals_the_exact_engine_s(spec: dict[str, Any], bound: float) -> None:
    kornia, exact = both(view_of(spec, size=40))
    assert (kornia - exact).abs().max() < bound
    assert (kornia - exact).abs().mean() < 1e-4
    plain, _ = both(view_of(size=40))
    if spec["op"] != "original":
        assert (kornia - plain).abs().max() > 0.05


@pytest.mark.parametrize(
    "after", [{"op": "cutout", "p": 1.0}, {"op": "RandomErasing", "p": 1.0}, {"op": "original"}]
)
def test_our_operations_may_work_in_place_on_what_kornia_made(after: dict[str, Any]) -> None:
    changes = ("color_drop", "flip", "gaussian_blur")
    for change in changes:
        kornia, exact = both(view_of({"op": change, "p": 1.0}, after, size=40))
        assert (kornia - exact).abs().max() < 1e-4


def test_solarisation_differs_only_at_the_threshold() -> None:
    kornia, exact = both(view_of({"op": "solarize", "p": 0.6, "threshold": 0.37}))
    unlike = (kornia - exact).abs() > 1e-4
    assert unlike.float().mean() < 1e-3
    assert not torch.equal(both(view_of())[0], kornia)


def test_whole_policies_equal_the_exact_engine_s() -> None:
    blur = {"op": "gaussian_blur", "p": 0.5}
    kornia, exact = both(view_of(JITTER, {"op": "color_drop", "p": 0.2}, blur, size=40))
    assert (kornia - exact).abs().max() < 1e-3


def test_a_reduced_crop_is_near_the_exact_engine_s() -> None:
    kornia, exact = both(view_of(size=32), side=64)
    assert (kornia - exact).abs().mean() < 0.01
    far = (kornia - exact).abs().mean()
    blurred, exact = both(
        view_of({"op": "gaussian_blur", "p": 1.0, "sigma": [2.0, 2.0], "kernel": 0.3}, size=32), 64
    )
    assert (blurred - exact).abs().mean() < far  # the filters differ in fine detail alone


def test_an_enlarged_crop_is_cut_then_resized_by_torch_picture_by_picture() -> None:
    view, pixels, areas = view_of(size=40), canvases(), rectangles()
    numbers = drawn(view, areas)
    render = KorniaEngine().renderer(view, (0, 0, 0), (1, 1, 1))
    assert render is not None
    for image, box, mirrored, ours in zip(
        pixels,
        numbers[0]["boxes"].tolist(),
        numbers[0]["mirrored"].tolist(),
        render(pixels, numbers),
        strict=True,
    ):
        top, left, height, width = box
        cut = image[None, :, top : top + height, left : left + width].float() / 255
        expected = F.interpolate(cut, size=(40, 40), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(ours, expected.flip(2) if mirrored else expected, atol=1e-4, rtol=0)


def test_padding_of_a_canvas_is_not_seen_where_crops_enlarge() -> None:
    view, areas = view_of(size=40), rectangles()
    numbers = drawn(view, areas)
    render = KorniaEngine().renderer(view, MEAN, STD)
    assert render is not None
    place = torch.arange(SIDE)
    inside = (place >= areas[:, :1]) & (place < areas[:, :1] + areas[:, 2:3])
    assert not inside.all()
    black, white = (
        canvases().where(inside[:, None, :, None], torch.tensor(level).byte()) for level in (0, 255)
    )
    torch.testing.assert_close(render(black, numbers), render(white, numbers), atol=1e-4, rtol=0)


@pytest.mark.parametrize("side", [32, 48, 80, 96])
def test_a_whole_picture_is_reduced_as_kornia_resizes_with_antialiasing(side: int) -> None:
    noise = torch.randint(0, 256, (3, 3, side, side), generator=torch.Generator().manual_seed(1)).byte()
    areas = torch.tensor([0, 0, side, side]).repeat(3, 1)
    render = KorniaEngine().renderer(View(32, Whole(), ()), (0, 0, 0), (1, 1, 1))
    assert render is not None
    expected = resize(noise.float() / 255, (32, 32), antialias=True)
    torch.testing.assert_close(render(noise, [{"rectangles": areas}]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(channels: int) -> None:
    blur = {"op": "gaussian_blur", "p": 0.5}
    kornia, exact = both(
        view_of({"op": "flip"}, blur, {"op": "intensity_jitter"}, size=40), channels=channels
    )
    assert (kornia - exact).abs().max() < 1e-4


def test_a_row_hardly_depends_on_the_batch() -> None:
    view, pixels, areas = view_of(JITTER, {"op": "gaussian_blur"}), canvases(), rectangles()
    numbers = drawn(view, areas)
    render = KorniaEngine().renderer(view, MEAN, STD)
    assert render is not None
    together = render(pixels, numbers)
    for rows in (slice(0, 3), slice(3, 4), slice(4, 8)):
        alone = render(
            pixels[rows], [{name: values[rows] for name, values in part.items()} for part in numbers]
        )
        torch.testing.assert_close(alone, together[rows], atol=1e-5, rtol=0)
    assert KorniaEngine.exact_rows is False


def test_an_empty_batch_gives_empty_views() -> None:
    view = view_of(JITTER)
    render = KorniaEngine().renderer(view, MEAN, STD)
    assert render is not None
    assert render(canvases()[:0], drawn(view, rectangles()[:0])).shape == (0, 3, SIDE, SIDE)


@dataclass(frozen=True, kw_only=True)
class OddCrop(CropResize):
    """A plugin's crop: kornia cannot know what it does."""

    name: ClassVar[str] = "odd_crop"


def test_what_kornia_cannot_follow_is_left_to_the_exact_engine() -> None:
    assert "odd_crop" not in CROPS
    assert KorniaEngine().renderer(View(SIDE, OddCrop(), ()), MEAN, STD) is None
    assert KorniaEngine().renderer(view_of({"op": "gaussian_blur"}, size=1), MEAN, STD) is None


@pytest.fixture
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile that compiles nothing: what would be compiled, in milliseconds."""
    monkeypatch.setattr(torch, "compile", lambda work: work)
    kornia_engine._compiled_renderer.cache_clear()


@pytest.mark.usefixtures("as_it_is")
def test_what_is_compiled_equals_the_eager_engine() -> None:
    steps = [{"op": op, "p": 0.5} for op in ("color_drop", "gaussian_blur", "flip", "sobel", "solarize")]
    view = view_of({**JITTER, "p": 0.6}, *steps)
    pixels, numbers = canvases(), drawn(view, rectangles())
    eager, compiled = (KorniaEngine(c).renderer(view, MEAN, STD) for c in (False, True))
    assert eager is not None
    assert compiled is not None
    torch.testing.assert_close(compiled(pixels, numbers), eager(pixels, numbers), atol=1e-5, rtol=0)
    assert KorniaEngine(True).renderer(view, MEAN, STD) is compiled
    assert KorniaEngine(True).renderer(view_of({"op": "cutout"}), MEAN, STD) is None
    assert KorniaEngine(True).renderer(view_of({"op": "RandomPosterize"}), MEAN, STD) is None


def test_torch_can_trace_what_is_compiled_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda work: real(work, backend="eager", fullgraph=True))
    kornia_engine._compiled_renderer.cache_clear()
    view = view_of({"op": "flip"}, {"op": "color_drop", "p": 0.5})
    pixels, numbers = canvases(), drawn(view, rectangles())
    eager, compiled = (KorniaEngine(c).renderer(view, MEAN, STD) for c in (False, True))
    assert eager is not None
    assert compiled is not None
    torch.testing.assert_close(compiled(pixels, numbers), eager(pixels, numbers), atol=1e-5, rtol=0)


def _failing(error: Exception) -> Callable[[Any], Callable[..., Tensor]]:
    def compile(work: Any) -> Callable[..., Tensor]:
        def run(*arguments: Any) -> Tensor:
            raise error

        return run

    return compile


def test_a_machine_that_cannot_compile_says_so_when_the_engine_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch._dynamo.exc import TorchDynamoException

    monkeypatch.setattr(torch, "compile", _failing(TorchDynamoException("no C++ compiler\nmore lines")))
    with pytest.raises(
        ConfigError, match=r"torch.compile fails here .*no C\+\+ compiler\); use the views. engine kornia"
    ):
        KorniaEngine(compiled=True)
    monkeypatch.setattr(torch, "compile", _failing(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError):
        KorniaEngine(compiled=True)
