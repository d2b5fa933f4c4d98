"""The flat index against plain numpy, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours.flat import FlatIndex


def vectors(count: int, dim: int = 8, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def cosines(queries: NDArray[np.float32], bank: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = queries.astype(np.float64), bank.astype(np.float64)
    return (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))


@pytest.mark.parametrize("k", [1, 7, 50])
def test_search_finds_the_rows_of_largest_cosine(k: int) -> None:
    bank, queries = vectors(50), vectors(9, seed=1) * 100
    rows, similarities = FlatIndex.build(bank).search(queries, k)
    expected = cosines(queries, bank)
    np.testing.assert_array_equal(rows, np.argsort(-expected, axis=1)[:, :k])
    np.testing.assert_allclose(similarities, np.take_along_axis(expected, rows, axis=1), atol=1e-6)
    assert (str(rows.dtype), str(similarities.dtype)) == ("int64", "float32")


def test_equal_similarities_come_in_row_order_and_never_exceed_one() -> None:
    row = vectors(1, dim=129)
    rows, similarities = FlatIndex.build(np.repeat(row, 20, axis=0)).search(row, 20)
    assert rows[0].tolist() == list(range(20))
    assert similarities.max() <= 1.0


def test_building_leaves_the_given_vectors_as_they_were() -> None:
    bank = vectors(5)
    before = bank.copy()
    FlatIndex.build(bank)
    np.testing.assert_array_equal(bank, before)


def test_huge_and_tiny_vectors_keep_their_direction() -> None:
    bank = vectors(6)
    scales = np.array([1e30, 1e-30, 1, 1e25, 1e-25, 1], np.float32)[:, None]
    rows, similarities = FlatIndex.build(bank * scales).search(bank, 1)
    assert rows[:, 0].tolist() == list(range(6))
    np.testing.assert_allclose(similarities, 1, atol=1e-5)


def test_added_rows_follow_the_first_ones() -> None:
    bank = vectors(30)
    index = FlatIndex.build(bank[:10])
    index.add(bank[10:])
    assert len(index) == 30
    assert index.search(bank, 1)[0][:, 0].tolist() == list(range(30))


@pytest.mark.parametrize("mapped", [False, True])
def test_a_saved_index_searches_the_same(tmp_path: Path, mapped: bool) -> None:
    index = FlatIndex.build(vectors(40))
    index.save(tmp_path / "a.faiss")
    opened = FlatIndex.open(tmp_path / "a.faiss", mapped=mapped)
    assert (len(opened), opened.dim) == (40, 8)
    rows, similarities = opened.search(vectors(5), 3)
    np.testing.assert_array_equal(rows, index.search(vectors(5), 3)[0])
    np.testing.assert_allclose(similarities, index.search(vectors(5), 3)[1], rtol=1e-6)


def test_a_mapped_index_refuses_to_grow_and_an_owned_one_grows(tmp_path: Path) -> None:
    FlatIndex.build(vectors(4)).save(tmp_path / "a.faiss")
    with pytest.raises(ConfigError, match="mapped=False"):
        FlatIndex.open(tmp_path / "a.faiss", mapped=True).add(vectors(1))
    index = FlatIndex.open(tmp_path / "a.faiss")
    index.add(vectors(2))
    assert len(index) == 6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_named(bad: float) -> None:
    bank = vectors(6)
    bank[[2, 4], 3] = bad
    with pytest.raises(ArtifactError, match="rows 2, 4"):
        FlatIndex.build(bank)
    index = FlatIndex.build(vectors(10))
    with pytest.raises(ArtifactError, match="rows 12, 14"):
        index.add(bank)
    assert len(index) == 10
    with pytest.raises(ArtifactError, match="2 of 6 queries"):
        index.search(bank, 1)


def test_a_vector_without_direction_is_named() -> None:
    bank = vectors(3)
    bank[1] = 0
    with pytest.raises(ArtifactError, match=r"zero.*rows 1"):
        FlatIndex.build(bank)


@pytest.mark.parametrize("k", [0, -1, 6])
def test_k_outside_the_index_is_refused_with_both_numbers(k: int) -> None:
    with pytest.raises(ConfigError, match=rf"k={k} .*index of 5"):
        FlatIndex.build(vectors(5)).search(vectors(1), k)


def test_wrong_type_shape_and_width_are_refused() -> None:
    index = FlatIndex.build(vectors(5))
    with pytest.raises(ConfigError, match="float64"):
        index.search(vectors(2).astype(np.float64), 1)
    with pytest.raises(ConfigError, match=r"\(8,\)"):
        index.search(vectors(2)[0], 1)
    with pytest.raises(ConfigError, match="9 dimensions; this index holds 8"):
        index.search(vectors(2, dim=9), 1)
    with pytest.raises(ConfigError, match="empty"):
        FlatIndex.build(vectors(0))


def test_damaged_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.faiss"
    with pytest.raises(ArtifactError, match="no index file"):
        FlatIndex.open(path)
    FlatIndex.build(vectors(40)).save(path)
    whole = path.read_bytes()
    for cut in (b"", whole[:20], whole[:-1], b"no index" * 50):
        path.write_bytes(cut)
        for mapped in (False, True):
            with pytest.raises(ArtifactError, match="build the index again"):
                FlatIndex.open(path, mapped=mapped)
    faiss.write_index(faiss.IndexFlatL2(8), str(path))
    with pytest.raises(ArtifactError, match="IndexFlatL2"):
        FlatIndex.open(path)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        FlatIndex.build(vectors(4)).save(tmp_path / "file" / "a.faiss")


@pytest.mark.parametrize("order", ["torch, sslkit.neighbours.flat", "sslkit.neighbours.flat, torch"])
def test_searching_leaves_torchs_threads_alone(order: str) -> None:
    script = (
        f"import {order}; import numpy as np, sslkit.neighbours.flat as f; torch.set_num_threads(3); "
        "i = f.FlatIndex.build(np.eye(4, dtype='float32')); i.search(np.eye(4, dtype='float32'), 2); "
        "assert float((torch.ones(64, 64) @ torch.ones(64, 64)).sum()) == 64**3; "
        "print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"
