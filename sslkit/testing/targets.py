"""What the contract says of a target, checked on a real one."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

from sslkit.contracts import IGNORE, ClassLabel, ClassSet, FlowField, Objects, SemanticMap, Target
from sslkit.data.warp import fit

_TARGETS: dict[str, type] = {
    "label": ClassLabel,
    "labels": ClassSet,
    "boxes": Objects,
    "masks": Objects,
    "semantic": SemanticMap,
    "flow": FlowField,
}


def check_target(target: Target, kind: str, size: tuple[int, int], classes: int, which: str) -> None:
    """Raise AssertionError unless a target is what its kind says, for an image of (height, width) pixels.

    classes: how many there are. which: what messages call the target.
    """
    wanted = _TARGETS.get(kind)
    if wanted is not None:
        shown = type(target).__name__
        _require(
            isinstance(target, wanted), f"{which} is a {shown}; of kind '{kind}' it is {wanted.__name__}"
        )
    if isinstance(target, Objects):
        _check_objects(target, kind, size, classes, which)
    elif isinstance(target, SemanticMap):
        labels = target.labels
        _require(labels.dtype == torch.uint8, f"{which} is {labels.dtype}, not uint8")
        _require(labels.shape == size, f"{which} has shape {tuple(labels.shape)}, its image {size}")
        wrong = sorted(set(labels[(labels >= classes) & (labels != IGNORE)].tolist()))
        _require(not wrong, f"{which} has labels {wrong}; they are 0..{classes - 1} and {IGNORE}")
    elif isinstance(target, ClassLabel):
        _require(0 <= target.label < classes, f"{which} is {target.label} of {classes} classes")
    elif isinstance(target, ClassSet):
        sound = target.present.dtype == torch.bool and target.present.shape == (classes,)
        _require(sound, f"{which}.present is no bool ({classes},)")
    elif isinstance(target, FlowField):
        shape = tuple(target.vectors.shape)
        _require(shape == (2, *size), f"{which} has shape {shape}, its image {size}")
    moved = target.through(fit(size, (max(1, size[0] // 2), size[1])))
    _require(type(moved) is type(target), f"{which}.through gave a {type(moved).__name__}")


def _check_objects(target: Objects, kind: str, size: tuple[int, int], classes: int, which: str) -> None:
    count, boxes = len(target), target.boxes
    _require(boxes.dtype.is_floating_point, f"{which}.boxes is {boxes.dtype}, not a float")
    _require(boxes.shape == (count, 4), f"{which}.boxes has shape {tuple(boxes.shape)}, not ({count}, 4)")
    _require(target.labels.dtype == torch.int64, f"{which}.labels is {target.labels.dtype}, not int64")
    columns = {"labels": target.labels, "crowd": target.crowd, "areas": target.areas, "masks": target.masks}
    for column, values in columns.items():
        _require(values is None or len(values) == count, f"{which}.{column} is not one an object")
    inside = bool(((target.labels >= 0) & (target.labels < classes)).all())
    _require(inside, f"{which}.labels are {target.labels.tolist()} of {classes} classes")
    limits = torch.tensor([size[1], size[0]])
    whole = (
        (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= limits).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    )
    _require(
        bool(whole), f"{which}.boxes do not lie in {size[1]}x{size[0]} pixels, as xyxy: {boxes.tolist()}"
    )
    _require(kind != "masks" or target.masks is not None, f"{which} is of kind 'masks' and has none")
    if target.masks is not None:
        shape = tuple(target.masks.shape[1:])
        _require(target.masks.dtype == torch.bool, f"{which}.masks is {target.masks.dtype}, not bool")
        _require(shape == size, f"{which}.masks have shape {shape}, their image {size}")


def counted(target: Target, classes: int) -> list[list[int]] | None:
    """What `class_counts` may say of a target: crowds may count or not; None where it is not known."""
    if isinstance(target, Objects):
        single = target.labels if target.crowd is None else target.labels[~target.crowd]
        return [torch.bincount(labels, minlength=classes).tolist() for labels in (target.labels, single)]
    if isinstance(target, ClassSet):
        return [target.present.int().tolist()]
    if isinstance(target, SemanticMap):
        known = target.labels[target.labels != IGNORE].long()
        return [torch.bincount(known, minlength=classes).tolist()]
    if isinstance(target, ClassLabel):
        return [[int(label == target.label) for label in range(classes)]]
    return None


def equal(one: Any, other: Any) -> bool:
    """Whether two targets hold the same, whatever they are made of."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other)
    if is_dataclass(one):
        held = [field.name for field in fields(one)]
        return type(one) is type(other) and all(equal(getattr(one, n), getattr(other, n)) for n in held)
    return bool(one == other)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
