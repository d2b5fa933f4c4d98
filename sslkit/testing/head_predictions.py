"""What a prediction must be: of its type and shape, inside its original, of labels that exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from sslkit.contracts import ClassLabel, FlowField, Meta, Objects, SemanticMap

_CLEAR = (
    0.5  # objects whose score is this share of the best are compared; those at the threshold may come and go
)


def tensors_of(prediction: Any) -> Mapping[str, Tensor]:
    """Its tensors by name."""
    if is_dataclass(prediction) and not isinstance(prediction, type):
        columns = {field.name: getattr(prediction, field.name) for field in fields(prediction)}
    else:
        columns = dict(getattr(prediction, "__dict__", {}))
    return {name: value for name, value in columns.items() if isinstance(value, Tensor)}


def check_forms(predictions: Sequence[Any], metas: Sequence[Meta], expected: type) -> None:
    """Each is of the target's type, on the CPU, without gradient, with shapes and types of the contract."""
    for place, (prediction, meta) in enumerate(zip(predictions, metas, strict=True)):
        who = f"prediction {place}"
        assert isinstance(prediction, expected), (
            f"{who} is a {type(prediction).__name__}, expected {expected.__name__}"
        )
        for name, values in tensors_of(prediction).items():
            assert values.device.type == "cpu", f"{who}.{name} lies on {values.device}, not on the CPU"
            assert not values.requires_grad, f"{who}.{name} carries a gradient"
        if isinstance(prediction, ClassLabel):
            label = prediction.label
            assert isinstance(label, int), f"{who}.label is a {type(label).__name__}, not an int"
        if isinstance(prediction, Objects):
            _check_objects(who, prediction, meta)
        if isinstance(prediction, SemanticMap):
            _check_tensor(f"{who}.labels", prediction.labels, torch.uint8, meta.original)
        if isinstance(prediction, FlowField):
            _check_tensor(f"{who}.vectors", prediction.vectors, None, (2, *meta.original))


def check_inside(predictions: Sequence[Any], metas: Sequence[Meta]) -> None:
    """Boxes lie inside the original; maps have exactly its shape."""
    for place, (prediction, meta) in enumerate(zip(predictions, metas, strict=True)):
        if isinstance(prediction, Objects) and len(prediction):
            limit = torch.tensor([meta.original[1], meta.original[0]] * 2)
            outside = (prediction.boxes < 0).any() or (prediction.boxes > limit + 1e-3).any()
            worst = prediction.boxes[(prediction.boxes - limit).max(dim=1).values.argmax()].tolist()
            assert not bool(outside), (
                f"prediction {place} has box {worst}, outside its original of {meta.original} (height, width)"
            )


def check_labels(predictions: Sequence[Any], classes: int) -> None:
    """No label but 0..K-1."""
    for place, prediction in enumerate(predictions):
        if isinstance(prediction, ClassLabel):
            labels = torch.tensor([prediction.label])
        elif isinstance(prediction, Objects | SemanticMap):
            labels = prediction.labels.flatten()
        else:
            continue
        strange = sorted(set(labels[(labels < 0) | (labels >= classes)].tolist()))
        assert not strange, (
            f"prediction {place} has labels {strange[:5]}; with {classes} classes they are 0..{classes - 1} "
            "(background is private to the head)"
        )


def identical(one: Any, other: Any) -> bool:
    """Whether two predictions are the same to the bit."""
    if type(one) is not type(other):
        return False
    first, second = tensors_of(one), tensors_of(other)
    if first.keys() != second.keys():
        return False
    same = all(torch.equal(first[name], second[name]) for name in first)
    return same and (not isinstance(one, ClassLabel) or one.label == other.label)


