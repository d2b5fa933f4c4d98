"""The corpus index against float64 cosines in plain numpy: exact where it says so, near enough where not."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours import corpus
from sslkit.neighbours.corpus import CorpusIndex
from sslkit.neighbours.lists import IVF_ROWS

KINDS = ["flat", "ivf", "hnsw"]


def clustered(count: int, dim: int = 32, seed: int = 0) -> NDArray[np.float16]:
    """Unit rows as an encoder gives them: groups of some 50, inside a space of fewer dimensions."""
    draw = np.random.default_rng(seed)
    basis = draw.standard_normal((12, dim))
    centres = draw.standard_normal((max(count // 50, 2), 12))
    inner = centres[draw.integers(0, len(centres), count)] + 0.5 * draw.standard_normal((count, 12))
    rows = inner @ basis + 0.3 * draw.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def as_queries(rows: NDArray[np.float16]) -> NDArray[np.float32]:
    return rows.astype(np.float32)


def every(vectors: NDArray[np.float16]) -> NDArray[np.int64]:
    return np.arange(len(vectors))


def cosines(queries: NDArray[Any], vectors: NDArray[Any]) -> NDArray[np.float64]:
    a, b = queries.astype(np.float64), vectors.astype(np.float64)
    return (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))


@pytest.mark.parametrize("dim", [2, 7, 128])
@pytest.mark.parametrize("k", [1, 10, 300])
def test_flat_finds_the_rows_of_largest_cosine(dim: int, k: int) -> None:
    vectors, queries = clustered(400, dim), as_queries(clustered(9, dim, seed=1)) * 50
    rows, similarities = CorpusIndex.build(vectors, every(vectors), kind="flat").search(queries, k)
    expected = cosines(queries, vectors)
    found = np.take_along_axis(expected, rows, axis=1)
    # Neighbours nearer to each other than float32 can tell may change places.
    np.testing.assert_allclose(found, -np.sort(-expected, axis=1)[:, :k], atol=1e-6)
    np.testing.assert_allclose(similarities, found, atol=1e-6)
    assert (str(rows.dtype), str(similarities.dtype)) == ("int64", "float32")
    assert (np.diff(similarities, axis=1) <= 0).all()
    assert similarities.max() <= 1


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
@pytest.mark.parametrize("dim", [32, 17])  # a prime width leaves the product quantiser nothing to share
def test_approximate_kinds_find_nearly_all_neighbours_with_exact_similarities(kind: Any, dim: int) -> None:
    vectors = clustered(4000, dim)
    queries = as_queries(vectors[::40])
    rows, similarities = CorpusIndex.build(vectors, every(vectors), kind=kind).search(queries, 10)
    expected = cosines(queries, vectors)
    nearest = np.argsort(-expected, axis=1)[:, :10]
    recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(rows, nearest, strict=True)])
    assert recall >= 0.95
    np.testing.assert_allclose(similarities, np.take_along_axis(expected, rows, axis=1), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_only_filled_rows_are_found_and_by_their_own_numbers(kind: Any) -> None:
    vectors = clustered(2000)
    filled = np.arange(1, 2000, 2)
    vectors[::2] = 0  # what a slot never written holds
    rows, _ = CorpusIndex.build(vectors, filled[::-1].copy(), kind=kind).search(
        as_queries(vectors[filled]), 5
    )
    assert (rows % 2 == 1).all()
    assert (rows[:, 0] == filled).mean() > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_vectors_give_the_same_results_bit_for_bit(kind: Any) -> None:
    vectors = clustered(3000)
    queries = as_queries(clustered(64, seed=3))
    first, second = (CorpusIndex.build(vectors, every(vectors), kind=kind).search(queries, 20) for _ in "ab")
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_finds_the_same_whatever_is_asked_beside_it(kind: Any) -> None:
    vectors = clustered(3000)
    queries = as_queries(clustered(64, seed=3))
    index = CorpusIndex.build(vectors, every(vectors), kind=kind)
    together = index.search(queries, 20)
    alone = [index.search(query[None], 20) for query in queries]
    np.testing.assert_array_equal(together[0], np.concatenate([rows for rows, _ in alone]))
    np.testing.assert_array_equal(together[1], np.concatenate([near for _, near in alone]))


@pytest.mark.parametrize("k", [1, 5, 40, 150])
def test_in_a_collapsed_corpus_the_lowest_rows_are_taken(k: int) -> None:
    vectors = np.repeat(clustered(1, 129), 20_000, axis=0)
    rows, similarities = CorpusIndex.build(vectors, every(vectors), kind="flat").search(
        as_queries(vectors[:30]), k
    )
    assert (rows == np.arange(k)).all()
    np.testing.assert_allclose(similarities, 1, atol=1e-6)


def test_ties_at_the_last_place_go_to_the_lowest_rows() -> None:
    vectors = clustered(20_000)
    twins = np.arange(19_900, 100, -100)  # 198 rows alike, far more than are asked for
    vectors[twins] = vectors[7]
    rows, similarities = CorpusIndex.build(vectors, every(vectors), kind="flat").search(
        as_queries(vectors[[7, 500]]), 30
    )
    assert rows[0].tolist() == [7, *sorted(twins.tolist())[:29]]
    assert similarities[0].tolist() == [similarities[0, 0]] * 30
    query = as_queries(vectors[[300]]) + 0.05 * as_queries(vectors[[8]])  # the nearest first, then the tie
    vectors[[40, 15_000]] = query[0] / np.linalg.norm(query)
    rows, _ = CorpusIndex.build(vectors, every(vectors), kind="flat").search(query, 10)
    assert rows[0].tolist() == [40, 15_000, 7, *sorted(twins.tolist())[:7]]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_is_minus_one_and_minus_infinity(kind: Any) -> None:
    vectors = clustered(2000)
    filled = np.arange(0, 2000, 3)
    index = CorpusIndex.build(vectors, filled, kind=kind)
    rows, similarities = index.search(as_queries(vectors[:4]), len(filled) + 5)
    assert (rows[:, -5:] == -1).all()
    assert (similarities[:, -5:] == -np.inf).all()
    assert ((rows == -1) == (similarities == -np.inf)).all()
    if kind == "flat":
        assert (np.sort(rows[:, :-5], axis=1) == filled).all()


def test_queries_without_direction_find_nothing_and_disturb_no_other() -> None:
    vectors = clustered(50)
    queries = as_queries(vectors[:4])
    queries[1, 3], queries[2] = np.nan, 0
    rows, similarities = CorpusIndex.build(vectors, every(vectors)).search(queries, 3)
    assert (rows[[1, 2]] == -1).all()
    assert (similarities[[1, 2]] == -np.inf).all()
    assert rows[[0, 3], 0].tolist() == [0, 3]
    rows, _ = CorpusIndex.build(vectors, every(vectors)).search(np.full((2, 32), np.inf, np.float32), 3)
    assert (rows == -1).all()


def test_huge_and_tiny_queries_keep_their_direction() -> None:
    vectors = clustered(60)
    scales = np.array([1e30, 1e-30, 1e-38], np.float32)[:, None]
    rows, similarities = CorpusIndex.build(vectors, every(vectors)).search(
        as_queries(vectors[:3]) * scales, 1
    )
    assert rows[:, 0].tolist() == [0, 1, 2]
    np.testing.assert_allclose(similarities, 1, atol=1e-3)


def test_auto_is_exact_for_small_corpora_and_takes_lists_for_large_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = clustered(2000)
    small = CorpusIndex.build(vectors, every(vectors))
    assert (small.kind, small.note) == ("flat", None)
    assert small.describe() == "Flat over 2,000 of 2,000 x 32"
    monkeypatch.setattr(corpus, "FLAT_ROWS", 1000)
    large = CorpusIndex.build(vectors, every(vectors))
    assert (large.kind, large.note) == ("ivf", None)
    assert large.describe() == "IVF32,PQ16x4fs over 2,000 of 2,000 x 32"


def test_auto_falls_back_where_few_of_a_large_corpus_are_there_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(corpus, "FLAT_ROWS", 1000)
    vectors = clustered(2000)
    index = CorpusIndex.build(vectors, np.arange(300))
    assert index.kind == "flat"
    assert index.note is not None
    assert "300 of 2,000" in index.note
    assert CorpusIndex.build(vectors, np.arange(300), kind="flat").note is None


def test_lists_that_cannot_be_learnt_are_refused_with_the_number_needed() -> None:
    vectors = clustered(IVF_ROWS)
    assert CorpusIndex.build(vectors, every(vectors), kind="ivf").kind == "ivf"
    with pytest.raises(ConfigError, match=rf"over 623 vectors.*at least {IVF_ROWS}.*flat"):
        CorpusIndex.build(vectors, np.arange(623), kind="ivf")


@pytest.mark.parametrize("k", [1, 50])
def test_identical_vectors_in_lists_are_searched_without_complaint(k: int) -> None:
    vectors = np.repeat(clustered(1), 1000, axis=0)
    rows, similarities = CorpusIndex.build(vectors, every(vectors), kind="ivf").search(
        as_queries(vectors[:2]), k
    )
    assert (rows >= 0).all()
    np.testing.assert_allclose(similarities, 1, atol=1e-6)


def test_a_memory_mapped_corpus_is_searched_as_one_in_memory(tmp_path: Path) -> None:
    vectors = clustered(1500)
    mapped = np.memmap(tmp_path / "bank", dtype=np.float16, mode="w+", shape=vectors.shape)
    mapped[:] = vectors
    queries = as_queries(vectors[:20])
    for kind in KINDS:
        a = CorpusIndex.build(mapped, every(vectors), kind=kind).search(queries, 7)  # type: ignore[arg-type]
        b = CorpusIndex.build(vectors, every(vectors), kind=kind).search(queries, 7)  # type: ignore[arg-type]
        np.testing.assert_array_equal(a[0], b[0])


def test_wrong_input_is_refused() -> None:
    vectors = clustered(10)
    with pytest.raises(ConfigError, match="float32 of shape"):
        CorpusIndex.build(vectors.astype(np.float32), every(vectors))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="F > 0"):
        CorpusIndex.build(vectors, np.arange(0))
    for rows in ([0, 10], [-1, 2], [3, 3]):
        with pytest.raises(ConfigError, match="within 0 to 9"):
            CorpusIndex.build(vectors, np.array(rows))
    with pytest.raises(ConfigError, match="'fast'; it is one of auto, flat, ivf, hnsw"):
        CorpusIndex.build(vectors, every(vectors), kind="fast")  # type: ignore[arg-type]
    vectors[4], vectors[6] = np.nan, 0
    with pytest.raises(ArtifactError, match=r"2 vectors.*row 4"):
        CorpusIndex.build(vectors, every(vectors))
    index = CorpusIndex.build(vectors, np.arange(3))
    with pytest.raises(ConfigError, match=r"float64.*\(Q, 32\)"):
        index.search(np.ones((1, 32)), 1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"\(1, 31\)"):
        index.search(np.ones((1, 31), np.float32), 1)
    with pytest.raises(ConfigError, match="k=0"):
        index.search(np.ones((1, 32), np.float32), 0)


def test_a_build_with_one_thread_puts_the_threads_back() -> None:
    vectors = clustered(1500)
    before = faiss.omp_get_max_threads(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        CorpusIndex.build(vectors, every(vectors), kind="ivf", threads=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before[1])


def test_a_graph_is_built_by_one_thread_since_more_would_link_it_by_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    setting = faiss.omp_set_num_threads
    monkeypatch.setattr(faiss, "omp_set_num_threads", lambda count: (asked.append(count), setting(count)))
    vectors = clustered(100)
    CorpusIndex.build(vectors, every(vectors), kind="hnsw", threads=4)
    assert asked[0] == 1


def test_a_background_build_uses_one_thread_and_leaves_those_of_the_main_thread_alone() -> None:
    # A process of its own: what counts is the number of threads that did work, as the kernel counts them.
    script = """
