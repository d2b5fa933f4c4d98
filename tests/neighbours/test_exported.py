"""Exported files are searched by FAISS alone, with ids and cosines."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.errors import ArtifactError
from sslkit.neighbours.exported import write_exported
from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.searching import search_numpy
from sslkit.neighbours.structure import Kind, Structure, planned


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    centres = random.standard_normal((20, 16))
    vectors = centres[random.integers(0, 20, 3000)] + random.standard_normal((3000, 16))
    path = tmp_path_factory.mktemp("flat") / "vectors.faiss"
    FlatIndex.write(path, [vectors.astype(np.float32)], 16)
    return path


IDS: NDArray[np.int64] = np.arange(3000, dtype=np.int64) * 5 + 2**40


def test_exact_vectors_are_found_by_their_ids(flat: Path, tmp_path: Path) -> None:
    assert write_exported(tmp_path / "x.faiss", IDS, flat) == "IndexIDMap2 over IndexFlatIP"
    index = faiss.read_index(str(tmp_path / "x.faiss"))
    rows = FlatIndex.open(flat).view()
    similarities, ids = search_numpy(index)(rows[:50], 4)
    expected = np.argsort(-(rows[:50].astype(np.float64) @ rows.T.astype(np.float64)), axis=1)[:, :4]
    np.testing.assert_array_equal(ids, IDS[expected])
    np.testing.assert_allclose(similarities[:, 0], 1, atol=1e-5)
    np.testing.assert_array_equal(index.reconstruct(int(IDS[7])), rows[7])


@pytest.mark.parametrize("kind", ["hnsw", "ivf_fastscan", "ivf_rabitq", "ivf_sq8"])
def test_structures_find_as_they_were_tuned_to(flat: Path, tmp_path: Path, kind: Kind) -> None:
    vectors = FlatIndex.open(flat, mapped=True)
    structure = Structure.train(planned(kind, 3000, 16), vectors)
    structure.add(vectors, 0, 3000)
    structure.save(tmp_path / "search.faiss")
    queries = vectors.rows(np.arange(0, 3000, 30))
    exact = vectors.search(queries, 10)[0]
    found = []
    for effort in (structure.efforts()[0], structure.efforts()[-1]):
        called = write_exported(tmp_path / "x.faiss", IDS, flat, tmp_path / "search.faiss", effort)
        assert called.startswith("IndexIDMap2 over Index")
        index = faiss.read_index(str(tmp_path / "x.faiss"))
        inner = faiss.downcast_index(index.index)
        if kind == "hnsw":
            assert inner.hnsw.efSearch == effort.ef_search
        else:
            assert inner.k_factor == effort.candidates
            assert faiss.extract_index_ivf(inner).nprobe == effort.probes
        similarities, ids = search_numpy(index)(queries, 10)
        there = ids >= 0
        true = np.einsum(
            "qkd,qd->qk",
            vectors.rows((np.maximum(ids, IDS[0]).ravel() - IDS[0]) // 5).reshape(100, 10, 16),
            queries,
        )
        np.testing.assert_allclose(similarities[there], true[there], atol=1e-5)  # of the right ids, exactly
        found.append(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids, IDS[exact], strict=True)]))
    assert found[0] < found[1] or kind == "hnsw"  # the shortest queue finds all of so few
    assert found[1] > 0.97


def test_files_that_do_not_belong_together_are_refused(flat: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="2999 ids for the 3000 vectors"):
        write_exported(tmp_path / "x.faiss", IDS[1:], flat)
    other = FlatIndex.build(np.random.default_rng(0).standard_normal((1500, 16)).astype(np.float32))
    structure = Structure.train(planned("hnsw", 1500, 16), other)
    structure.add(other, 0, 1500)
    structure.save(tmp_path / "search.faiss")
    effort = structure.efforts()[0]
    with pytest.raises(ArtifactError, match=r"of 1500 vectors .* not of 3000"):
        write_exported(tmp_path / "x.faiss", IDS, flat, tmp_path / "search.faiss", effort)
    whole = (tmp_path / "search.faiss").read_bytes()
    (tmp_path / "search.faiss").write_bytes(whole[:500] + b"x" + whole[501:])
    with pytest.raises(ArtifactError, match="damaged"):
        write_exported(tmp_path / "x.faiss", IDS, flat, tmp_path / "search.faiss", effort)
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_exported(tmp_path / "nowhere" / "x.faiss", IDS, flat)
