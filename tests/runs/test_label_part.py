"""What part of the training samples a head is trained on, and that each seed has its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sslkit.config.head_training import HeadTraining, LabelDraw
from sslkit.contracts import ClassSet, Item
from sslkit.data.label_targets import LabelTargets
from sslkit.errors import ConfigError, DataError
from sslkit.registry import open_source
from sslkit.registry.protocols import load_protocol
from sslkit.runs.label_part import drawn_part


class ManyLabels:
    """Forty pictures of any of three classes."""

    classes, labels, fingerprint, native_side, splits = ("a", "b", "c"), None, "many", None, ()
    target_kind = "labels"

    def __len__(self) -> int:
        return 40

    def __getitem__(self, id: int) -> Item:
        return Item(np.full((8, 8, 3), id, np.uint8), f"{id}")

    def target(self, id: int) -> ClassSet:
        return ClassSet(torch.tensor([bool(id & 1), bool(id & 2), bool(id & 4)]))

    def problems(self) -> list[str]:
        return []

    def class_counts(self) -> np.ndarray:
        return np.array([[id & 1, id >> 1 & 1, id >> 2 & 1] for id in range(40)])


def plan(**draw: Any) -> HeadTraining:
    training = dict(load_protocol("classifier-frozen").training or {})
    read = HeadTraining.model_validate(training)
    return read.model_copy(update={"labels": LabelDraw(**draw) if draw else None})


@pytest.fixture(scope="module")
def shapes() -> LabelTargets:
    return LabelTargets(open_source("shapes:count=240,size=16"))


def counts(part: Any) -> list[int]:
    return part.class_counts().sum(axis=0).tolist()


def test_without_a_draw_the_source_itself_is_used(shapes: LabelTargets) -> None:
    assert drawn_part(shapes, plan(), 0) is shapes


def test_so_many_of_each_class_with_their_targets_and_pixels(shapes: LabelTargets) -> None:
    part = drawn_part(shapes, plan(per_class=3), 0)
    assert counts(part) == [3] * len(shapes.classes)
    assert part.target_kind == "label"
    names = {shapes[id].name: shapes.target(id).label for id in range(len(shapes))}
    assert all(names[part[id].name] == part.target(id).label for id in range(len(part)))


def test_a_share_is_of_each_class_and_a_long_tail_falls(shapes: LabelTargets) -> None:
    whole = counts(shapes)
    tenth = counts(drawn_part(shapes, plan(share=0.1), 0))
    assert all(abs(some - all_ / 10) < 1 for some, all_ in zip(tenth, whole, strict=True))
    tail = counts(drawn_part(shapes, plan(imbalance=10), 0))
    assert tail == sorted(tail, reverse=True)
    assert tail[0] == whole[0]
    assert tail[-1] == max(1, whole[0] // 10)


def test_a_part_is_that_of_its_seed_and_grows_within_it(shapes: LabelTargets) -> None:
    def names(seed: int, count: int) -> set[str]:
        part = drawn_part(shapes, plan(per_class=count), seed)
        return {part[id].name for id in range(len(part))}

    assert names(1, 3) == names(1, 3)
    assert names(1, 3) != names(2, 3)
    assert names(1, 3) < names(1, 5)
    first, second = (drawn_part(shapes, plan(per_class=3), seed).fingerprint for seed in (1, 2))
    assert len({first, second, shapes.fingerprint}) == 3


def test_of_targets_without_one_class_a_plain_share_is_drawn() -> None:
    part = drawn_part(ManyLabels(), plan(share=0.25), 3)
    assert len(part) == 10
    assert part.target_kind == "labels"
    assert isinstance(part.target(0), ClassSet)
    ids = [int(part[id].name) for id in range(10)]
    assert ids == sorted({*ids})
    assert ids != [int(drawn_part(ManyLabels(), plan(share=0.25), 4)[id].name) for id in range(10)]


@pytest.mark.parametrize("draw", [{"per_class": 3}, {"imbalance": 10.0}])
def test_of_targets_without_one_class_nothing_is_drawn_class_by_class(draw: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"{next(iter(draw))} draws class by class.*'labels'.*share: 0.1"):
        drawn_part(ManyLabels(), plan(**draw), 0)


def test_classes_with_too_few_samples_are_named(shapes: LabelTargets) -> None:
    with pytest.raises(DataError, match="1000 samples of each class are needed, but"):
        drawn_part(shapes, plan(per_class=1000), 0)
