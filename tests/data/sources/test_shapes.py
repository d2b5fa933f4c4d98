"""The drawn set: the outline tells the class, the colours do not."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit.data.sources.shapes import ShapesSource
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.testing.source_kit import check_source


def pixels(source: ShapesSource) -> np.ndarray:
    return source.read_many(np.arange(len(source)))


def neighbour_accuracy(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray) -> float:
    """Share right of 5 nearest neighbours on features (N, D)."""
    train, test = train.astype(np.float32), test.astype(np.float32)
    nearest = np.argsort((train**2).sum(1) - 2 * test @ train.T, axis=1)[:, :5]
    votes = [np.bincount(row, minlength=10).argmax() for row in labels[nearest]]
    return float(np.mean(np.array(votes) == truth))


def test_keeps_the_source_contract() -> None:
    check_source(ShapesSource(count=50, size=16))


def test_an_image_depends_on_seed_split_and_id_alone() -> None:
    few, many = ShapesSource(count=20), ShapesSource(count=600)
    assert np.array_equal(pixels(few), pixels(many)[:20])
    for other in (ShapesSource(count=20, seed=1), ShapesSource(count=20, split="test")):
        assert np.abs(pixels(few).astype(int) - pixels(other)).mean() > 20
        assert other.fingerprint != few.fingerprint


def test_classes_are_balanced() -> None:
    source = ShapesSource(count=1000)
    assert len(source.classes) == 10
    assert source.labels is not None
    assert np.bincount(source.labels).tolist() == [100] * 10


def test_colours_do_not_tell_the_class_but_pixels_do_a_little() -> None:
    train, test = ShapesSource(count=3000), ShapesSource(count=1000, split="test")
    assert train.labels is not None
    assert test.labels is not None

    def accuracy(feature: object) -> float:
        return neighbour_accuracy(feature(pixels(train)), train.labels, feature(pixels(test)), test.labels)  # type: ignore[operator, arg-type]

    def mean_and_spread(images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), -1, 3)
        return np.concatenate([flat.mean(1), flat.std(1)], 1)

    def histogram(images: np.ndarray) -> np.ndarray:
        bins = (images.reshape(len(images), -1, 3) // 64) @ np.array([16, 4, 1])
        return np.stack([np.bincount(row, minlength=64) for row in bins])

    assert accuracy(mean_and_spread) < 0.14
    assert accuracy(histogram) < 0.14
    assert 0.17 < accuracy(lambda images: images.reshape(len(images), -1)) < 0.35


def test_outlines_are_alike_within_and_unlike_between_classes() -> None:
    """Seen without colour, size, place and rotation, the classes are almost all told apart."""

    def radial(source: ShapesSource) -> np.ndarray:
        images = pixels(source).astype(float)
        border = np.median(images[:, [0, -1]].reshape(len(images), -1, 3), axis=1)
        inside = np.linalg.norm(images - border[:, None, None], axis=-1)
        inside = inside > inside.max((1, 2), keepdims=True) / 2
        y, x = np.mgrid[0 : source.size, 0 : source.size]
        weight = inside / inside.sum((1, 2), keepdims=True)
        away = np.hypot(
            y - (weight * y).sum((1, 2))[:, None, None], x - (weight * x).sum((1, 2))[:, None, None]
        )
        away = away / np.sqrt(inside.sum((1, 2)))[:, None, None]
        return np.stack(
            [np.histogram(r[i], 24, (0, 1.2), density=True)[0] for r, i in zip(away, inside, strict=True)]
        )

    train, test = ShapesSource(count=500, size=48), ShapesSource(count=200, size=48, split="test")
    assert train.labels is not None
    assert test.labels is not None
    assert neighbour_accuracy(radial(train), train.labels, radial(test), test.labels) > 0.85


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ConfigError, match="count=0"):
        ShapesSource(count=0)
    with pytest.raises(UnknownNameError, match="train"):
        ShapesSource(split="val")
