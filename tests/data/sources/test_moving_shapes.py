"""Videos whose class no single frame tells, and any measure of motion does."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from sslkit.contracts import Moment
from sslkit.data.clips import Clips
from sslkit.data.outlines import CLASSES as OUTLINES
from sslkit.data.reader import BatchReader
from sslkit.data.sources import moving_shapes
from sslkit.data.sources.moving_shapes import MOTIONS, MovingShape, MovingShapesSource
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.registry import open_source
from sslkit.testing.source_kit import check_source

STEP = 0.12  # seconds


def painter(source: MovingShapesSource, id: int) -> MovingShape:
    content = source[id].content
    assert isinstance(content, Moment)
    assert isinstance(content.path, MovingShape)
    return content.path


def frames(source: MovingShapesSource, seconds: np.ndarray) -> np.ndarray:
    """(N, T, H, W, 3) of all videos at seconds (T,)."""
    return np.stack([painter(source, id)(seconds) for id in range(len(source))])


def test_keeps_the_source_contract() -> None:
    check_source(MovingShapesSource(count=12, size=32))


def test_an_address_opens_it_and_its_splits() -> None:
    source = open_source("moving-shapes:count=20,size=16,seconds=1,seed=3", split="test")
    assert isinstance(source, MovingShapesSource)
    assert (len(source), source.split, source.seed) == (20, "test", 3)
    assert source.splits == ("train", "test")
    item = source[13]
    assert isinstance(item.content, Moment)
    assert (item.content.start, item.content.length, item.content.duration, item.content.rate) == (
        0,
        1,
        1,
        25,
    )
    assert (item.name, item.label) == ("test/13-down left", 3)


# ---------------------------------------------------------------------- what the class can be told from


def test_the_motion_changes_nothing_of_the_first_frame_and_all_of_those_behind_it() -> None:
    painters = [MovingShape(0, "train", 7, motion, 32) for motion in MOTIONS]
    first, later = zip(*(one(np.array([0.0, 0.5])) for one in painters), strict=True)
    assert all(np.array_equal(first[0], one) for one in first)
    assert len({one.tobytes() for one in later}) == len(MOTIONS)


def test_frames_at_any_second_are_distributed_alike_in_all_classes() -> None:
    """What fills the picture at a second is at each place as often as anywhere else, whatever the motion.

    Of one and the same set of shapes the mean place is compared at second 1.3 under two motions.
    """
    count = 600
    for motion in ("right", "up left", "clockwise"):
        marks = np.array([_centre(MovingShape(5, "train", id, motion, 16), 1.3) for id in range(count)])
        # Uniform on the circle: the mean of unit vectors is as short as chance makes it, twice over.
        drawn = np.abs(np.exp(2j * np.pi * marks).mean(0))
        assert drawn.max() < 3 / np.sqrt(count), motion


def _centre(shape: MovingShape, second: float) -> np.ndarray:
    """Where the painter says that the shape is, as shares of the side."""
    place, motion = shape._uniform("place", 3), shape._uniform("motion", 2)
    moved, _ = shape._speeds(*motion)
    return np.asarray((place[:2] + second * moved) % 1)


@pytest.fixture(scope="module")
def sets() -> tuple[MovingShapesSource, MovingShapesSource]:
    return MovingShapesSource(count=400, size=16), MovingShapesSource(count=400, size=16, split="test")


def test_a_frame_alone_does_not_tell_the_class(sets: tuple[MovingShapesSource, MovingShapesSource]) -> None:
    train, test = sets
    second = np.array([0.7])
    seen, asked = (frames(one, second).reshape(len(one), -1) / 255 for one in sets)
    assert train.labels is not None
    assert test.labels is not None
    spread = np.sqrt(0.1 * 0.9 / len(test))
    ridge = np.linalg.solve(seen.T @ seen + 10 * np.eye(seen.shape[1]), seen.T @ np.eye(10)[train.labels])
    linear = (asked @ ridge).argmax(1)
    nearest = np.argsort((seen**2).sum(1) - 2 * asked @ seen.T, axis=1)[:, :5]
    votes = np.array([np.bincount(row, minlength=10).argmax() for row in train.labels[nearest]])
    for guesses in (linear, votes):
        assert abs((guesses == test.labels).mean() - 0.1) < 3 * spread


def test_two_frames_tell_the_class() -> None:
    source = MovingShapesSource(count=100, size=64, seed=1)
    assert source.labels is not None
    guesses = [_motion(painter(source, id)(np.array([0.0, STEP]))) for id in range(len(source))]
    right = np.array(guesses) == source.labels
    assert right.mean() > 0.9
    # The same rule shown one frame twice is at a loss.
    still = [_motion(painter(source, id)(np.zeros(2))) for id in range(40)]
    assert (np.array(still) == source.labels[:40]).mean() < 0.3


def _motion(pair: np.ndarray) -> int:
    """The class of two frames (2, H, W, 3): the shape is cut out by its colour, and followed."""
    masks = _masks(pair)
    first, second = (_middle(mask) for mask in masks)
    moved = (second - first + 0.5) % 1 - 0.5
    if np.hypot(*moved) > 0.02:
        return round(np.arctan2(moved[1], moved[0]) / (2 * np.pi / 8)) % 8
    rings = [_unrolled(mask, first) for mask in masks]
    turns = range(-12, 13)  # of 2.5 degrees
    overlaps = [(np.roll(rings[0], turn, axis=0) * rings[1]).sum() for turn in turns]
    return 8 if turns[int(np.argmax(overlaps))] > 0 else 9


def _masks(pair: np.ndarray) -> np.ndarray:
    """Two clusters of colours, by 2-means; the one of fewer pixels is the shape. bool (2, H, W)."""
    pixels = pair.reshape(-1, 3).astype(float)
    middle = np.median(pixels, axis=0)
    furthest = pixels[((pixels - middle) ** 2).sum(1).argmax()]
    centres = np.stack([middle, furthest])
    for _ in range(8):
        nearest = ((pixels[:, None] - centres) ** 2).sum(-1).argmin(1)
        centres = np.stack([pixels[nearest == one].mean(0) for one in range(2)])
    smaller = np.bincount(nearest, minlength=2).argmin()
    return (nearest == smaller).reshape(pair.shape[:3])


def _middle(mask: np.ndarray) -> np.ndarray:
    """The mean place (x, y) on a torus, as shares of the side."""
    turns = np.exp(2j * np.pi * (np.arange(len(mask)) + 0.5) / len(mask))
    return np.angle([mask.sum(0) @ turns, mask.sum(1) @ turns]) / (2 * np.pi)


def _unrolled(mask: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """The mask around a place by angle and distance, (144, 24)."""
    angle, distance = 2 * np.pi * np.arange(144)[:, None] / 144, 0.4 * (np.arange(24) + 0.5) / 24
    columns, rows = (
        np.floor((middle[axis] + way(angle) * distance) % 1 * len(mask)).astype(int)
        for axis, way in ((0, np.cos), (1, np.sin))
    )
    return mask[rows, columns].astype(float)


# --------------------------------------------------------------------------- a function of the second


def test_a_frame_depends_on_its_second_and_nothing_else_that_is_asked() -> None:
    one = painter(MovingShapesSource(count=9, size=32), 8)
    whole = one(np.arange(20) / 10)
    assert whole.dtype == np.uint8
    assert whole.shape == (20, 32, 32, 3)
    assert np.array_equal(one(np.array([1.7, 0.3, 0.3])), whole[[17, 3, 3]])
    assert np.array_equal(pickle.loads(pickle.dumps(one))(np.array([0.3])), whole[3:4])


def test_a_video_depends_on_seed_split_and_id_alone() -> None:
    few, many = MovingShapesSource(count=5, size=32), MovingShapesSource(count=50, size=32, seconds=9)
    second = np.array([0.4])
    assert painter(few, 4) == painter(many, 4)
    for other in (
        MovingShapesSource(count=5, size=32, seed=1),
        MovingShapesSource(count=5, size=32, split="test"),
    ):
        assert other.fingerprint != few.fingerprint
        assert np.abs(frames(few, second).astype(int) - frames(other, second)).mean() > 20


def test_what_leaves_on_one_side_comes_in_on_the_other() -> None:
    """A slow twin: the same shape drawn nine times on a plane, with the torus cut out of the middle."""
    shape = painter(MovingShapesSource(count=12, size=32, seed=2), 4)
    for second in (0.0, 0.7, 1.9):
        drawn = shape(np.array([second]))[0].astype(float)
        mask = _masks(np.stack([drawn, drawn]))[0]
        centre = _centre(shape, second)
        grid = (np.arange(32) + 0.5) / 32
        look, turn = shape._uniform("look", 3), shape._uniform("place", 3)[2]
        angle = 2 * np.pi * turn
        outline = np.array([OUTLINES.index(moving_shapes.SHAPES[int(look[0] * 8)])])
        root = 0.26 + 0.14 * look[1]
        inside = np.zeros((32, 32), bool)
        for right in (-1, 0, 1):
            for down in (-1, 0, 1):
                x, y = np.meshgrid(grid - centre[0] - right, grid - centre[1] - down)
                across = (np.cos(angle) * x + np.sin(angle) * y) / root
                along = (np.cos(angle) * y - np.sin(angle) * x) / root
                inside |= moving_shapes.distances(outline, across[None], along[None])[0] < 0
        assert (mask ^ inside).mean() < 0.02
        assert inside.mean() > 0.05


def test_shapes_reach_less_than_half_round_the_torus_and_all_show_a_turn() -> None:
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    for name in moving_shapes.SHAPES:
        label = np.array([OUTLINES.index(name)])

        def away(reach: float, label: np.ndarray = label, turned: float = 0.0) -> np.ndarray:
            x, y = reach * np.cos(angle + turned), reach * np.sin(angle + turned)
            return moving_shapes.distances(label, x[None, None], y[None, None])[0, 0]

        assert (away(0.5 / moving_shapes.SIZE_RANGE[1] - 0.03) > 0).all(), name
        assert max(np.ptp(away(reach)) for reach in (0.3, 0.6, 0.9)) > 0.1, name


# --------------------------------------------------------------------------------- reading, and what is not


def test_clips_of_them_are_read_for_pretraining() -> None:
    source = MovingShapesSource(count=10, size=32)
    reader = BatchReader(source, 32, clips=Clips(frames=3, stride=2, positives="both"), seed=1)
    batch = reader.read(torch.tensor([4, 9]), epoch=2)
    assert batch.pixels.shape == (2, 2, 3, 3, 32, 32)
    assert not batch.skipped
    content = source[9].content
    assert isinstance(content, Moment)
    times = Clips(frames=3, stride=2, positives="both").times(content, 1, 2, 9)
    expected = painter(source, 9)(times.reshape(-1)).reshape(2, 3, 32, 32, 3)
    assert np.array_equal(batch.pixels[1].permute(0, 1, 3, 4, 2).numpy(), expected)


@pytest.mark.parametrize(
    "options", [{"count": 0}, {"size": 15}, {"rate": 0.0}, {"rate": float("inf")}, {"seconds": 0.03}]
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))}=.*side >= 16 can be drawn"):
        MovingShapesSource(**options)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="train"):
        MovingShapesSource(split="val")
