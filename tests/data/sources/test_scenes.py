"""Drawn scenes: what is told of a pixel is what it shows, and only outlines tell the class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.contracts import Objects, SemanticMap
from sslkit.data.scenes import CLASSES
from sslkit.data.sources.scenes import BACKGROUND, ScenesSource
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.registry import open_source
from sslkit.testing.source_kit import check_labelled_source


def objects(source: ScenesSource, id: int) -> Objects:
    target = source.target(id)
    assert isinstance(target, Objects)
    return target


def semantic(source: ScenesSource, id: int) -> np.ndarray:
    target = source.target(id)
    assert isinstance(target, SemanticMap)
    return target.labels.numpy()


@pytest.mark.parametrize("targets", ["masks", "semantic"])
def test_keeps_the_source_contract(targets: str) -> None:
    source = open_source(f"scenes:count=40,size=32,targets={targets}")
    check_labelled_source(source)  # type: ignore[arg-type]


def test_an_image_depends_on_seed_split_and_id_alone() -> None:
    few, many = ScenesSource(count=5, size=32), ScenesSource(count=150, size=32)
    assert np.array_equal(few.read_many(np.arange(5)), many.read_many(np.arange(5)))
    for id in range(5):
        assert torch.equal(objects(few, id).boxes, objects(many, id).boxes)
    for other in (ScenesSource(count=5, size=32, seed=1), ScenesSource(count=5, size=32, split="test")):
        assert other.fingerprint != few.fingerprint
        apart = few.read_many(np.arange(5)).astype(int) - other.read_many(np.arange(5))
        assert np.abs(apart).mean() > 20


def test_the_two_kinds_of_targets_tell_the_same_of_the_same_pictures() -> None:
    masks, maps = ScenesSource(count=30, size=48), ScenesSource(count=30, size=48, targets="semantic")
    assert maps.classes == (BACKGROUND, *masks.classes)
    assert maps.fingerprint != masks.fingerprint
    assert np.array_equal(masks[3].content, maps[3].content)
    for id in range(30):
        told, drawn = objects(masks, id), semantic(maps, id)
        assert told.masks is not None
        expected = np.zeros((48, 48), np.uint8)
        for label, mask in zip(told.labels.tolist(), told.masks.numpy(), strict=True):
            assert not (expected[mask] != 0).any()  # no pixel shows two objects
            expected[mask] = label + 1
        assert np.array_equal(drawn, expected)


def test_boxes_are_tight_around_what_is_visible() -> None:
    source = ScenesSource(count=60, size=48, seed=2)
    for id in range(60):
        told = objects(source, id)
        assert told.masks is not None
        for box, mask in zip(told.boxes.int().tolist(), told.masks.numpy(), strict=True):
            left, top, right, bottom = box
            rows, columns = np.nonzero(mask)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (
                left,
                top,
                right,
                bottom,
            )


def test_pictures_hold_one_to_four_objects_of_all_classes_that_hide_each_other() -> None:
    source = ScenesSource(count=400, size=32)
    counts = source.class_counts()
    numbers = np.bincount(counts.sum(1), minlength=5)
    assert len(numbers) == 5
    assert numbers[0] == 0
    assert (numbers[1:] > 40).all()
    total = counts.sum(0)
    assert total.shape == (len(CLASSES),)
    assert total.min() > 0.8 * total.mean()
    assert "_images" not in vars(source)  # counting paints nothing
    hidden = 0
    for id in range(100):
        boxes = objects(source, id).boxes
        for one in range(len(boxes)):
            for other in range(one):
                meet = torch.minimum(boxes[one, 2:], boxes[other, 2:]) - torch.maximum(
                    boxes[one, :2], boxes[other, :2]
                )
                hidden += bool((meet > 2).all())
    assert hidden > 20


def test_an_object_is_what_differs_from_the_background() -> None:
    """Each mask is told apart by its colour: its pixels are nearer to their mean than to the background's."""
    source = ScenesSource(count=60, size=64, seed=4)
    right, aliens, all_of_them = 0, 0, 0
    for id in range(60):
        told, pixels = objects(source, id), np.asarray(source[id].content).astype(float)
        assert told.masks is not None
        masks = told.masks.numpy()
        background = pixels[~masks.any(0)].mean(0)
        for mask in masks:
            own = pixels[mask].mean(0)
            # Another object's colour in a mask would tell that they were painted in another order.
            alien = np.abs(pixels[mask] - np.median(pixels[mask], axis=0)).max(1) > 90
            aliens += int(alien.sum())
            near = ((pixels[mask] - own) ** 2).sum(1) < ((pixels[mask] - background) ** 2).sum(1)
            right, all_of_them = right + int(near.sum()), all_of_them + len(near)
    assert right / all_of_them > 0.95
    assert aliens / all_of_them < 0.01


def test_colours_do_not_tell_the_class() -> None:
    source = ScenesSource(count=400, size=24)
    colours, labels = [], []
    for id in range(400):
        told, pixels = objects(source, id), np.asarray(source[id].content).astype(float)
        assert told.masks is not None
        for label, mask in zip(told.labels.tolist(), told.masks.numpy(), strict=True):
            colours.append(pixels[mask].mean(0))
            labels.append(label)
    seen, of = np.array(colours), np.array(labels)
    train, test = slice(0, 600), slice(600, None)
    away = ((seen[test, None] - seen[None, train]) ** 2).sum(-1)
    votes = [np.bincount(row, minlength=5).argmax() for row in of[train][np.argsort(away, axis=1)[:, :5]]]
    accuracy = (np.array(votes) == of[test]).mean()
    assert abs(accuracy - 0.2) < 3.5 * np.sqrt(0.2 * 0.8 / len(votes))


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ConfigError, match="size=8"):
        ScenesSource(size=8)
    with pytest.raises(ConfigError, match="masks or semantic"):
        ScenesSource(targets="boxes")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="train"):
        ScenesSource(split="val")
