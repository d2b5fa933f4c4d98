"""Images in .npz archives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslkit.data.sources.arrays import ArraysSource, available_splits
from sslkit.errors import DataError, UnknownNameError
from sslkit.testing.source_kit import check_source

RANDOM = np.random.default_rng(0)


def images(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def saved(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "set.npz", **arrays)
    return folder / "set.npz"


@pytest.mark.parametrize("shape", [(6, 9, 7), (6, 9, 7, 1), (6, 9, 7, 3), (6, 3, 9, 7), (6, 1, 9, 7)])
def test_every_layout_gives_the_same_items(tmp_path: Path, shape: tuple[int, ...]) -> None:
    given = images(*shape)
    source = ArraysSource(saved(tmp_path, images=given))
    check_source(source)
    expected = given.transpose(0, 2, 3, 1) if len(shape) == 4 and shape[1] < 4 else given.reshape(6, 9, 7, -1)
    assert all(np.array_equal(np.asarray(source[id].content), expected[id]) for id in range(6))
    assert source.native_side == 9
    assert source.labels is None


def test_labels_and_class_names_are_read(tmp_path: Path) -> None:
    path = saved(
        tmp_path, images=images(3, 4, 4), labels=np.array([[2], [0], [0]], np.uint8), classes=["a", "b", "c"]
    )
    source = ArraysSource(path)
    check_source(source)
    assert source.classes == ("a", "b", "c")
    assert source.labels is not None
    assert source.labels.tolist() == [2, 0, 0]


def test_splits_share_their_classes(tmp_path: Path) -> None:
    arrays = {
        "x_test": images(2, 4, 4),
        "y_test": [0, 5],
        "x_train": images(4, 4, 4),
        "y_train": [0, 1, 2, 1],
    }
    path = saved(tmp_path, **arrays)
    assert available_splits(path) == ("test", "train")
    train, test = ArraysSource(path), ArraysSource(path, split="test")
    check_source(train)
    check_source(test)
    assert (train.split, len(train), len(test)) == ("train", 4, 2)
    assert train.classes == test.classes == ("0", "1", "2", "3", "4", "5")
    assert train.fingerprint != test.fingerprint


def test_the_only_split_is_taken_and_labels_are_optional(tmp_path: Path) -> None:
    source = ArraysSource(saved(tmp_path, x_gallery=images(2, 4, 4)))
    assert (source.split, source.labels) == ("gallery", None)


def test_fingerprint_follows_pixels_and_labels(tmp_path: Path) -> None:
    pixels = images(3, 4, 4)
    changed = pixels.copy()
    changed[0, 0, 0] ^= 1
    given: list[dict[str, Any]] = [
        {"images": pixels, "labels": [0, 1, 0]},
        {"images": pixels, "labels": [0, 1, 0]},
        {"images": changed, "labels": [0, 1, 0]},
        {"images": pixels, "labels": [1, 1, 0]},
    ]
    prints = [ArraysSource(saved(tmp_path, **arrays)).fingerprint for arrays in given]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_pixels_are_held_once(tmp_path: Path) -> None:
    source = ArraysSource(saved(tmp_path, images=images(4, 3, 8, 8)))
    first, second = (np.asarray(source[0].content) for _ in range(2))
    assert np.shares_memory(first, second)


@pytest.mark.parametrize("groups", [[7, 3, 7], ["clip 2", "clip 1", "clip 2"], [[7], [3], [7]]])
def test_groups_are_integers_or_strings(tmp_path: Path, groups: list[Any]) -> None:
    source = ArraysSource(saved(tmp_path, images=images(3, 4, 4), groups=groups))
    check_source(source)
    assert source.groups is not None
    assert source.groups.tolist() == [1, 0, 1]


def test_every_split_has_its_own_groups(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=images(2, 4, 4), g_train=["a", "a"], x_test=images(3, 4, 4))
    train, test = ArraysSource(path), ArraysSource(path, split="test")
    assert train.groups is not None
    assert train.groups.tolist() == [0, 0]
    assert test.groups is None


def test_groups_are_part_of_the_fingerprint_only_where_given(tmp_path: Path) -> None:
    given = {"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([0, 1])}
    plain = ArraysSource(saved(tmp_path, **given)).fingerprint
    # What this archive had before groups were known: runs and indexes in use go on.
    assert plain == "ea9a018af0dd80a5e54778f154be7270"
    prints = {
        ArraysSource(saved(tmp_path, **given, groups=groups)).fingerprint for groups in ([0, 0], [0, 1])
    }
    assert len(prints | {plain}) == 3


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"pictures": images(2, 4, 4)}, "holds pictures; expected images, or x_train"),
        ({}, "holds no arrays"),
        ({"images": images(2, 4, 4).astype(np.float32)}, "float32 .*expected uint8.*convert floats"),
        ({"images": images(2, 4)}, "expected uint8"),
        ({"images": images(0, 4, 4)}, "at least one image"),
        ({"images": images(2, 3, 5, 3)}, "both the second and the last side could be channels"),
        ({"images": images(2, 8, 8, 4)}, "no side has 1 or 3 channels"),
        ({"images": images(2, 4, 4), "labels": [0, 1, 1]}, r"labels is int64 \(3,\), but there are 2 images"),
        ({"images": images(2, 4, 4), "labels": [0.0, 1.0]}, "labels are integers from 0"),
        ({"images": images(2, 4, 4), "labels": ["cat", "dog"]}, "names in an array `classes`"),
        ({"images": images(2, 4, 4), "labels": [-1, 1]}, "holds -1"),
        ({"images": images(2, 4, 4), "labels": [0, 2], "classes": ["a", "b"]}, "need 3 strings"),
        ({"images": images(2, 4, 4), "labels": [0, 1], "classes": [1, 2]}, "need 2 strings"),
        ({"images": images(2, 4, 4), "groups": [0, 1, 1]}, r"groups is int64 \(3,\).*one group for each"),
        ({"images": images(2, 4, 4), "groups": [0.0, 1.0]}, "groups are integers from 0 or strings"),
        ({"images": images(2, 4, 4), "groups": ["a", ""]}, "image 1 has no group"),
        ({"images": images(2, 4, 4), "groups": [-1, 4]}, "image 0 has no group, -1 being none"),
        ({"images": np.array([object(), object()])}, "Python objects, which are never unpickled"),
    ],
)
def test_wrong_archives_are_refused_with_what_was_found(
    tmp_path: Path, arrays: dict[str, Any], named: str
) -> None:
    with pytest.raises(DataError, match=named):
        ArraysSource(saved(tmp_path, **arrays))


def test_missing_damaged_and_other_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not found"):
        ArraysSource(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match="not a readable"):
        ArraysSource(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", images(2, 4, 4))
    with pytest.raises(DataError, match=r"single \.npy array"):
        ArraysSource(tmp_path / "one.npy")


def test_damaged_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, images=images(4, 32, 32))
    content = bytearray(path.read_bytes())
    content[2000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="images is damaged"):
        ArraysSource(path)


def test_unknown_split_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        ArraysSource(saved(tmp_path, x_train=images(2, 4, 4)), split="trian")
