"""Drawn persons: pixels tell them apart a little, the persons of two splits are different ones."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit.data.portraits import POSES, TRAITS, WAVES, portraits, scaled
from sslkit.data.sources.identities import IdentitiesSource
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.registry import open_source
from sslkit.testing.source_kit import check_source


@pytest.fixture(scope="module")
def source() -> IdentitiesSource:
    return IdentitiesSource(split="test", size=32)


def pixels(source: IdentitiesSource) -> np.ndarray:
    return source.read_many(np.arange(len(source)))


def test_keeps_the_source_contract() -> None:
    source = open_source("identities:count=40,identities=10,size=32")
    check_source(source)
    assert getattr(source, "groups", None) is None


def test_a_picture_depends_on_seed_split_and_id_and_a_person_on_its_number() -> None:
    few = IdentitiesSource(count=12, identities=6, size=32)
    many = IdentitiesSource(count=300, identities=6, size=32)
    assert np.array_equal(pixels(few), pixels(many)[:12])
    assert few[7].name == "train/7-train-001"
    assert few[7].label == 1
    for other in (
        IdentitiesSource(count=12, identities=6, size=32, seed=1),
        IdentitiesSource(count=12, identities=6, size=32, split="test"),
    ):
        assert other.fingerprint != few.fingerprint
        assert np.abs(pixels(few).astype(int) - pixels(other)).mean() > 10


def test_no_person_is_in_two_splits() -> None:
    train, test = (IdentitiesSource(count=160, size=32, split=split) for split in ("train", "test"))
    assert not set(train.classes) & set(test.classes)
    assert len(train.classes) == 40
    # Nor under another name: the mean pictures of persons are like none of the other split.
    means = [
        np.stack([pixels(one)[one.labels == person].mean(0).reshape(-1) for person in range(40)])
        for one in (train, test)
    ]
    away = np.linalg.norm(means[0][:, None] - means[1][None], axis=-1)
    assert away.min() > 0.3 * away.mean()


def test_every_person_has_as_many_pictures(source: IdentitiesSource) -> None:
    assert source.labels is not None
    assert np.bincount(source.labels).tolist() == [10] * 40


def test_raw_pixels_are_above_chance_and_far_from_perfect(source: IdentitiesSource) -> None:
    small = pixels(source).reshape(400, -1).astype(np.float32)
    small = small - small.mean(0)
    unit = small / np.linalg.norm(small, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    assert source.labels is not None
    same = source.labels[:, None] == source.labels
    recall = same[np.arange(400), near.argmax(1)].mean()
    assert 3 * 9 / 399 < recall < 0.5  # chance is 9 of 399
    pairs = np.triu(np.ones((400, 400), bool), 1)
    genuine, impostors = near[pairs & same], np.sort(near[pairs & ~same])
    auc = np.searchsorted(impostors, genuine).mean() / len(impostors)
    assert 0.6 < auc < 0.85


def test_a_person_is_told_by_traits_and_not_by_the_picture_around_it() -> None:
    """Where pose, light and background are equal, the nearest picture in pixels is of the same person."""
    people = scaled(TRAITS, np.random.default_rng(0).random((20, len(TRAITS)), np.float32))
    pose = scaled(POSES, np.full((20, len(POSES)), 0.5, np.float32))
    turned = scaled(POSES, np.full((20, len(POSES)), 0.6, np.float32))
    background = np.full((20, 2 + WAVES, 3), 0.5, np.float32)
    first, second = (
        portraits(people, how, background, np.full((20, 64, 64, 1), 0.5, np.float32), 64)
        .reshape(20, -1)
        .astype(float)
        for how in (pose, turned)
    )
    away = np.linalg.norm(first[:, None] - second[None], axis=-1)
    assert (away.argmin(1) == np.arange(20)).mean() > 0.8


@pytest.mark.parametrize("trait", sorted(TRAITS))
def test_every_trait_shows(trait: str) -> None:
    low = np.full((1, len(TRAITS)), 0.4, np.float32)
    high = low.copy()
    high[0, list(TRAITS).index(trait)] = 0.9
    pose, flat = scaled(POSES, np.full((1, len(POSES)), 0.5, np.float32)), np.full((1, 64, 64, 1), 0.5)
    background = np.full((1, 2 + WAVES, 3), 0.5, np.float32)
    one, other = (
        portraits(scaled(TRAITS, who), pose, background, flat, 64).astype(int) for who in (low, high)
    )
    assert np.abs(one - other).max() > 10


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 pictures each"):
        IdentitiesSource(count=60, identities=40)
    with pytest.raises(ConfigError, match="size=16"):
        IdentitiesSource(size=16)
    with pytest.raises(UnknownNameError, match="train"):
        IdentitiesSource(split="val")
