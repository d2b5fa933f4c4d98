"""The flat index against plain numpy, and what it refuses."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours import flat
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


def test_written_block_by_block_it_is_the_file_that_faiss_writes(tmp_path: Path) -> None:
    bank = vectors(50) * 9
    blocks = (bank[start : start + 20] for start in (0, 20, 40))
    assert FlatIndex.write(tmp_path / "a", (b for part in blocks for b in (part, part[:0])), 8) == 50
    FlatIndex.build(bank).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert faiss.read_index(str(tmp_path / "a")).ntotal == 50
    unit = FlatIndex.open(tmp_path / "a", mapped=True)
    FlatIndex.write(tmp_path / "c", unit.blocks(rows=7), 8, unit=True)
    assert (tmp_path / "c").read_bytes() == (tmp_path / "a").read_bytes()
    assert FlatIndex.write(tmp_path / "none", iter(()), 8) == 0
    assert len(FlatIndex.open(tmp_path / "none", mapped=True)) == 0
    assert FlatIndex.open(tmp_path / "none", mapped=True).view().shape == (0, 8)


def test_a_file_that_cannot_be_finished_is_not_left(tmp_path: Path) -> None:
    bad = vectors(12)
    bad[7, 2] = np.nan
    with pytest.raises(ArtifactError, match="1 of 12 vectors are not finite at rows 47"):
        FlatIndex.write(tmp_path / "a", iter([vectors(40), bad]), 8)
    with pytest.raises(ArtifactError, match="2 of 2 vectors are not of unit length at rows 40, 41"):
        FlatIndex.write(tmp_path / "a", iter([FlatIndex.build(vectors(40)).view(), vectors(2)]), 8, unit=True)
    with pytest.raises(ConfigError, match="9 dimensions; this index holds 8"):
        FlatIndex.write(tmp_path / "a", iter([vectors(4, dim=9)]), 8)
    with pytest.raises(ArtifactError, match="cannot be written"):
        FlatIndex.write(tmp_path / "gone" / "a", iter([vectors(4)]), 8)
    if Path("/dev/full").exists():
        (tmp_path / "full").symlink_to("/dev/full")
        with pytest.raises(ArtifactError, match="No space left"):
            FlatIndex.write(tmp_path / "full", iter([vectors(40)]), 8)
    assert list(tmp_path.iterdir()) == []


def test_what_is_being_written_does_not_open(tmp_path: Path) -> None:
    def blocks() -> Iterator[NDArray[np.float32]]:
        for number in range(3):
            yield vectors(9000, seed=number)
            with pytest.raises(ArtifactError, match="build the index again"):
                FlatIndex.open(tmp_path / "a")

    assert FlatIndex.write(tmp_path / "a", blocks(), 8) == 27_000


@pytest.mark.parametrize("mapped", [False, True])
def test_rows_view_and_blocks_are_the_unit_vectors(tmp_path: Path, mapped: bool) -> None:
    bank = vectors(50) * 3
    FlatIndex.build(bank).save(tmp_path / "a")
    index = FlatIndex.open(tmp_path / "a", mapped=mapped)
    unit = bank / np.linalg.norm(bank.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(index.view(), unit, atol=1e-6)
    np.testing.assert_array_equal(index.rows(np.array([49, 0, 7, 7])), index.view()[[49, 0, 7, 7]])
    assert index.rows(np.zeros(0, np.int64)).shape == (0, 8)
    parts = list(index.blocks(3, 48, rows=20))
    assert [len(part) for part in parts] == [20, 20, 5]
    np.testing.assert_array_equal(np.concatenate(parts), index.view()[3:48])
    with pytest.raises(ValueError, match="read-only"):
        index.view()[0, 0] = 1
    for wrong in ([50], [-1, 3]):
        with pytest.raises(ConfigError, match="from 0 to 49"):
            index.rows(np.array(wrong))
    with pytest.raises(ConfigError, match=r"int64 \(M,\)"):
        index.rows(np.array([True]))


def test_a_view_keeps_the_vectors_and_the_index_from_growing(tmp_path: Path) -> None:
    index = FlatIndex.build(vectors(50))
    view, before = index.view(), index.view().copy()
    with pytest.raises(ConfigError, match="let go of it"):
        index.add(vectors(5))
    del index
    gc.collect()
    FlatIndex.build(vectors(5000, seed=3))
    np.testing.assert_array_equal(view, before)
    index = FlatIndex.build(vectors(50))
    del view
    index.view()
    index.add(vectors(5))
    assert len(index.view()) == 55


@pytest.mark.parametrize("queries", [1, 3, 9, 1200])  # each way of searching
@pytest.mark.parametrize("allowed_rows", [0, 1, 7, 200, 301])
def test_only_allowed_rows_are_found(
    queries: int, allowed_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flat, "_BLOCK", 64)
    bank, asked = vectors(301), vectors(queries, seed=1)
    allowed = np.zeros(301, np.bool_)
    allowed[np.random.default_rng(2).permutation(301)[:allowed_rows]] = True
    rows, similarities = FlatIndex.build(bank).search(asked, 10, allowed=allowed)
    expected = cosines(asked, bank)
    expected[:, ~allowed] = -np.inf
    found = min(10, allowed_rows)
    np.testing.assert_allclose(similarities[:, :found], -np.sort(-expected, axis=1)[:, :found], atol=1e-6)
    assert allowed[rows[:, :found]].all()
    assert (rows[:, found:] == -1).all()
    assert (similarities[:, found:] == -np.inf).all()


@pytest.mark.parametrize("queries", [1, 2, 70, 999, 1000])
def test_however_many_ask_each_finds_its_own(queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat, "_BLOCK", 64)
    bank, asked = vectors(301), vectors(queries, seed=1)
    for k in (1, 100, 301):
        rows, similarities = FlatIndex.build(bank).search(asked, k)
        expected = cosines(asked, bank)
        np.testing.assert_allclose(similarities, -np.sort(-expected, axis=1)[:, :k], atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(expected, rows, axis=1), similarities, atol=1e-6)


def test_wrong_filters_are_refused() -> None:
    index = FlatIndex.build(vectors(5))
    for wrong in (np.ones(5, np.int64), np.ones(4, np.bool_), np.ones((5, 1), np.bool_)):
        with pytest.raises(ConfigError, match=r"bool \(5,\)"):
            index.search(vectors(1), 1, allowed=wrong)
    with pytest.raises(ConfigError, match="k=0"):
        index.search(vectors(1), 0, allowed=np.ones(5, np.bool_))
    assert index.search(vectors(1), 8, allowed=np.ones(5, np.bool_))[0][0, 5:].tolist() == [-1, -1, -1]


@pytest.mark.parametrize("at", [4, 8, 12, 36, 33, 37])  # width, rows, trained, metric, floats
def test_a_header_that_does_not_fit_the_file_is_refused_before_faiss_reads_it(
    tmp_path: Path, at: int
) -> None:
    path = tmp_path / "a.faiss"
    FlatIndex.build(vectors(40)).save(path)
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1
    path.write_bytes(whole)
    for mapped in (False, True):
        with pytest.raises(ArtifactError, match=r"damaged.*build the index again"):
            FlatIndex.open(path, mapped=mapped)
