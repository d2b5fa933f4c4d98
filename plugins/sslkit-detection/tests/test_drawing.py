"""Boxes on images."""

import numpy as np
import torch

from sslkit.contracts import Objects
from sslkit_detection.drawing import colour, draw_objects

IMAGE = np.full((60, 80, 3), 100, np.uint8)


def test_a_box_is_drawn_in_the_colour_of_its_class_on_a_copy() -> None:
    shown = Objects(torch.tensor([[10.0, 20, 50, 50]]), torch.tensor([1]))
    drawn = draw_objects(IMAGE, shown, ("cat", "dog"))
    assert drawn.shape == IMAGE.shape
    assert drawn.dtype == np.uint8
    assert tuple(drawn[50, 30]) == colour(1)
    assert (drawn[55:] == 100).all()
    assert (IMAGE == 100).all()


def test_weak_predictions_are_left_out_and_no_object_is_no_change() -> None:
    boxes, labels = torch.tensor([[10.0, 20, 50, 50]]), torch.tensor([0])
    assert (draw_objects(IMAGE, Objects(boxes, labels, torch.tensor([0.1])), ("cat",)) == IMAGE).all()
    assert (draw_objects(IMAGE, Objects(boxes, labels, torch.tensor([0.8])), ("cat",)) != IMAGE).any()
    assert (draw_objects(IMAGE, Objects.none(), ("cat",)) == IMAGE).all()


def test_boxes_at_and_beyond_the_edge_and_unknown_labels_are_drawn() -> None:
    boxes = torch.tensor([[-5.0, -5, 80, 60], [79, 59, 90, 70]])
    drawn = draw_objects(
        IMAGE, Objects(boxes, torch.tensor([0, 7]), crowd=torch.tensor([True, False])), ("cat",)
    )
    assert drawn.shape == IMAGE.shape


def test_classes_have_colours_of_their_own() -> None:
    colours = np.array([colour(label) for label in range(20)], int)
    apart = np.abs(colours[:, None] - colours[None]).sum(-1)
    assert apart[~np.eye(20, dtype=bool)].min() > 15
