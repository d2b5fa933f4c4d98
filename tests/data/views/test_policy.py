"""Policies: rows are independent to the last bit, numbers follow the keys, bad data is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from sslkit.contracts import Views
from sslkit.data.views import exact as module
from sslkit.data.views.policy import ViewPolicy, build_views
from sslkit.data.views.specs import POLICIES
from sslkit.errors import ConfigError, DataError, SslkitError, UnknownNameError
from sslkit.keyed_random import Keys

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FLIP = [{"op": "flip"}]
EVERYTHING = [
    {"op": "crop_resize_flip"},
    {"op": "color_jitter"},
    {"op": "rotate"},
    {"op": "gaussian_blur"},
    {"op": "color_drop"},
    {"op": "solarize"},
    {"op": "gaussian_noise"},
    {"op": "sobel", "p": 0.3},
    {"op": "flip"},
    {"op": "cutout"},
    {"op": "original"},
]


def batch(count: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    sides = torch.randint(side // 2, side + 1, (count, 2), generator=generator)
    rectangles = torch.cat([(side - sides) // 2, sides], dim=1)
    return pixels, rectangles, torch.arange(count) * 7 + 3


def built(spec: Any, size: int = 24, **options: Any) -> ViewPolicy:
    return build_views(spec, size=size, mean=MEAN, std=STD, **options)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_built_in_policies_give_their_views(name: str) -> None:
    views = built(name)
    assert isinstance(views, Views)
    pixels, rectangles, ids = batch(5, 30)
    made = views(pixels, rectangles, Keys(0, 0, ids))
    assert (views.count, views.size, len(made)) == (2, 24, 2)
    for view in made:
        assert view.shape == (5, 3, 24, 24)
        assert view.dtype == torch.float32
        assert not view.requires_grad
        assert view.isfinite().all()
    assert not torch.equal(made[0], made[1])


@pytest.mark.parametrize(
    "spec",
    ["simclr", "byol", [EVERYTHING, EVERYTHING[1:], {"size": 24, "operations": EVERYTHING}]],
    ids=["simclr", "byol", "all"],
)
@pytest.mark.parametrize(("side", "size"), [(40, 32), (90, 64)])
def test_a_row_is_the_same_to_the_last_bit_in_any_batch(spec: object, side: int, size: int) -> None:
    views = built(spec, size)
    pixels, rectangles, ids = batch(19, side)
    whole = views(pixels, rectangles, Keys(4, 2, ids))
    orders = [[0], [18], [3, 4], list(range(7)), list(range(18, -1, -1)), [5, 1, 17, 5, 9, 0, 2, 11, 5]]
    for order in orders:
        part = views(pixels[order], rectangles[order], Keys(4, 2, ids[order]))
        for made, expected in zip(part, whole, strict=True):
            assert torch.equal(made, expected[order])


def test_a_row_is_the_same_whatever_the_piece_and_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    views = built([EVERYTHING], 64)
    pixels, rectangles, ids = batch(9, 90)
    (whole,) = views(pixels, rectangles, Keys(0, 0, ids))
    threads = torch.get_num_threads()
    try:
        for piece, workers in ((1, 1), (2 * 3 * 90**2, 2), (2**30, 2)):
            monkeypatch.setattr(module, "_PIECE", piece)
            torch.set_num_threads(workers)
            assert torch.equal(views(pixels, rectangles, Keys(0, 0, ids))[0], whole)
    finally:
        torch.set_num_threads(threads)


def test_views_follow_seed_epoch_and_id_and_nothing_else() -> None:
    views = built("simclr")
    pixels, rectangles, ids = batch(4, 30)
    first = views(pixels, rectangles, Keys(1, 1, ids))[0]
    torch.manual_seed(99)
    assert torch.equal(built("simclr")(pixels, rectangles, Keys(1, 1, ids))[0], first)
    for other in (Keys(2, 1, ids), Keys(1, 2, ids), Keys(1, 1, ids + 1)):
        changed = views(pixels, rectangles, other)[0]
        assert all(not torch.equal(a, b) for a, b in zip(changed, first, strict=True))


def test_making_views_leaves_torch_s_generator_and_the_batch_alone() -> None:
    pixels, rectangles, ids = batch(4, 30)
    before, state = pixels.clone(), torch.get_rng_state()
    built([EVERYTHING])(pixels, rectangles, Keys(0, 0, ids))
    assert torch.equal(pixels, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_padding_never_shows_in_a_view() -> None:
    pixels, rectangles, ids = batch(40, 30)
    marked = torch.full_like(pixels, 255)
    for image, (top, left, height, width) in zip(marked, rectangles.tolist(), strict=True):
        image[:, top : top + height, left : left + width] = 100
    for view in built([[{"op": "crop_resize_flip"}, {"op": "gaussian_blur", "p": 1.0}], [{"op": "flip"}]])(
        marked, rectangles, Keys(0, 0, ids)
    ):
        torch.testing.assert_close(built("simclr").displayable(view), torch.full_like(view, 100 / 255))


def test_views_are_normalised_by_mean_and_std() -> None:
    pixels = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8)
    rectangles = torch.tensor([[0, 0, 20, 20]] * 3)
    views = built([[{"op": "original"}]], 20)
    (view,) = views(pixels, rectangles, Keys(0, 0, torch.arange(3)))
    scaled = pixels.float() / 255
    expected = (scaled - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(view, expected)
    torch.testing.assert_close(views.displayable(view), scaled)


def test_an_empty_batch_gives_empty_views() -> None:
    pixels, rectangles, ids = batch(0, 30)
    assert [tuple(view.shape) for view in built("simclr")(pixels, rectangles, Keys(0, 0, ids))] == [
        (0, 3, 24, 24)
    ] * 2


def test_a_view_may_have_a_side_of_its_own() -> None:
    small = {"size": 10, "operations": [{"op": "crop_resize_flip"}, {"op": "color_drop", "p": 0.5}]}
    views = built([[{"op": "original"}], small, {"operations": FLIP}])
    pixels, rectangles, ids = batch(5, 30)
    keys = Keys(0, 0, ids)
    made = views(pixels, rectangles, keys)
    assert (views.size, views.sizes, views.count) == (24, (24, 10, 24), 3)
    assert [view.shape[2:] for view in made] == [(24, 24), (10, 10), (24, 24)]
    # It is the view that a policy of that size makes under the same number.
    alike = built([FLIP, small["operations"]], 10)(pixels, rectangles, keys)
    assert torch.equal(made[1], alike[1])
    assert views.displayable(made[1]).shape == (5, 3, 10, 10)


def test_options_change_an_operation_in_views_of_either_kind() -> None:
    spec = [[{"op": "flip", "p": 0.5}], {"size": 10, "operations": [{"op": "flip", "p": 0.5}]}]
    _, rectangles, ids = batch(6, 30)
    numbers = built(spec, flip={"p": 1.0}).parameters(rectangles, Keys(0, 0, ids))
    assert all(view[1]["chosen"].all() for view in numbers)
    assert built(spec, flip={"p": 1.0}).sizes == (24, 10)


def test_the_same_operation_twice_draws_twice() -> None:
    jitter = {"op": "color_jitter", "p": 1.0}
    _, rectangles, ids = batch(6, 30)
    numbers = built([[jitter, jitter]]).parameters(rectangles, Keys(0, 0, ids))[0]
    assert not torch.equal(numbers[1]["amounts"], numbers[2]["amounts"])


def test_byol_blurs_and_solarises_its_views_unlike() -> None:
    ids = torch.arange(5000)
    rectangles = torch.tensor([[0, 0, 30, 30]]).repeat(5000, 1)
    first, second = built("byol").parameters(rectangles, Keys(0, 0, ids))
    shares = [[numbers[k]["chosen"].float().mean().item() for k in (3, 4)] for numbers in (first, second)]
    assert shares[0] == [1.0, 0.0]
    assert shares[1] == pytest.approx([0.1, 0.2], abs=0.02)


def test_a_policy_comes_from_yaml() -> None:
    spec = yaml.safe_load("[[{op: crop_resize, scale: [0.2, 1]}, {op: flip, p: 0.5}], [{op: original}]]")
    pixels, rectangles, ids = batch(3, 30)
    assert len(built(spec)(pixels, rectangles, Keys(0, 0, ids))) == 2


def test_options_change_an_operation_of_a_named_policy_and_only_there() -> None:
    pixels, rectangles, ids = batch(6, 30)
    keys = Keys(0, 0, ids)
    plain: dict[str, Any] = {
        "color_jitter": {"p": 0.0},
        "color_drop": {"p": 0.0},
        "gaussian_blur": {"p": 0.0},
    }
    views = built("simclr", crop_resize_flip={"scale": [1.0, 1.0], "p": 0.0}, **plain)
    whole = torch.tensor([[0, 0, 30, 30]]).repeat(6, 1)
    expected = built([[{"op": "original"}]])(pixels, whole, keys)[0]
    torch.testing.assert_close(views(pixels, whole, keys)[0], expected)
    assert not torch.equal(built("simclr")(pixels, rectangles, keys)[0], views(pixels, rectangles, keys)[0])


@pytest.mark.parametrize(
    ("spec", "options", "kind", "told"),
    [
        ("simcrl", {}, UnknownNameError, "did you mean 'simclr'"),
        ([[{"op": "fliip"}]], {}, UnknownNameError, "'flip'"),
        ("simclr", {"engine": "fussed"}, UnknownNameError, "did you mean 'fused'"),
        ("simclr", {"color_jiter": {}}, UnknownNameError, "'color_jitter'"),
        ("simclr", {"solarize": {"p": 1.0}}, UnknownNameError, "operation of this policy 'solarize'"),
        ("simclr", {"color_jitter": {"strength": 1}}, UnknownNameError, "option of color_jitter"),
        ("simclr", {"color_jitter": 0.5}, ConfigError, "as a mapping"),
        ([[{"op": "flip"}, {"op": "crop_resize"}]], {}, ConfigError, "crop_resize must be the first"),
        ([], {}, ConfigError, "a list of views"),
        ([[]], {}, ConfigError, "a list of operations"),
        ([{"op": "flip"}], {}, ConfigError, "a list of operations"),
        ([{"size": 8}], {}, ConfigError, "a list of operations"),
        ([{"size": 8, "operations": []}], {}, ConfigError, "a list of operations"),
        ([{"sise": 8, "operations": FLIP}], {}, UnknownNameError, "did you mean 'size'"),
        ([{"size": 25, "operations": FLIP}], {}, ConfigError, "size of a view is 25; .* from 1 to 24"),
        ([{"size": 0, "operations": FLIP}], {}, ConfigError, "size of a view is 0"),
        ([{"size": "8", "operations": FLIP}], {}, ConfigError, "size of a view is '8'"),
    ],
)
def test_a_bad_policy_is_refused_by_name(
    spec: object, options: dict[str, Any], kind: type[SslkitError], told: str
) -> None:
    with pytest.raises(kind, match=told):
        built(spec, **options)


def video(count: int, moments: int, frames: int, side: int) -> tuple[Tensor, Tensor, Keys]:
    pixels, rectangles, ids = batch(count * moments * frames, side)
    clips = pixels.view(count, moments, frames, 3, side, side)
    return clips, rectangles[:count], Keys(2, 1, ids[:count])


@pytest.mark.parametrize("engine", ["exact", "fused"])
@pytest.mark.parametrize(("size", "side"), [(24, 30), (64, 70)])
def test_all_frames_of_a_clip_take_one_draw(engine: str, size: int, side: int) -> None:
    views = built([EVERYTHING, EVERYTHING[1:], {"size": 16, "operations": EVERYTHING}], size, engine=engine)
    assert views.takes_clips
    pixels, rectangles, keys = video(4, 2, 3, side)
    made = views(pixels, rectangles, keys)
    assert [tuple(view.shape) for view in made] == [(4, 3, 3, own, own) for own in (size, size, 16)]
    for number, view in enumerate(made):
        for frame in range(3):
            alone = views(pixels[:, number % 2, frame], rectangles, keys)[number]
            assert torch.equal(view[:, frame], alone)


def test_a_clip_of_one_frame_is_an_image() -> None:
    pixels, rectangles, keys = video(5, 2, 1, 30)
    views = built("simclr")
    made = views(pixels, rectangles, keys)
    assert torch.equal(made[0], views(pixels[:, 0, 0], rectangles, keys)[0])
    assert torch.equal(made[1], views(pixels[:, 1, 0], rectangles, keys)[1])


def test_shared_views_of_one_moment_are_the_same_and_of_two_differ_in_time_alone() -> None:
    views = built("simclr", shared=True)
    pixels, rectangles, keys = video(6, 2, 1, 30)
    first, second = views(pixels[:, :1], rectangles, keys)
    assert torch.equal(first, second)
    assert torch.equal(first, built("simclr")(pixels[:, 0, 0], rectangles, keys)[0])
    later = views(pixels, rectangles, keys)[1]
    assert torch.equal(later, views(pixels[:, 1, 0], rectangles, keys)[0])
    assert views.with_engine("fused").shared


def test_an_empty_batch_of_clips_gives_empty_views() -> None:
    pixels, rectangles, keys = video(0, 2, 3, 30)
    assert [tuple(view.shape) for view in built("simclr")(pixels, rectangles, keys)] == [
        (0, 3, 3, 24, 24)
    ] * 2


def test_every_engine_draws_the_same_numbers() -> None:
    _, rectangles, ids = batch(6, 30)
    drawn = [
        built("byol", engine=name).parameters(rectangles, Keys(0, 0, ids))
        for name in ("exact", "fused", "kornia")
    ]
    for other in drawn[1:]:
        for one, another in zip(drawn[0], other, strict=True):
            for first, second in zip(one, another, strict=True):
                assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_policy_goes_to_another_engine_as_it_is() -> None:
    views = built("simclr", color_jitter={"p": 0.0})
    pixels, rectangles, ids = batch(4, 30)
    assert (views.engine, views.with_engine("fused").engine) == ("exact", "fused")
    expected = views(pixels, rectangles, Keys(0, 0, ids))
    again = views.with_engine("fused").with_engine("exact")(pixels, rectangles, Keys(0, 0, ids))
    assert all(torch.equal(one, other) for one, other in zip(again, expected, strict=True))


def test_colour_operations_are_refused_for_other_than_three_channels() -> None:
    with pytest.raises(
        ConfigError, match=r"color_jitter needs red, green and blue, but images have 1 channels"
    ):
        build_views("simclr", size=28, mean=[0.5], std=[0.5])
    grey = build_views([[{"op": "crop_resize"}, {"op": "sobel"}]], size=28, mean=[0.5], std=[0.5])
    pixels, rectangles, ids = batch(2, 30)
    assert grey(pixels[:, :1], rectangles, Keys(0, 0, ids))[0].shape == (2, 1, 28, 28)


def test_wrong_shapes_and_types_are_refused() -> None:
    views = built("simclr")
    pixels, rectangles, ids = batch(2, 30)
    keys = Keys(0, 0, ids)
    for wrong in (pixels.float(), pixels[:, :1], pixels[:, :, :20], pixels[0]):
        with pytest.raises(DataError, match="uint8"):
            views(wrong, rectangles, keys)
    with pytest.raises(DataError, match="rectangles"):
        views(pixels, rectangles[:1], keys)
    with pytest.raises(DataError, match="rectangles"):
        views(pixels, rectangles, Keys(0, 0, ids[:1]))
    with pytest.raises(ConfigError, match="size of views is 0"):
        built("simclr", 0)
    with pytest.raises(ConfigError, match="std above 0"):
        build_views("simclr", size=8, mean=MEAN, std=(1, 1, 0))
