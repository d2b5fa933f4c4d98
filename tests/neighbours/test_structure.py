"""Search structures against exact search in float64, with and without filters, on disk and off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError, UnknownNameError
from sslkit.neighbours import candidates, learning, plan
from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.structure import Effort, Kind, Structure, planned

KINDS: tuple[Kind, ...] = get_args(Kind)
COUNT, DIM = 6_000, 32


def clustered(count: int, dim: int = DIM, seed: int = 0) -> NDArray[np.float32]:
    """Unit rows as an encoder gives them: groups of some 50, and directions that matter less and less."""
    draw = np.random.default_rng(seed)
    spectrum = np.arange(1, dim + 1) ** -0.7
    centres = np.random.default_rng(99).standard_normal((120, dim)) * spectrum
    rows = centres[draw.integers(0, 120, count)] + 0.5 * draw.standard_normal((count, dim)) * spectrum
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


QUERIES = clustered(60, seed=1)


def exact(rows: NDArray[Any], queries: NDArray[Any], k: int, allowed: NDArray[np.bool_] | None = None) -> Any:
    """The k nearest allowed rows of each query, in float64."""
    cosines = queries.astype(np.float64) @ rows.astype(np.float64).T
    if allowed is not None:
        cosines[:, ~allowed] = -np.inf
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k]


def recall(found: NDArray[Any], truth: NDArray[Any]) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, truth, strict=True)]))


def built(kind: Kind, vectors: FlatIndex, **options: Any) -> Structure:
    structure = Structure.train(planned(kind, len(vectors), vectors.dim), vectors, **options)
    structure.add(vectors, 0, len(vectors))
    return structure


def thorough(structure: Structure) -> Effort:
    efforts = structure.efforts()
    return next((e for e in efforts if (e.probes or e.ef_search or 0) >= 48), efforts[-1])


@pytest.fixture(scope="module")
def flat() -> FlatIndex:
    return FlatIndex.build(clustered(COUNT))


@pytest.fixture(scope="module")
def structures(flat: FlatIndex) -> dict[str, Structure]:
    return {kind: built(kind, flat) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 10, 100])
def test_nearly_all_neighbours_are_found_with_exact_similarities(
    kind: Kind, k: int, flat: FlatIndex, structures: dict[str, Structure]
) -> None:
    structure = structures[kind]
    rows, similarities = structure.search(7 * QUERIES, k, effort=thorough(structure))
    assert recall(rows, exact(flat.view(), QUERIES, k)) >= 0.97
    cosines = np.take_along_axis(QUERIES.astype(np.float64) @ flat.view().astype(np.float64).T, rows, axis=1)
    np.testing.assert_allclose(similarities, cosines, atol=1e-6)
    assert (np.diff(similarities, axis=1) <= 0).all()
    assert (str(rows.dtype), str(similarities.dtype)) == ("int64", "float32")


@pytest.mark.parametrize("kind", KINDS)
def test_efforts_run_from_quick_to_thorough(
    kind: Kind, flat: FlatIndex, structures: dict[str, Structure]
) -> None:
    structure = structures[kind]
    truth = exact(flat.view(), QUERIES, 10)
    found = [recall(structure.search(QUERIES, 10, effort=e)[0], truth) for e in structure.efforts()]
    assert len(found) >= 8
    assert found[0] < found[-1]
    assert found[-1] >= 0.99
    assert np.diff(found).min() > -0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.0001])
def test_a_filter_keeps_recall(
    kind: Kind,
    share: float,
    structures: dict[str, Structure],
    flat: FlatIndex,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    structure = structures[kind]
    allowed = np.zeros(COUNT, np.bool_)
    allowed[np.random.default_rng(3).permutation(COUNT)[: max(int(share * COUNT), 1)]] = True
    k = min(10, int(allowed.sum()))
    truth = exact(flat.view(), QUERIES, k, allowed)
    plain = recall(
        structure.search(QUERIES, 10, effort=thorough(structure))[0], exact(flat.view(), QUERIES, 10)
    )
    for few in ("as it is", 5):  # and where hardly anything is left to exact search
        if few == 5:
            monkeypatch.setattr(Structure, "_few", lambda *_: 5)
        rows, similarities = structure.search(QUERIES, 10, effort=thorough(structure), allowed=allowed)
        assert allowed[rows[rows >= 0]].all()
        assert recall(rows[:, :k], truth) >= plain - 0.03
        assert (rows[:, k:] == -1).all()
        assert (similarities[:, k:] == -np.inf).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.25])
def test_a_filter_that_hides_where_the_query_looks_keeps_recall(
    kind: Kind, share: float, structures: dict[str, Structure], flat: FlatIndex
) -> None:
    structure = structures[kind]
    for query in QUERIES[:10]:
        near = flat.view() @ query
        allowed = near < np.quantile(near, share)
        rows, _ = structure.search(query[None], 10, effort=thorough(structure), allowed=allowed)
        assert recall(rows, exact(flat.view(), query[None], 10, allowed)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_in_another_part_of_the_space_keeps_recall(
    kind: Kind, structures: dict[str, Structure], flat: FlatIndex
) -> None:
    structure = structures[kind]
    towards = flat.view() @ QUERIES[0]
    allowed = towards > np.quantile(towards, 0.7)  # one region of the space, which most queries are not in
    rows, _ = structure.search(QUERIES, 10, effort=thorough(structure), allowed=allowed)
    assert recall(rows, exact(flat.view(), QUERIES, 10, allowed)) >= 0.97


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_allowed_is_no_row_found_and_all_allowed_is_no_filter(
    kind: Kind, structures: dict[str, Structure]
) -> None:
    structure = structures[kind]
    effort = thorough(structure)
    rows, similarities = structure.search(QUERIES[:3], 4, effort=effort, allowed=np.zeros(COUNT, np.bool_))
    assert (rows == -1).all()
    assert (similarities == -np.inf).all()
    everything = structure.search(QUERIES, 10, effort=effort, allowed=np.ones(COUNT, np.bool_))[0]
    assert (everything == structure.search(QUERIES, 10, effort=effort)[0]).mean() >= 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_than_k_are_never_found_where_there_are_so_many(
    kind: Kind, structures: dict[str, Structure]
) -> None:
    structure = structures[kind]
    for k in (150, COUNT):
        rows, _ = structure.search(QUERIES[:5], k, effort=structure.efforts()[0])
        assert (rows >= 0).all()
        assert all(len(set(row)) == k for row in rows.tolist())


def test_where_the_structure_finds_too_few_the_query_is_searched_exactly(
    flat: FlatIndex, structures: dict[str, Structure], monkeypatch: pytest.MonkeyPatch
) -> None:
    def little(_finder: Any, unit: NDArray[np.float32], count: int, *_: Any) -> NDArray[np.int64]:
        found = np.full((len(unit), count), -1)
        found[::2, :4] = [9, 3, 5, 1]
        found[1::2] = np.arange(count)
        return found

    monkeypatch.setattr(candidates.Finder, "candidates", little)
    structure = structures["ivf_sq8"]
    rows, _ = structure.search(QUERIES, 5, effort=structure.efforts()[0])
    np.testing.assert_array_equal(rows[::2], exact(flat.view(), QUERIES[::2], 5))
    np.testing.assert_array_equal(rows[1::2], exact(flat.view()[:20], QUERIES[1::2], 5))
    allowed = np.ones(COUNT, np.bool_)
    monkeypatch.setattr(Structure, "_far", lambda _structure, unit, *_: np.zeros(len(unit), np.bool_))
    # Under a filter, 4 of the 20 candidates asked for are too few.
    rows, _ = structure.search(QUERIES, 4, effort=structure.efforts()[0], allowed=allowed)
    np.testing.assert_array_equal(rows[::2], exact(flat.view(), QUERIES[::2], 4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_finds_the_same_whatever_is_asked_beside_it(
    kind: Kind, structures: dict[str, Structure]
) -> None:
    structure = structures[kind]
    effort = structure.efforts()[4]
    together = structure.search(QUERIES, 10, effort=effort)
    alone = [structure.search(query[None], 10, effort=effort) for query in QUERIES]
    np.testing.assert_array_equal(together[0], np.concatenate([rows for rows, _ in alone]))
    np.testing.assert_array_equal(together[1], np.concatenate([near for _, near in alone]))


@pytest.mark.parametrize("kind", KINDS)
def test_threads_search_at_once_and_find_the_same(kind: Kind, structures: dict[str, Structure]) -> None:
    structure = structures[kind]
    efforts = (structure.efforts()[1], thorough(structure))
    alone = [structure.search(QUERIES, 10, effort=effort)[0] for effort in efforts]
    found: list[tuple[int, NDArray[Any]]] = []

    def search(which: int) -> None:
        for _ in range(5):
            found.append((which, structure.search(QUERIES, 10, effort=efforts[which])[0]))

    threads = [threading.Thread(target=search, args=(number % 2,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    for which, rows in found:
        np.testing.assert_array_equal(rows, alone[which])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mapped", [False, True])
def test_a_saved_structure_searches_the_same(
    kind: Kind, mapped: bool, tmp_path: Path, flat: FlatIndex, structures: dict[str, Structure]
) -> None:
    structure = structures[kind]
    structure.save(tmp_path / "a.faiss")
    flat.save(tmp_path / "vectors.faiss")
    vectors = FlatIndex.open(tmp_path / "vectors.faiss", mapped=True)
    opened = Structure.open(tmp_path / "a.faiss", vectors, mapped=mapped, checked=True)
    assert (opened.kind, opened.factory, len(opened), opened.dim) == (kind, structure.factory, COUNT, DIM)
    assert opened.nbytes == structure.nbytes
    assert 0.7 < opened.nbytes / (tmp_path / "a.faiss").stat().st_size <= 1
    effort = thorough(structure)
    allowed = np.arange(COUNT) % 3 > 0
    for options in ({}, {"allowed": allowed}):
        ours, theirs = (one.search(QUERIES, 10, effort=effort, **options) for one in (structure, opened))
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
    assert faiss.read_index(str(tmp_path / "a.faiss"), faiss.IO_FLAG_SKIP_STORAGE).ntotal == COUNT


def test_the_same_vectors_and_seed_give_the_same_bytes(tmp_path: Path, flat: FlatIndex) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        built("ivf_sq8", flat, sample=4_000, seed=seed).save(tmp_path / name)
    whole = [(tmp_path / name).read_bytes() for name in "abc"]
    assert whole[0] == whole[1] != whole[2]


def test_adding_in_pieces_is_adding_at_once(flat: FlatIndex, tmp_path: Path) -> None:
    pieces = Structure.train(planned("ivf_rabitq", COUNT, DIM), flat)
    for start, stop in ((0, 100), (100, 100), (100, 4_001), (4_001, COUNT)):
        pieces.add(flat, start, stop)
    pieces.save(tmp_path / "a")
    built("ivf_rabitq", flat).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_structure_that_cannot_grow_or_search_says_so(
    kind: Kind, tmp_path: Path, flat: FlatIndex, structures: dict[str, Structure]
) -> None:
    structure = Structure.train(planned(kind, COUNT, DIM), flat)
    effort = structure.efforts()[0]
    with pytest.raises(ConfigError, match=r"0 rows.*cannot search 6000"):
        structure.search(QUERIES, 5, effort=effort)
    structure.add(flat, 100, 300)
    with pytest.raises(ConfigError, match=r"200 rows from row 100.*merge"):
        structure.search(QUERIES, 5, effort=effort)
    for start, stop in ((0, 100), (300, COUNT + 1), (301, 400), (300, 299)):
        with pytest.raises(ConfigError, match="the next is row 300"):
            structure.add(flat, start, stop)
    with pytest.raises(ConfigError, match="8 dimensions for a structure of 32"):
        structure.add(FlatIndex.build(clustered(400, 8)), 300, 400)
    structures[kind].save(tmp_path / "a")
    with pytest.raises(ConfigError, match="cannot grow"):
        Structure.open(tmp_path / "a", flat).add(flat, 0, 1)


def test_wrong_searches_are_refused(flat: FlatIndex, structures: dict[str, Structure]) -> None:
    graph, lists = structures["hnsw"], structures["ivf_sq8"]
    with pytest.raises(ConfigError, match=r"4 lists asked of a structure of kind hnsw.*such as ef"):
        graph.search(QUERIES, 5, effort=Effort(probes=4))
    with pytest.raises(ConfigError, match=r"ef 64 asked of a structure of kind ivf_sq8"):
        lists.search(QUERIES, 5, effort=Effort(ef_search=64))
    effort = Effort(probes=4)
    bad = QUERIES.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ArtifactError, match="1 of 60 queries are not finite at rows 3"):
        lists.search(bad, 5, effort=effort)
    for k in (0, COUNT + 1):
        with pytest.raises(ConfigError, match=rf"k={k} "):
            lists.search(QUERIES, k, effort=effort)
    with pytest.raises(ConfigError, match=r"int64.*bool \(6000,\)"):
        lists.search(QUERIES, 5, effort=effort, allowed=np.arange(COUNT))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="31 dimensions"):
        lists.search(QUERIES[:, 1:].copy(), 5, effort=effort)


def test_wrong_plans_are_refused(flat: FlatIndex) -> None:
    with pytest.raises(UnknownNameError, match="'ivf_sq8'"):
        planned("ivf_sq9", COUNT, DIM)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"623 vectors.*at least 624.*hnsw"):
        planned("ivf_fastscan", 623, DIM)
    assert planned("ivf_fastscan", 624, DIM).lists == 16
    with pytest.raises(ConfigError, match="16 dimensions over vectors of 32"):
        Structure.train(planned("hnsw", COUNT, 16), flat)
    with pytest.raises(ConfigError, match="100 vectors to learn 128 lists"):
        Structure.train(planned("ivf_sq8", COUNT, DIM), flat, sample=100)


def test_plans_grow_with_the_vectors() -> None:
    assert [
        planned("ivf_sq8", count, 128).lists for count in (1_000, 20_000, 200_000, 10**6, 10**7, 10**8)
    ] == [*(16, 512, 2_048, 4_096, 16_384, 32_768)]
    assert planned("ivf_fastscan", 10**6, 128).factory == "IVF4096,PQ64x4fs"
    assert planned("ivf_rabitq", 10**8, 128).factory == "IVF32768_HNSW32,RaBitQ"
    assert planned("hnsw", 50, 128).factory == "HNSW32,Flat"
    assert planned("ivf_sq8", 10**6, 128).training == 64 * 4_096
    assert planned("hnsw", 50, 128).training == 0


def test_nothing_is_learnt_from_excluded_rows(flat: FlatIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[NDArray[np.float32]] = []
    monkeypatch.setattr("sslkit.neighbours.structure.trained", lambda index, sample: seen.append(sample))
    excluded = np.arange(0, COUNT, 5)
    Structure.train(planned("ivf_sq8", COUNT, DIM), flat, excluded=excluded)
    kept = {row.tobytes() for row in np.delete(flat.view(), excluded, axis=0)}
    assert len(seen[0]) > 2_000
    assert all(row.tobytes() in kept for row in seen[0])


@pytest.mark.parametrize(("count", "wanted"), [(10, 10), (1_000, 7), (10**8, 5_000)])
def test_a_sample_is_spread_over_all_rows_and_drawn_by_key(count: int, wanted: int) -> None:
    rows = learning.sampled(count, wanted, seed=0)
    assert len(np.unique(rows)) == wanted
    assert rows[0] >= 0
    assert rows[-1] < count
    np.testing.assert_array_equal(rows * wanted // count, np.arange(wanted))
    np.testing.assert_array_equal(rows, learning.sampled(count, wanted, seed=0))
    if wanted < count:
        assert (rows != learning.sampled(count, wanted, seed=1)).any()


def damage(how: str) -> Callable[[bytes], bytes]:
    changes: dict[str, Callable[[bytes], bytes]] = {
        "empty": lambda whole: b"",
        "short": lambda whole: whole[:-1],
        "half": lambda whole: whole[: len(whole) // 2],
        "long": lambda whole: whole + b"x",
        "garbage": lambda whole: b"no index" * 500,
        "trailer": lambda whole: whole.replace(b'"format": 1', b'"format": x'),
        "newer": lambda whole: whole.replace(b'"format": 1', b'"format": 9'),
        "plan": lambda whole: whole.replace(b'"lists"', b'"blips"'),
        "start": lambda whole: b"IxF2" + whole[4:],
        "count": lambda whole: whole[:8] + b"\x01" + whole[9:],
        "type": lambda whole: whole.replace(b'"kind": "ivf_sq8"', b'"kind": "ivf_sq9"'),
    }
    return changes[how]


@pytest.mark.parametrize(
    "how", ["empty", "short", "half", "long", "garbage", "trailer", "newer", "plan", "start", "count", "type"]
)
def test_damaged_files_are_refused(
    how: str, tmp_path: Path, flat: FlatIndex, structures: dict[str, Structure]
) -> None:
    structures["ivf_sq8"].save(tmp_path / "a")
    (tmp_path / "a").write_bytes(damage(how)((tmp_path / "a").read_bytes()))
    with pytest.raises(ArtifactError, match=r"a newer sslkit|build the index again"):
        Structure.open(tmp_path / "a", flat)


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_byte_is_found_when_all_are_read(
    kind: Kind, tmp_path: Path, flat: FlatIndex, structures: dict[str, Structure]
) -> None:
    structures[kind].save(tmp_path / "a")
    whole = bytearray((tmp_path / "a").read_bytes())
    whole[len(whole) // 2] ^= 1
    (tmp_path / "a").write_bytes(whole)
    with pytest.raises(ArtifactError, match="bytes have changed"):
        Structure.open(tmp_path / "a", flat, checked=True)


def test_missing_files_and_other_vectors_are_refused(
    tmp_path: Path, flat: FlatIndex, structures: dict[str, Structure]
) -> None:
    with pytest.raises(ArtifactError, match="no search structure"):
        Structure.open(tmp_path / "a", flat)
    structures["hnsw"].save(tmp_path / "a")
    for other in (FlatIndex.build(clustered(COUNT - 1)), FlatIndex.build(clustered(COUNT, 16))):
        with pytest.raises(ArtifactError, match=r"6000 vectors of 32 dimensions.*there are"):
            Structure.open(tmp_path / "a", other)


def test_a_place_that_cannot_be_written_or_is_full_is_an_error(
    tmp_path: Path, structures: dict[str, Structure]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        structures["ivf_sq8"].save(tmp_path / "file" / "a")
    if Path("/dev/full").exists():
        (tmp_path / "full").symlink_to("/dev/full")
        with pytest.raises(ArtifactError, match="No space left"):
            structures["ivf_sq8"].save(tmp_path / "full")


def test_many_lists_are_found_by_a_graph(flat: FlatIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "GRAPH_LISTS", 64)
    monkeypatch.setattr(candidates, "GRAPH_LISTS", 64)
    structure = built("ivf_sq8", flat)
    assert structure.factory == "IVF128_HNSW32,SQ8"
    monkeypatch.setattr(Structure, "_few", lambda *_: 5)
    for allowed in (None, np.arange(COUNT) % 7 == 0):
        rows, _ = structure.search(QUERIES, 10, effort=thorough(structure), allowed=allowed)
        assert recall(rows, exact(flat.view(), QUERIES, 10, allowed)) >= 0.97


def test_a_gpu_trains_and_searches_where_there_is_one(
    flat: FlatIndex, monkeypatch: pytest.MonkeyPatch, structures: dict[str, Structure]
) -> None:
    with pytest.raises(ConfigError, match="one of 0 GPUs"):
        structures["ivf_sq8"].on_gpu()
    moved: list[str] = []

    def stand_in(index: Any) -> Any:
        moved.append(type(index).__name__)
        return index

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", stand_in)  # there is none where tests run
    structure = built("ivf_sq8", flat)
    assert moved == ["IndexFlatL2"]
    there = structure.on_gpu()
    assert moved[1:] == ["IndexIVFScalarQuantizer"]
    effort = thorough(structure)
    np.testing.assert_array_equal(
        there.search(QUERIES, 10, effort=effort)[0], structure.search(QUERIES, 10, effort=effort)[0]
    )
    with pytest.raises(ConfigError, match="only ivf_sq8"):
        structures["hnsw"].on_gpu()


def test_a_structure_goes_where_it_can_be_searched(
    monkeypatch: pytest.MonkeyPatch, structures: dict[str, Structure]
) -> None:
    assert all(structure.placed() is structure for structure in structures.values())  # no GPU here

    def full(_: Any) -> Any:
        raise RuntimeError("Error in virtual void* StandardGpuResourcesImpl::allocMemory")

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", lambda index: index)
    assert structures["ivf_sq8"].placed() is not structures["ivf_sq8"]
    assert structures["hnsw"].placed() is structures["hnsw"]
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", full)
    assert structures["ivf_sq8"].placed() is structures["ivf_sq8"]
