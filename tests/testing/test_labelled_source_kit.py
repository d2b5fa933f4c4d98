"""The kit accepts a sound labelled source and names each broken promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from sslkit.contracts import ClassLabel, FlowField, Item, Objects, SemanticMap, Target, Warp
from sslkit.data.sources.shapes import ShapesSource
from sslkit.testing.source_kit import check_labelled_source


class Sound:
    """Six images of 8x10 pixels with two objects each; the tests break one promise each."""

    classes: Sequence[str] = ("even", "odd")
    labels: np.ndarray | None = None
    fingerprint = "six"
    native_side: int | None = 10
    splits: Sequence[str] = ()
    target_kind: Any = "masks"

    def __len__(self) -> int:
        return 6

    def __getitem__(self, id: int) -> Item:
        if not 0 <= id < 6:
            raise IndexError(id)
        return Item(np.full((8, 10, 3), id, np.uint8), f"{id}")

    def target(self, id: int) -> Target:
        if not 0 <= id < 6:
            raise IndexError(id)
        boxes = torch.tensor([[0.0, 0.0, 10.0, 8.0], [1.0, 2.0, 2.0 + id, 4.0]])
        masks = torch.zeros(2, 8, 10, dtype=torch.bool)
        return Objects(boxes, torch.tensor([id % 2, 1]), masks=masks, crowd=torch.tensor([True, False]))

    def problems(self) -> Any:
        return []

    def class_counts(self) -> np.ndarray:
        return np.array([[0, 1]] * 6)


class Changed(Sound):
    change: Any = staticmethod(lambda target: target)

    def target(self, id: int) -> Target:
        return self.change(super().target(id))  # type: ignore[no-any-return]


class WithCrowds(Sound):
    def class_counts(self) -> np.ndarray:
        return np.array([[1, 1], [0, 2]] * 3)


class Semantic(Sound):
    target_kind = "semantic"

    def target(self, id: int) -> Target:
        super().target(id)
        labels = torch.zeros(8, 10, dtype=torch.uint8)
        labels[0], labels[1, :3] = 255, 1
        return SemanticMap(labels)

    def class_counts(self) -> np.ndarray:
        return np.array([[67, 3]] * 6)


class Named(Sound):
    target_kind = "label"

    def target(self, id: int) -> Target:
        super().target(id)
        return ClassLabel(1)


class Flowing(Sound):
    target_kind, classes = "flow", ()

    def target(self, id: int) -> Target:
        super().target(id)
        return FlowField(torch.zeros(2, 8, 10))

    def class_counts(self) -> np.ndarray:
        return np.zeros((6, 0), np.int64)


@dataclass(frozen=True)
class Depth:
    metres: float

    def through(self, warp: Warp) -> Depth:
        return self


class OwnKind(Sound):
    target_kind = "depth"

    def target(self, id: int) -> Target:
        super().target(id)
        return Depth(float(id))


class Restless(Sound):
    calls = 0

    def target(self, id: int) -> Target:
        self.calls += 1
        target = super().target(id)
        assert isinstance(target, Objects)
        return replace(target, boxes=target.boxes * (1 - 0.01 * self.calls))


class ByPlace(OwnKind):
    metres = 3.0

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"metres": 2.0}

    def target(self, id: int) -> Target:
        super().target(id)
        return Depth(self.metres)


class Unbounded(Sound):
    def target(self, id: int) -> Target:
        return super().target(id % 6)


class Unsound(Sound):
    def problems(self) -> Any:
        return ["3: a box without area"]


class Told(Sound):
    def problems(self) -> Any:
        return ()


class Miscounting(Sound):
    def class_counts(self) -> np.ndarray:
        return np.array([[0, 1]] * 5 + [[1, 1]])


class Short(Sound):
    def class_counts(self) -> np.ndarray:
        return np.array([[0, 1]] * 5)


class Floating(Sound):
    def class_counts(self) -> np.ndarray:
        return np.array([[0.0, 1.0]] * 6)


class Untold(Sound):
    target_kind = ""


class NotSemantic(Sound):
    target_kind = "semantic"


@pytest.mark.parametrize("sound", [Sound, WithCrowds, Semantic, Named, Flowing, OwnKind])
def test_sound_sources_pass(sound: type[Sound]) -> None:
    check_labelled_source(sound())


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (Restless, r"target\(0\) is another the second time"),
        (ByPlace, r"target\(0\) is another in a pickled copy"),
        (Unbounded, r"target\(6\) must raise IndexError: ids are 0\.\.5"),
        (Unsound, "finds problems in what should be sound: .'3: a box without area'."),
        (Told, r"problems\(\) gave a tuple, not a list"),
        (Miscounting, r"class_counts\(\)\[5\] is \[1, 1\], its target holds \[\[0, 2\], \[0, 1\]\]"),
        (Short, r"class_counts\(\) has shape \(5, 2\), not \(6, 2\)"),
        (Floating, r"class_counts\(\) is float64, not int64"),
        (Untold, "target_kind is not a non-empty string"),
        (NotSemantic, "is a Objects; of kind 'semantic' it is SemanticMap"),
    ],
)
def test_broken_promises_are_named(broken: type[Sound], named: str) -> None:
    with pytest.raises(AssertionError, match=named):
        check_labelled_source(broken())


def test_a_source_without_targets_is_named() -> None:
    with pytest.raises(AssertionError, match="lacks one of target_kind, target, problems, class_counts"):
        check_labelled_source(ShapesSource(count=4))  # type: ignore[arg-type]


Change = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: replace(t, boxes=t.boxes.long()), "boxes is torch.int64, not a float"),
        (lambda t: replace(t, boxes=t.boxes[:, :3]), r"boxes has shape \(2, 3\), not \(2, 4\)"),
        (lambda t: replace(t, boxes=t.boxes + 1), "boxes do not lie in 10x8 pixels"),
        (lambda t: replace(t, boxes=t.boxes - 1), "boxes do not lie in 10x8 pixels"),
        (lambda t: replace(t, boxes=t.boxes[:, [0, 1, 0, 1]]), "boxes do not lie"),
        (lambda t: replace(t, labels=t.labels.int()), "labels is torch.int32, not int64"),
        (lambda t: replace(t, labels=t.labels + 1), r"labels are \[.*\] of 2 classes"),
        (lambda t: replace(t, labels=t.labels[:1]), "labels is not one an object"),
        (lambda t: replace(t, masks=None), "of kind 'masks' and has none"),
        (lambda t: replace(t, masks=t.masks.byte()), "masks is torch.uint8, not bool"),
        (
            lambda t: replace(t, masks=t.masks.transpose(1, 2)),
            r"masks have shape \(10, 8\), their image \(8, 10\)",
        ),
    ],
)
def test_broken_objects_are_named(change: Change, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Changed, "change", staticmethod(change))
    with pytest.raises(AssertionError, match=named):
        check_labelled_source(Changed())


@pytest.mark.parametrize(
    ("source", "change", "named"),
    [
        (Semantic, lambda t: SemanticMap(t.labels.long()), "is torch.int64, not uint8"),
        (Semantic, lambda t: SemanticMap(t.labels.T), r"has shape \(10, 8\), its image \(8, 10\)"),
        (Semantic, lambda t: SemanticMap(t.labels + 4), r"has labels \[3, 4, 5\]; they are 0\.\.1 and 255"),
        (Named, lambda t: ClassLabel(2), "is 2 of 2 classes"),
        (Flowing, lambda t: FlowField(t.vectors[:, :4]), r"has shape \(2, 4, 10\), its image"),
    ],
)
def test_other_broken_targets_are_named(
    source: type[Sound], change: Change, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = source.target
    monkeypatch.setattr(source, "target", lambda self, id: change(whole(self, id)))
    with pytest.raises(AssertionError, match=named):
        check_labelled_source(source())
