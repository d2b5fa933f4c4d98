"""Objects into a detector and out of it."""

import torch

from sslkit.contracts import Meta, Objects
from sslkit_detection.objects import found, learnable


def test_crowds_and_boxes_without_area_are_not_learnt() -> None:
    boxes = torch.tensor([[0.0, 0, 5, 5], [1, 1, 9, 9], [3, 3, 3, 8]])
    objects, crowd = learnable(
        Objects(boxes, torch.tensor([0, 1, 1]), crowd=torch.tensor([False, True, False]))
    )
    assert objects.boxes.tolist() == [[0, 0, 5, 5]]
    assert crowd.tolist() == [[1, 1, 9, 9]]
    objects, crowd = learnable(Objects(boxes, torch.tensor([0, 1, 1])))
    assert (len(objects), len(crowd)) == (2, 0)


def test_detections_come_back_in_pixels_of_the_original_best_first() -> None:
    meta = Meta(0, "", original=(200, 100), valid=(100, 50), canvas=(128, 128))
    detection = {
        "boxes": torch.tensor([[0.0, 0, 10, 10], [40, 90, 50, 100], [7, 7, 7, 9]]),
        "scores": torch.tensor([0.3, 0.9, 0.5], requires_grad=True),
        "labels": torch.tensor([1, 0, 1]),
    }
    (objects,) = found([detection], [meta])
    assert objects.boxes.tolist() == [[80, 180, 100, 200], [0, 0, 20, 20]]
    assert objects.labels.tolist() == [0, 1]
    assert not objects.scores.requires_grad
