"""Windows of canvases against torchvision's crops and resizes; padding is never read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from sslkit.data.views.crops import CropResize, CropResizeFlip, random_boxes
from sslkit.data.views.plain import evaluation_view
from sslkit.data.views.resample import centre_windows, resample, resize_boxes
from sslkit.errors import ConfigError
from sslkit.keyed_random import Keys


def canvases(count: int, side: int) -> Tensor:
    return torch.randint(
        0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def drawn(crop: CropResize, rectangles: Tensor, epoch: int = 0) -> Tensor:
    ids = torch.arange(rectangles.shape[0])
    return crop.draw(Keys(0, epoch, ids).stream(0, "0.crop"), rectangles)["boxes"]


@pytest.mark.parametrize(("side", "size"), [(50, 20), (40, 40), (20, 33), (64, 7)])
def test_resized_boxes_equal_torchvision_with_antialias(side: int, size: int) -> None:
    pixels = canvases(30, side)
    boxes = drawn(CropResize(), torch.tensor([[0, 0, side, side]]).repeat(30, 1))
    ours = resample(pixels, resize_boxes(boxes, size), size)
    for image, box, result in zip(pixels.float(), boxes.tolist(), ours, strict=True):
        expected = v2.functional.resized_crop(image, *box, size=[size, size], antialias=True)
        torch.testing.assert_close(result, expected, atol=0.02, rtol=0)  # of 255 levels


def test_mirrored_rows_are_flipped_and_the_others_not() -> None:
    pixels = canvases(4, 30)
    windows = resize_boxes(torch.tensor([[3, 4, 20, 15]]).repeat(4, 1), 12)
    mirrored = torch.tensor([True, False, True, False])
    plain, ours = resample(pixels, windows, 12), resample(pixels, windows, 12, mirrored)
    torch.testing.assert_close(ours[mirrored], plain[mirrored].flip(3), atol=1e-3, rtol=0)
    assert torch.equal(ours[~mirrored], plain[~mirrored])


def test_padding_never_shows_at_any_size_or_place() -> None:
    # Real pixels are at most 99 and padding is 255: one stray tap would lift a value above 99.
    count, side = 300, 40
    generator = torch.Generator().manual_seed(1)
    sides = torch.randint(1, side + 1, (count, 2), generator=generator)
    start = (torch.rand(count, 2, generator=generator) * (side - sides + 1)).long()
    rectangles = torch.cat([start, sides], dim=1)
    place = torch.arange(side)
    real = (place >= start[..., None]) & (place < (start + sides)[..., None])
    inside = (real[:, 0, :, None] & real[:, 1, None, :])[:, None]
    pixels = torch.where(inside, canvases(count, side) % 100, 255).to(torch.uint8)
    for size in (8, 40, 57):
        boxes = drawn(CropResize(scale=(0.01, 1.0)), rectangles, epoch=size)
        assert resample(pixels, resize_boxes(boxes, size), size).max() <= 99.01
        for crop in (0.5, 0.875, 1.0):
            assert resample(pixels, centre_windows(rectangles, size, crop), size).max() <= 99.01


def test_boxes_lie_in_their_rectangles_and_have_the_stated_areas_and_ratios() -> None:
    rectangles = torch.tensor([[30, 50, 400, 300]]).repeat(20000, 1)
    top, left, height, width = drawn(CropResize(scale=(0.2, 0.6)), rectangles).unbind(1)
    assert top.min() >= 30
    assert left.min() >= 50
    assert (top + height).max() <= 430
    assert (left + width).max() <= 350
    # All ratios fit up to an area of 0.6 here except wide ones, hence torchvision's own rejections: compare.
    share = (height * width).float() / (400 * 300)
    ratio = width.float() / height
    assert share.min() >= 0.195
    assert share.max() <= 0.605
    assert ratio.min() >= 0.74
    assert ratio.max() <= 1.35
    torch.manual_seed(0)
    blank = torch.empty(1, 400, 300)
    peer = (
        torch.tensor(
            [
                v2.RandomResizedCrop(8, scale=(0.2, 0.6)).make_params([blank])[key]
                for _ in range(4000)
                for key in ("height", "width", "top", "left")
            ]
        )
        .view(-1, 4)
        .float()
    )
    ours = torch.stack([height, width, top - 30, left - 50], dim=1).float()
    for level in (0.1, 0.5, 0.9):
        torch.testing.assert_close(ours.quantile(level, 0), peer.quantile(level, 0), atol=8.0, rtol=0.03)


def test_area_is_uniform_where_every_ratio_fits() -> None:
    rectangles = torch.tensor([[0, 0, 2000, 2000]]).repeat(20000, 1)
    boxes = drawn(CropResize(scale=(0.1, 0.5)), rectangles)
    share = (boxes[:, 2] * boxes[:, 3]).float() / 4e6
    even = torch.linspace(0.1, 0.5, 9)
    torch.testing.assert_close(share.quantile((even - 0.1) / 0.4), even, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(10, 100, [0, 43, 10, 13]), (100, 10, [43, 0, 13, 10])]
)
def test_a_rectangle_too_long_for_any_ratio_gets_torchvision_s_central_crop(
    height: int, width: int, expected: list[int]
) -> None:
    boxes = drawn(CropResize(scale=(1.0, 1.0)), torch.tensor([[0, 0, height, width]]).repeat(5, 1))
    assert boxes.tolist() == [expected] * 5
    peer = v2.RandomResizedCrop(8, scale=(1.0, 1.0)).make_params([torch.empty(1, height, width)])
    assert [peer["top"], peer["left"], peer["height"], peer["width"]] == expected


def test_one_pixel_is_enough_to_crop() -> None:
    assert (
        random_boxes(torch.rand(3, 22), torch.tensor([[5, 6, 1, 1]] * 3), (0.08, 1.0), (0.75, 1.33)).tolist()
        == [[5, 6, 1, 1]] * 3
    )


def test_flips_come_with_their_probability_and_do_not_move_the_boxes() -> None:
    rectangles = torch.tensor([[0, 0, 50, 50]]).repeat(4000, 1)
    stream = Keys(0, 0, torch.arange(4000)).stream(0, "x")
    numbers = CropResizeFlip(p=0.3).draw(stream, rectangles)
    assert numbers["mirrored"].float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(numbers["boxes"], CropResize().draw(stream, rectangles)["boxes"])


@pytest.mark.parametrize("crop", [0.875, 1.0])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 40), (64, 64), (33, 64)])
def test_evaluation_view_equals_torchvision_resize_and_centre_crop(
    height: int, width: int, crop: float
) -> None:
    size, side = 28, 64
    pixels = canvases(2, side)
    top, left = (side - height) // 2, (side - width) // 2
    rectangles = torch.tensor([[top, left, height, width]]).repeat(2, 1)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    ours = evaluation_view(pixels, rectangles, size=size, mean=mean, std=std, crop=crop)
    peer = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize(int(size / crop), antialias=True),
            v2.CenterCrop(size),
            v2.Normalize(mean, std),
        ]
    )
    expected = peer(pixels[:, :, top : top + height, left : left + width])
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("crop", [0.875, 1.0])
def test_evaluation_view_keeps_the_very_pixels_of_native_small_images(crop: float) -> None:
    pixels = canvases(5, 32)
    rectangles = torch.tensor([[0, 0, 32, 32]]).repeat(5, 1)
    ours = evaluation_view(pixels, rectangles, size=32, mean=(0, 0, 0), std=(1, 1, 1), crop=crop)
    assert torch.equal(ours, pixels.float() / 255)


def test_evaluation_view_takes_one_channel_and_refuses_a_crop_of_nothing() -> None:
    pixels, rectangles = canvases(2, 28)[:, :1], torch.tensor([[0, 0, 28, 28]] * 2)
    assert evaluation_view(pixels, rectangles, size=14, mean=(0.5,), std=(0.5,)).shape == (2, 1, 14, 14)
    with pytest.raises(ConfigError, match="crop is 0"):
        evaluation_view(pixels, rectangles, size=14, mean=(0.5,), std=(0.5,), crop=0)


@pytest.mark.parametrize("frames", [1, 3])
def test_the_evaluation_view_of_a_clip_is_that_of_its_frames(frames: int) -> None:
    pixels = torch.randint(0, 256, (2, 2, frames, 3, 24, 24), dtype=torch.uint8)
    rectangles = torch.tensor([[0, 0, 24, 18], [0, 0, 20, 24]])
    settings = {"size": 16, "mean": (0.5,) * 3, "std": (0.2,) * 3}
    seen = evaluation_view(pixels, rectangles, **settings)
    by_frame = [evaluation_view(pixels[:, 0, frame], rectangles, **settings) for frame in range(frames)]
    expected = by_frame[0] if frames == 1 else torch.stack(by_frame, dim=1)
    assert torch.equal(seen, expected)