import threading, time
from pathlib import Path
import numpy as np, torch
from sslkit.neighbours.corpus import CorpusIndex
torch.set_num_threads(3)
(torch.ones(700, 700) @ torch.ones(700, 700)).sum()
draw = np.random.default_rng(0).standard_normal((12000, 64)).astype(np.float16)
tasks = lambda: {p.name for p in Path("/proc/self/task").iterdir()} if Path("/proc").is_dir() else set()
before, seen, during = tasks(), set(), set()
builder = threading.Thread(target=lambda: CorpusIndex.build(draw, np.arange(12000), kind="ivf", threads=1))
builder.start()
own = str(builder.native_id)
while builder.is_alive():
    during.add(torch.get_num_threads())
    seen |= tasks()
    time.sleep(0.002)
print(sorted(during | {torch.get_num_threads()}), len(seen - before - {own}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[3] 0"


def test_searching_in_another_thread_finds_the_same() -> None:
    vectors = clustered(3000)
    index = CorpusIndex.build(vectors, every(vectors), kind="ivf")
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(index.search(as_queries(vectors[:50]), 5)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0][0], index.search(as_queries(vectors[:50]), 5)[0])


def test_on_a_gpu_exact_search_moves_there_and_asks_for_no_more_than_it_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = clustered(3000)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(corpus, "FLAT_ROWS", 1000)
    monkeypatch.setattr(corpus, "_on_gpu", lambda index: index)  # a stand-in: there is none where tests run
    index = CorpusIndex.build(vectors, every(vectors))
    assert (index.kind, index.on_gpu) == ("flat", True)
    assert "on the GPU" in index.describe()
    assert index.search(as_queries(vectors[:3]), 2040)[0].shape == (3, 2040)
    with pytest.raises(ConfigError, match="at most 2040"):
        index.search(as_queries(vectors[:3]), 2041)
    assert not CorpusIndex.build(vectors, every(vectors), kind="ivf").on_gpu
