"""Kinds of motion: one pose tells nothing of them, and what changes does."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import ks_2samp, kstest

from sslkit.contracts import Moment
from sslkit.data.motions import KINDS, PALE_RANGE, SIZE_RANGE, Pose, moved, pose
from sslkit.data.sources.moving_shapes import MOTIONS, MovingShape, MovingShapesSource
from sslkit.errors import UnknownNameError
from sslkit.testing.source_kit import check_source

POSES = 1500
SECONDS = (0.0, 0.37, 1.3)


def numbers(shown: Pose) -> tuple[float, ...]:
    """Each as a share that is uniform where the law holds."""
    low, high = zip(SIZE_RANGE, PALE_RANGE, strict=True)
    size, pale = (
        (at - a) / (b - a) for at, a, b in zip((shown.area_root, shown.pale), low, high, strict=True)
    )
    return (*(shown.centre % 1), shown.angle / (2 * np.pi) % 1, size, pale)


def test_a_pose_is_uniform_at_every_second_whatever_the_kind() -> None:
    generator = np.random.default_rng(0)
    for second in SECONDS:
        drawn = {}
        for kind in KINDS:
            starts, draws = generator.random((POSES, 5)), generator.random((POSES, 4))
            poses = (pose(kind, *each, second) for each in zip(starts, draws, strict=True))
            drawn[kind] = np.array([numbers(one) for one in poses])
            smallest = min(kstest(column, "uniform").pvalue for column in drawn[kind].T)
            assert smallest > 1e-4, (kind, second)
        for one, other in pairwise(KINDS):
            laws = zip(drawn[one].T, drawn[other].T, strict=True)
            assert min(ks_2samp(*both).pvalue for both in laws) > 1e-4, (one, other, second)


def test_what_a_motion_adds_begins_at_nothing_and_touches_its_own_part_alone() -> None:
    draws = np.array([0.3, 0.6, 0.7, 0.4])
    parts = {"slides": [0, 1], "leaps": [0, 1], "shakes": [0, 1], "turns": [2], "swells": [3], "fades": [4]}
    for kind in KINDS:
        assert not moved(kind, draws, 0.0).any()
        ever = np.abs([moved(kind, draws, second) for second in (0.35, 0.9, 1.7)]).max(0) > 0
        assert np.flatnonzero(ever).tolist() == parts.get(kind, [])


@pytest.fixture(scope="module")
def sets() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Videos of both splits, (2, N, T, H, W) in grey, and their labels (N,)."""
    count, seconds = 210, np.arange(10) * 0.16
    shown = []
    for split in ("train", "test"):
        source = MovingShapesSource(count=count, size=16, split=split, motions="kinds")
        contents = [source[id].content for id in range(count)]
        assert all(isinstance(one, Moment) for one in contents)
        shown.append([one.path(seconds)[..., 0] for one in contents])  # type: ignore[union-attr, operator]
        labels = source.labels
    assert labels is not None
    train, test = np.array(shown, dtype=float) / 255
    return train, test, labels


def by_neighbours(train: np.ndarray, test: np.ndarray, labels: np.ndarray) -> float:
    """The share of test rows whose five nearest rows vote for their class; columns of one spread."""
    scale = train.std(0) + 1e-9
    distance = (((test / scale)[:, None] - (train / scale)[None]) ** 2).sum(-1)
    votes = labels[np.argsort(distance, axis=1)[:, :5]]
    guesses = np.array([np.bincount(row, minlength=len(KINDS)).argmax() for row in votes])
    return float((guesses == labels).mean())


def test_a_frame_alone_does_not_tell_the_kind(sets: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    train, test, labels = sets
    spread = np.sqrt(6 / 49 / len(labels))
    for frame in (0, 7):
        shown = [
            np.stack([at.mean((1, 2)), at.std((1, 2)), at.max((1, 2)), (at > 0.4).mean((1, 2))], 1)
            for at in (train[:, frame], test[:, frame])
        ]
        assert abs(by_neighbours(*shown, labels) - 1 / 7) < 3.5 * spread


def test_how_a_video_changes_tells_the_kind(sets: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    train, test, labels = sets

    def changes(videos: np.ndarray) -> np.ndarray:
        steps = np.abs(np.diff(videos, axis=1)).mean((2, 3))
        light, peak = videos.mean((2, 3)), videos.max((2, 3))
        parts = (steps.mean(1), steps.std(1), steps.max(1), steps.min(1), light.std(1), peak.std(1))
        return np.stack(parts, 1)

    assert by_neighbours(changes(train), changes(test), labels) > 0.5


def test_kinds_keep_the_source_contract_and_differ_from_directions_by_their_fingerprint() -> None:
    source = MovingShapesSource(count=14, size=32, motions="kinds")
    check_source(source)
    assert source.classes == KINDS
    assert source[9].name == "train/9-leaps"
    assert source.fingerprint != MovingShapesSource(count=14, size=32).fingerprint
    with pytest.raises(UnknownNameError, match="directions"):
        MovingShapesSource(motions="ways")  # type: ignore[arg-type]


def test_the_kind_changes_nothing_of_the_first_frame() -> None:
    first, later = zip(
        *(MovingShape(0, "train", 7, kind, 32)(np.array([0.0, 0.6])) for kind in KINDS), strict=True
    )
    assert all(np.array_equal(first[0], one) for one in first)
    assert len({one.tobytes() for one in later}) == len(KINDS)


def test_directions_are_what_they_were_before_there_were_kinds() -> None:
    assert not set(MOTIONS) & set(KINDS)
    assert MovingShapesSource().fingerprint == "08ef4855b08a1facc8295e60c07e95d9"