def difference(one: Any, other: Any, scale: tuple[float, float] = (1.0, 1.0)) -> str:
    """How `other` differs from `one` scaled by (down, right), beyond rounding; "" where it does not.

    Of objects the clear ones are compared, of maps the share of pixels; of other types the numbers.
    """
    if isinstance(one, ClassLabel):
        if one.label != other.label:
            return f"label {other.label} in place of {one.label}"
        if one.scores is None or other.scores is None:
            return "" if one.scores is other.scores else "scores in one of the two only"
        error = float((one.scores - other.scores).abs().max())
        return "" if error <= 1e-3 else f"scores that differ by {error:.2g}"
    if isinstance(one, Objects):
        return _lacking(one, other, scale) or _lacking(other, one, (1 / scale[0], 1 / scale[1]))
    if isinstance(one, SemanticMap):
        expected = _sampled(one.labels[None], other.labels.shape)[0]
        share = float((expected != other.labels).float().mean())
        limit = 0.005 if scale == (1.0, 1.0) else 0.15  # a finer map has its borders elsewhere
        return "" if share <= limit else f"{share:.0%} of the pixels have another class"
    if isinstance(one, FlowField):
        factors = one.vectors.new_tensor([scale[1], scale[0]]).view(2, 1, 1)
        expected = _sampled(one.vectors, other.vectors.shape[1:]) * factors
        error = float((expected - other.vectors).abs().mean())
        size = float(expected.abs().mean())
        limit = (1e-3 if scale == (1.0, 1.0) else 0.1) * size + 1e-3
        return "" if error <= limit else f"vectors differ by {error:.3g} pixels of {size:.3g} on average"
    first, second = tensors_of(one), tensors_of(other)
    for name in first:
        if name not in second or first[name].shape != second[name].shape:
            return f"{name} has another shape"
        if not torch.allclose(first[name].double(), second[name].double(), rtol=1e-3, atol=1e-3):
            return f"{name} has other values"
    return ""


def _lacking(one: Objects, other: Objects, scale: tuple[float, float]) -> str:
    """The first clear object of `one`, scaled, that `other` has not; ""."""
    boxes = one.boxes * one.boxes.new_tensor([*scale[::-1]] * 2)
    scores = torch.ones(len(one)) if one.scores is None else one.scores
    others = torch.ones(len(other)) if other.scores is None else other.scores
    best = float(scores.max()) if len(one) else 0.0
    for box, label, score in zip(boxes, one.labels, scores, strict=True):
        if float(score) < _CLEAR * best:
            continue
        extent = float((box[2:] - box[:2]).max())
        near = (other.boxes - box).abs().amax(dim=1) <= 0.02 * extent + 0.05
        if not bool((near & (other.labels == label) & ((others - score).abs() <= 1e-2)).any()):
            where = [round(float(edge), 2) for edge in box]
            return f"no object of class {int(label)} and score {float(score):.3f} at {where}"
    return ""


def _check_objects(who: str, found: Objects, meta: Meta) -> None:
    count = len(found)
    _check_tensor(f"{who}.boxes", found.boxes, None, (count, 4))
    _check_tensor(f"{who}.labels", found.labels, torch.int64, (count,))
    assert found.scores is not None, f"{who} has no scores; a prediction needs them"
    _check_tensor(f"{who}.scores", found.scores, None, (count,))
    falls = bool((found.scores[1:] <= found.scores[:-1]).all())
    assert falls, f"{who}.scores do not go from high to low: {found.scores[:5].tolist()}"
    turned = (found.boxes[:, 2:] < found.boxes[:, :2]).any(dim=1)
    assert not bool(turned.any()), f"{who} has box {found.boxes[turned][0].tolist()}; xyxy has left <= right"
    if found.masks is not None:
        _check_tensor(f"{who}.masks", found.masks, torch.bool, (count, *meta.original))


def _check_tensor(who: str, values: Tensor, dtype: torch.dtype | None, shape: tuple[int, ...]) -> None:
    assert isinstance(values, Tensor), f"{who} is a {type(values).__name__}, not a tensor"
    assert tuple(values.shape) == shape, f"{who} has shape {tuple(values.shape)}, expected {shape}"
    fits = values.is_floating_point() if dtype is None else values.dtype == dtype
    assert fits, f"{who} is {values.dtype}, expected {dtype or 'floating point'}"
    if dtype is None:
        assert bool(values.isfinite().all()), f"{who} is not finite"


def _sampled(values: Tensor, size: Sequence[int]) -> Tensor:
    """(C, h, w) at the pixel centres of another size, nearest."""
    rows, columns = (
        ((torch.arange(side) + 0.5) * whole / side).long()
        for side, whole in zip(size, values.shape[1:], strict=True)
    )
    return values[:, rows[:, None], columns]
