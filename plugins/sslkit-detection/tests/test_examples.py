"""The small problems are well made."""

import pytest
import torch

from sslkit_detection.examples import CLASSES, shapes


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_boxes_hug_shapes_of_their_classes_colour(seed) -> None:
    example = shapes(seed, goal=0.9, steps=1, lr=1e-3)
    assert sum(example.task.counts) == sum(len(target) for target in example.batch.targets)
    assert [len(target) for target in example.batch.targets] == [1, 2, 3, 1, 2, 3, 1, 2]
    for image, target in zip(example.batch.pixels, example.batch.targets, strict=True):
        for (left, top, right, bottom), label in zip(
            target.boxes.int().tolist(), target.labels.tolist(), strict=True
        ):
            bright = image[label].int() - image.int().roll(1, 0)[label] > 90
            inside = bright[top:bottom, left:right]
            assert inside.any(0)[[0, -1]].all(), CLASSES[label]
            assert inside.any(1)[[0, -1]].all(), CLASSES[label]


def test_an_example_is_a_function_of_its_seed() -> None:
    first, again, other = (shapes(seed, goal=0.9, steps=1, lr=1e-3).batch.pixels for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
