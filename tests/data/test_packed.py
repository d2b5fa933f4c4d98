"""Packed names read back as they were."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from sslkit.data.packed import PackedNames

NAMES = ["a/b.jpg", "with space, comma.png", "ünïcode/图.jpg", os.fsdecode(b"latin-\xe9.jpg"), ""]


def test_names_read_back_and_survive_pickling() -> None:
    packed = PackedNames(NAMES)
    copy = pickle.loads(pickle.dumps(packed))
    assert [packed[id] for id in range(len(packed))] == NAMES
    assert [copy[id] for id in range(len(copy))] == NAMES


@pytest.mark.parametrize("id", [-1, len(NAMES)])
def test_ids_outside_are_index_errors(id: int) -> None:
    with pytest.raises(IndexError):
        PackedNames(NAMES)[id]


def test_fingerprint_sees_names_their_borders_labels_and_classes() -> None:
    labels = np.array([0, 1])
    prints = [
        PackedNames(["ab", "c"]).fingerprint(None, ()),
        PackedNames(["a", "bc"]).fingerprint(None, ()),
        PackedNames(["c", "ab"]).fingerprint(None, ()),
        PackedNames(["ab", "c"]).fingerprint(labels, ("x", "y")),
        PackedNames(["ab", "c"]).fingerprint(labels[::-1], ("x", "y")),
        PackedNames(["ab", "c"]).fingerprint(labels, ("x", "z")),
    ]
    assert len(set(prints)) == len(prints)
    assert prints[0] == PackedNames(["ab", "c"]).fingerprint(None, ())


def test_a_million_names_stay_small() -> None:
    packed = PackedNames(f"class/{number:06d}.jpg" for number in range(100_000))
    assert len(pickle.dumps(packed)) < 30 * 100_000
