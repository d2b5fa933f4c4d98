"""Image, boxes, masks and vectors follow one geometric change."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from sslkit.contracts import FlowField, Objects, SemanticMap, Warp
from sslkit.data.augment import Elastic
from sslkit.data.decode.image import decode_image
from sslkit.data.warp import Placed, covering, fit, fitted_side
from sslkit.errors import DataError
from sslkit.keyed_random import Keys

CHANGES = {
    "as it is": Placed((40, 56), (48, 64), (40, 56)),
    "shrunk": Placed((40, 56), (48, 64), (17, 23)),
    "enlarged": Placed((40, 56), (48, 64), (97, 130), offset=(31, 5)),
    "cut below": Placed((40, 56), (30, 64), (40, 56), offset=(10, 0)),
    "mirrored": Placed((40, 56), (48, 64), (40, 56), flipped=True),
    "mirrored, enlarged": Placed((40, 56), (48, 64), (80, 112), offset=(32, 40), flipped=True),
    "mirrored, stretched": Placed((40, 56), (48, 64), (45, 70), offset=(0, 3), flipped=True),
}
every_change = pytest.mark.parametrize("change", list(CHANGES.values()), ids=list(CHANGES))


def bent(alpha: float = 2.0, sigma: float = 8.0, *, seed: int = 0, **given: object) -> Placed:
    field = Elastic(alpha, sigma).field((48, 64), Keys(seed, 0, torch.tensor([7])))
    return Placed(**{"source": (40, 56), "size": (48, 64), "scaled": (48, 64), **given}, displaced=field)  # type: ignore[arg-type]


def blocks(size: tuple[int, int] = (40, 56), side: int = 8) -> torch.Tensor:
    """A checker of labels 0 and 1, uint8 (H, W)."""
    rows, columns = (torch.arange(length) // side for length in size)
    return ((rows[:, None] + columns) % 2).to(torch.uint8)


def test_a_placed_image_is_a_warp() -> None:
    warp: Warp = fit((40, 56), (48, 64))
    assert warp.source == (40, 56)
    assert pickle.loads(pickle.dumps(bent())) == bent()


@every_change
def test_images_are_scaled_mirrored_and_cut_as_torchvision_does(change: Placed) -> None:
    image = torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scaled = tv.resize(image, list(change.scaled), antialias=True)
    if change.flipped:
        scaled = tv.horizontal_flip(scaled)
    cut = tv.crop(scaled, *change.offset, *change.size)  # zero beyond the border
    assert torch.equal(change.image(image), cut)
    height, width = change.valid
    assert not change.image(image)[:, height:].any()
    assert not change.image(image)[..., width:].any()


@every_change
def test_labels_are_those_of_the_pixel_under_each_centre(change: Placed) -> None:
    labels = torch.arange(40 * 56).view(40, 56)
    expected = torch.full(change.size, -1)
    for y, x in itertools.product(range(change.size[0]), range(change.size[1])):
        above, left = y + 0.5 + change.offset[0], x + 0.5 + change.offset[1]
        if change.flipped:
            left = change.scaled[1] - left
        row, column = int(above * 40 // change.scaled[0]), int(left * 56 // change.scaled[1])
        if 0 <= row < 40 and 0 <= column < 56:
            expected[y, x] = labels[row, column]
    assert torch.equal(change.labels(labels, outside=-1), expected)


@every_change
def test_image_and_mask_move_together_to_half_a_pixel(change: Placed) -> None:
    mask = blocks()
    shown = change.image((mask * 255)[None])[0].float() / 255
    labels = change.labels(mask, outside=255)
    height, width = change.valid
    assert set(labels[:height, :width].unique().tolist()) == {0, 1}
    assert (labels[height:] == 255).all()
    assert (labels[:, width:] == 255).all()
    # On a border between blocks the image is grey where a pixel shows both; elsewhere both agree.
    wrong = (shown[:height, :width] - labels[:height, :width]).abs()
    assert wrong.max() <= (0.51 if change.scaled[0] >= 40 else 0.8)
    assert wrong.mean() < 0.2


@every_change
def test_boxes_surround_the_pixels_they_surrounded(change: Placed) -> None:
    boxes = torch.tensor([[8.0, 10.0, 30.0, 34.0], [0.0, 0.0, 56.0, 40.0], [3.0, 5.0, 4.0, 6.0]])
    for box, moved in zip(boxes, change.boxes(boxes), strict=True):
        left, top, right, bottom = box.int().tolist()
        mask = torch.zeros(40, 56, dtype=torch.bool)
        mask[top:bottom, left:right] = True
        found = change.labels(mask, outside=0).nonzero()
        if not len(found):
            assert (moved[2:] - moved[:2]).prod() <= 1
            continue
        (above, before), (below, behind) = found.amin(dim=0).tolist(), (found.amax(dim=0) + 1).tolist()
        expected = torch.tensor([before, above, behind, below], dtype=torch.float32)
        assert (moved - expected).abs().max() <= 0.5 + 1e-4


@every_change
def test_the_visible_share_is_that_of_the_area(change: Placed) -> None:
    draw = torch.Generator().manual_seed(1)
    corners = torch.rand(50, 2, 2, generator=draw) * torch.tensor([56.0, 40.0])
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    for box, share in zip(boxes.tolist(), change.visible(boxes).tolist(), strict=True):
        across, down = change.scaled[1] / 56, change.scaled[0] / 40
        left, top, right, bottom = box[0] * across, box[1] * down, box[2] * across, box[3] * down
        if change.flipped:
            left, right = change.scaled[1] - right, change.scaled[1] - left
        whole = (right - left) * (bottom - top)
        left, right = (min(max(0, x - change.offset[1]), change.size[1]) for x in (left, right))
        top, bottom = (min(max(0, y - change.offset[0]), change.size[0]) for y in (top, bottom))
        assert share == pytest.approx((right - left) * (bottom - top) / whole, abs=1e-4)


def test_what_has_no_area_is_not_visible() -> None:
    assert fit((40, 56), (48, 64)).visible(torch.tensor([[3.0, 3.0, 3.0, 9.0]])).tolist() == [0.0]
    assert fit((40, 56), (48, 64)).boxes(torch.zeros(0, 4)).shape == (0, 4)


@every_change
def test_vectors_lead_to_the_same_thing(change: Placed) -> None:
    vectors = torch.tensor([3.0, -2.0]).view(2, 1, 1).expand(2, 40, 56)
    moved = change.vectors(vectors)
    height, width = change.valid
    across = 3.0 * change.scaled[1] / 56 * (-1 if change.flipped else 1)
    assert moved[0, :height, :width].allclose(torch.tensor(across))
    assert moved[1, :height, :width].allclose(torch.tensor(-2.0 * change.scaled[0] / 40))
    assert not moved[:, height:].any()
    flow = FlowField(vectors).through(change)
    assert flow.valid is not None
    assert int(flow.valid.sum()) == height * width


@pytest.mark.parametrize(
    "given", [{}, {"flipped": True}, {"scaled": (70, 90), "offset": (20, 9)}, {"scaled": (30, 50)}]
)
def test_displaced_pixels_show_what_lies_where_the_field_says(given: dict[str, object]) -> None:
    change = bent(seed=3, **given)
    assert change.displaced is not None
    labels = torch.arange(40 * 56).view(40, 56)
    moved = change.labels(labels, outside=-1)
    for y, x in itertools.product(range(0, 48, 3), range(0, 64, 3)):
        left = x + 0.5 + change.displaced[0, y, x].item() + change.offset[1]
        above = y + 0.5 + change.displaced[1, y, x].item() + change.offset[0]
        inside = 0 <= left < change.scaled[1] and 0 <= above < change.scaled[0]
        inside &= y < change.valid[0] and x < change.valid[1]
        if not inside:
            assert moved[y, x] == -1
            continue
        if change.flipped:
            left = change.scaled[1] - left
        row, column = min(39, int(above * 40 / change.scaled[0])), min(55, int(left * 56 / change.scaled[1]))
        assert moved[y, x] == labels[row, column]


@pytest.mark.parametrize("flipped", [False, True])
def test_displaced_image_and_mask_move_together(flipped: bool) -> None:
    change = bent(seed=5, flipped=flipped, source=(48, 64))
    mask = blocks((48, 64)) + 1
    labels = change.labels(mask, outside=0)
    shown = change.image((mask * 100)[None])[0].float()
    assert set(labels.unique().tolist()) <= {0, 1, 2}
    assert torch.equal(shown == 0, labels == 0)  # the same pixels have no source
    assert (shown - labels * 100).abs().max() <= 51  # never on the wrong side of a border
    assert not torch.equal(labels, fit((48, 64), (48, 64)).labels(mask, outside=0))


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_displaced_boxes_surround_the_mask(seed: int, flipped: bool) -> None:
    change = bent(alpha=2.5, sigma=9.0, seed=seed, flipped=flipped, source=(48, 64))
    mask = torch.zeros(48, 64, dtype=torch.bool)
    mask[14:34, 20:44] = True
    found = change.labels(mask, outside=0).nonzero()
    (above, before), (below, behind) = found.amin(dim=0).tolist(), (found.amax(dim=0) + 1).tolist()
    box = torch.tensor([[20.0, 14.0, 44.0, 34.0]])
    moved = change.boxes(box)[0]
    assert (moved - torch.tensor([before, above, behind, below])).abs().max() <= 1.25
    still = bent(alpha=1e-6, sigma=9.0, seed=seed, flipped=flipped, source=(48, 64)).boxes(box)[0]
    assert (moved - still).abs().max() > 0.5


def test_both_ends_of_a_displaced_vector_follow() -> None:
    """A vector from one pixel to another leads, after the change, to where the other is shown."""
    change = bent(alpha=2.0, sigma=10.0, seed=2, source=(48, 64), flipped=True)
    ids = torch.arange(48 * 64).view(48, 64)
    vectors = torch.tensor([6.0, -5.0]).view(2, 1, 1).expand(2, 48, 64).contiguous()
    shown, moved = change.labels(ids, outside=-1), change.vectors(vectors)
    misses = []
    for y, x in itertools.product(range(12, 40), range(12, 50)):
        row, column = divmod(int(shown[y, x]), 64)
        if shown[y, x] < 0 or not (5 <= row < 48 and column < 58):
            continue
        end = (round(y + moved[1, y, x].item()), round(x + moved[0, y, x].item()))
        if not (0 <= end[0] < 48 and 0 <= end[1] < 64) or shown[end] < 0:
            continue
        there = divmod(int(shown[end]), 64)
        misses.append(max(abs(there[0] - (row - 5)), abs(there[1] - (column + 6))))
    assert len(misses) > 500
    assert max(misses) <= 1  # rounding at both ends; without the second end's displacement up to 4
    assert np.mean(misses) < 0.6


def test_targets_of_the_contract_go_through() -> None:
    change = Placed((40, 56), (40, 28), (40, 56), offset=(0, 28))  # the right half
    masks = torch.zeros(3, 40, 56, dtype=torch.bool)
    masks[0, :, :10], masks[1, 10:20, 20:36], masks[2, 5:9, 40:50] = True, True, True
    boxes = torch.tensor([[0.0, 0.0, 10.0, 40.0], [20.0, 10.0, 36.0, 20.0], [40.0, 5.0, 50.0, 9.0]])
    seen = Objects(boxes, torch.tensor([4, 5, 6]), masks=masks).through(change)
    assert seen.labels.tolist() == [5, 6]
    assert seen.boxes.tolist() == [[0, 10, 8, 20], [12, 5, 22, 9]]
    assert seen.masks is not None
    assert seen.masks.shape == (2, 40, 28)
    assert int(seen.masks[0].sum()) == 80
    semantic = SemanticMap(blocks()).through(Placed((40, 56), (50, 60), (40, 56)))
    assert (semantic.labels[40:] == 255).all()


def test_many_images_are_placed_as_each_of_them() -> None:
    frames = torch.randint(0, 256, (2, 3, 3, 40, 50), generator=torch.Generator().manual_seed(0))
    frames = frames.to(torch.uint8)
    bent = Elastic(1.5, 6).field((24, 32), Keys(0, 0, torch.tensor([1])))
    for change in (
        Placed((40, 50), (24, 32), (30, 38), offset=(3, 4), flipped=True),
        Placed((40, 50), (24, 32), (40, 50), offset=(5, 0)),
        Placed((40, 50), (24, 32), (20, 25), flipped=True, displaced=bent),
    ):
        placed = change.image(frames)
        assert placed.shape == (2, 3, 3, 24, 32)
        for clip, shown in zip(frames, placed, strict=True):
            for frame, one in zip(clip, shown, strict=True):
                assert torch.equal(change.image(frame), one)


@pytest.mark.parametrize(("source", "size"), [((20, 44), (20, 20)), ((90, 40), (20, 30)), ((5, 7), (20, 20))])
def test_windows_of_a_covering_image_fill_the_canvas_and_reach_its_ends(
    source: tuple[int, int], size: tuple[int, int]
) -> None:
    begin, middle, end = covering(source, size, 3)
    assert covering(source, size, 1) == [middle]
    height, width = begin.scaled
    assert height == size[0] or width == size[1]
    assert height / width == pytest.approx(source[0] / source[1], rel=0.06)
    assert begin.offset == (0, 0)
    assert end.offset == (height - size[0], width - size[1])
    assert middle.offset == (round((height - size[0]) / 2), round((width - size[1]) / 2))
    assert {one.valid for one in (begin, middle, end)} == {size}


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match=r"a map of 40x56 pixels belongs to an image of 56x40; .*EXIF"):
        fit((40, 56), (48, 64)).labels(torch.zeros(56, 40), outside=0)


@pytest.mark.parametrize("shape", [(30, 50), (200, 100), (37, 211), (3, 900), (128, 128), (129, 127)])
@pytest.mark.parametrize("size", [(64, 64), (128, 128)])
def test_a_fit_is_what_decoding_to_the_canvas_gives(shape: tuple[int, int], size: tuple[int, int]) -> None:
    array = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pixels, (_, _, height, width) = decode_image(array, canvas=size[0])
    change = fit(shape, size)
    assert change.scaled == change.valid == (height, width)
    assert torch.equal(
        change.image(torch.from_numpy(pixels[:, :height, :width].copy())), torch.from_numpy(pixels)
    )


def test_a_fit_never_enlarges_and_leaves_no_room() -> None:
    for shape in itertools.product((1, 7, 60, 96, 97, 333), repeat=2):
        for size in ((96, 128), (64, 33), (100, 100)):
            change = fit(shape, size)
            height, width = change.scaled
            assert height <= min(size[0], shape[0])
            assert width <= min(size[1], shape[1])
            if fitted_side(shape, size) < max(shape):  # one side is full, to the rounding of the other
                assert (
                    height == size[0]
                    or width == size[1]
                    or max(height, width) + 1
                    > max(shape) * min((size[0] + 0.5) / shape[0], (size[1] + 0.5) / shape[1])
                )
