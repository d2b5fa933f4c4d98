"""Packed names read back as they were."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from sslkit.data import packed as packed_file
from sslkit.data.packed import PackedNames

NAMES = ["a/b.jpg", "with space, comma.png", "ünïcode/图.jpg", os.fsdecode(b"latin-\xe9.jpg"), "", "a/", "/"]


def one_list_fingerprint(names: Sequence[str], labels: np.ndarray | None, classes: Sequence[str]) -> str:
    """The definition: whole names, where they end, labels, class names."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(name))
    end = 0
    for name in names:
        end += len(os.fsencode(name))
        digest.update(end.to_bytes(8, "little"))
    for label in () if labels is None else labels:
        digest.update(int(label).to_bytes(8, "little"))
    digest.update("\0".join(classes).encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def random_names(generator: random.Random) -> list[str]:
    def part() -> str:
        return "".join(generator.choice("ab-.\udce9図") for _ in range(generator.randrange(4)))

    names = ["/".join(part() for _ in range(generator.randint(1, 3))) for _ in range(generator.randrange(60))]
    return sorted(names) if generator.random() < 0.5 else names


def test_names_read_back_and_survive_pickling() -> None:
    packed = PackedNames(NAMES)
    copy = pickle.loads(pickle.dumps(packed))
    assert [packed[id] for id in range(len(packed))] == NAMES
    assert [copy[id] for id in range(len(copy))] == NAMES
    assert list(PackedNames([])) == []


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


def test_any_names_keep_the_fingerprint_of_one_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_file, "_BLOCK", 7)  # so that runs and names meet the borders of blocks
    generator = random.Random(0)
    for _ in range(200):
        names = random_names(generator)
        packed = PackedNames(names)
        labels = np.arange(len(names)) % 3 if generator.random() < 0.5 else None
        assert list(packed) == names
        assert packed.fingerprint(labels, "ab") == one_list_fingerprint(names, labels, "ab")
        moved, paths = packed.under("train"), [f"train/{name}" for name in names]
        assert list(moved) == paths
        assert moved.fingerprint(labels, "ab") == one_list_fingerprint(paths, labels, "ab")
        assert list(packed) == names
        assert sum(count for _, count in packed.folders()) == len(names)


def test_folders_come_with_the_names_that_follow_each_other_in_them() -> None:
    names = ["top.jpg", "a/x.jpg", "a/y.jpg", "a/b/3.jpg", "a/4.jpg"]
    folders = [("", 1), ("a/", 2), ("a/b/", 1), ("a/", 1)]
    assert list(PackedNames(names).folders()) == folders
    runs = [(b"", b"top.jpg\0"), (b"a/", b"x.jpg\0y.jpg\0"), (b"a/b/", b"3.jpg\0"), (b"a/", b"4.jpg\0")]
    assert list(PackedNames.from_runs([*runs, (b"none/", b"")])) == names


def test_a_nul_is_refused_since_it_parts_the_names() -> None:
    for name in ("a\0b", "a\0/b"):
        with pytest.raises(ValueError, match="holds a NUL"):
            PackedNames(["a", name])


TRACED = """
import pickle, tracemalloc
from sslkit.data.packed import PackedNames
names = (f"n{id // 1300:08d}/n{id // 1300:08d}_{id}.JPEG" for id in range(200_000))
tracemalloc.start()
packed = PackedNames(names)
held, peak = tracemalloc.get_traced_memory()
tracemalloc.stop()
assert packed[199_999] == "n00000153/n00000153_199999.JPEG"
print(held, peak, len(pickle.dumps(packed)))
"""


def test_names_of_a_large_set_take_few_bytes_to_hold_make_and_send() -> None:
    """In a process of its own: what threads of this one take meanwhile would be counted too."""
    count = 200_000
    done = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, check=True)
    held, peak, sent = map(int, done.stdout.split())
    assert held < 30 * count  # 21 characters below the folder, a NUL, four bytes for the end, some to grow
    assert peak < 32 * count + 2**20
    assert sent < 27 * count
