"""Flying shapes as a source: pairs that are functions of their id, with the motion asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.contracts import Frames
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.testing.source_kit import check_labelled_source
from sslkit_flow.sources.flying_shapes import FlyingShapesSource


def frames(source: FlyingShapesSource, id: int) -> np.ndarray:
    content = source[id].content
    assert isinstance(content, Frames)
    return np.stack([np.asarray(image) for image in content.images])


def test_it_is_a_source_with_targets() -> None:
    source = FlyingShapesSource("4", size=32)
    check_labelled_source(source, sample=3)
    assert (len(source), source.target_kind, source.classes, source.splits) == (
        4,
        "flow",
        (),
        ("train", "test"),
    )
    assert source.class_counts().shape == (4, 0)
    assert frames(source, 0).shape == (2, 32, 32, 3)
    target = source.target(0)
    assert (target.vectors.shape, target.vectors.dtype) == ((2, 32, 32), torch.float32)


def test_a_pair_depends_on_seed_split_and_id_alone() -> None:
    given = {"size": 32, "seed": 3}
    source = FlyingShapesSource(9, **given)
    others = {
        "more of them": FlyingShapesSource(5, **given),
        "seed": FlyingShapesSource(9, size=32, seed=4),
        "split": FlyingShapesSource(9, split="test", **given),
    }
    same = others.pop("more of them")
    assert np.array_equal(frames(source, 4), frames(same, 4))
    assert torch.equal(source.target(4).vectors, same.target(4).vectors)
    assert same.fingerprint != source.fingerprint
    for which, other in others.items():
        assert not np.array_equal(frames(source, 4), frames(other, 4)), which
        assert not torch.equal(source.target(4).vectors, other.target(4).vectors), which
        assert other.fingerprint != source.fingerprint, which
    assert not np.array_equal(frames(source, 4), frames(source, 5))


def test_motion_is_on_average_what_was_asked_with_a_long_tail() -> None:
    for motion in (1.0, 4.0):
        source = FlyingShapesSource(100, size=32, motion=motion)
        lengths = torch.cat([source.target(id).vectors.norm(dim=0).flatten() for id in range(100)])
        assert float(lengths.mean()) == pytest.approx(motion, rel=0.2)
        assert float(lengths.median()) < 0.85 * float(lengths.mean())
        assert float(lengths.quantile(0.99)) > 3 * motion


def test_shapes_move_with_the_background_and_on_their_own() -> None:
    source = FlyingShapesSource(40, size=32)
    behind, before = [], []
    for id in range(40):
        scene = source.scene(id, textures=False)
        flow, seen = scene.flow(), scene.owners() == 0
        if 0 < seen.mean() < 1:
            behind.append(flow[:, seen].mean(axis=1))
            before.append(flow[:, ~seen].mean(axis=1))
    apart = np.abs(np.array(behind) - np.array(before))
    assert apart.mean() > 0.3
    assert np.corrcoef(np.ravel(behind), np.ravel(before))[0, 1] > 0.4


def test_no_motion_is_the_same_frame_twice() -> None:
    source = FlyingShapesSource(2, size=32, motion=0)
    first, second = frames(source, 1)
    assert np.abs(first.astype(int) - second).max() <= 1
    assert float(source.target(1).vectors.abs().max()) < 1e-9
    assert not bool(source.occlusion(1).any())


def test_occluded_pixels_are_valid_or_not() -> None:
    known, seen = FlyingShapesSource(3, size=32), FlyingShapesSource(3, size=32, occluded="invalid")
    assert torch.equal(known.target(1).vectors, seen.target(1).vectors)
    everywhere, partly = known.target(1).valid, seen.target(1).valid
    assert everywhere is not None
    assert partly is not None
    assert bool(everywhere.all())
    assert torch.equal(partly, ~seen.occlusion(1))
    assert 0 < float(partly.float().mean()) < 1


def test_brightness_changes_the_second_frame_alone() -> None:
    same, changed = FlyingShapesSource(8, size=32), FlyingShapesSource(8, size=32, brightness=0.5)
    ratios = []
    for id in range(8):
        (first, second), (again, other) = frames(same, id), frames(changed, id)
        assert np.array_equal(first, again)
        ratios.append(other.mean() / second.mean())
    assert min(ratios) < 0.95
    assert max(ratios) > 1.02
    assert min(ratios) > 0.45
    assert max(ratios) < 1.5


def test_scenes_have_4_to_16_shapes() -> None:
    counts = [len(FlyingShapesSource(60, size=16).scene(id, textures=False).layers) - 1 for id in range(60)]
    assert (min(counts), max(counts)) == (4, 16)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"count": "many"},
            r"count='many': write a number of pairs above 0, as in flying-shapes:2000,size=128",
        ),
        ({"count": 0}, "count=0"),
        ({"size": 8}, "size=8, .* sides have 16 pixels or more"),
        ({"motion": -1.0}, r"motion=-1: .* motion is 0\.\.size / 2"),
        ({"brightness": 1.5}, "brightness=1.5: it is a share"),
        ({"occluded": "invalit"}, "occluded=invalit: it is valid or invalid; did you mean 'invalid'"),
    ],
)
def test_options_that_cannot_be_drawn_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FlyingShapesSource(**options)  # type: ignore[arg-type]


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown split 'val'"):
        FlyingShapesSource(split="val")
    source = FlyingShapesSource(2, size=16)
    for read in (source.__getitem__, source.target, source.occlusion):
        for outside in (2, -1):
            with pytest.raises(IndexError):
                read(outside)
