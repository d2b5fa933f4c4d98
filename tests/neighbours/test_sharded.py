"""Structures filled in shards: byte for byte those filled at once, and never more than a shard in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslkit.errors import ArtifactError
from sslkit.neighbours import sharded
from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.sharded import fill, fill_shard
from sslkit.neighbours.structure import Structure, planned

ROWS, DIM = 3000, 16


@pytest.fixture
def vectors(tmp_path: Path) -> FlatIndex:
    given = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
    FlatIndex.write(tmp_path / "vectors.faiss", [given], DIM)
    return FlatIndex.open(tmp_path / "vectors.faiss", mapped=True)


@pytest.mark.parametrize("kind", ["ivf_sq8", "ivf_rabitq"])
def test_shards_give_the_structure_that_is_filled_at_once(
    tmp_path: Path, vectors: FlatIndex, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    plan = planned(kind, ROWS, DIM)
    whole = Structure.train(plan, vectors)
    assert fill(whole, vectors) is whole
    whole.save(tmp_path / "whole")
    at_once: list[int] = []
    add = Structure.add
    monkeypatch.setattr(Structure, "add", lambda *given: (at_once.append(given[3] - given[2]), add(*given)))
    monkeypatch.setattr(sharded, "SHARD_BYTES", whole.row_bytes * 800)
    joined = fill(Structure.train(plan, vectors), vectors)
    joined.save(tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == (tmp_path / "whole").read_bytes()
    assert at_once == [750, 750, 750, 750]
    found = joined.search(vectors.rows(np.arange(5)), 3, effort=joined.efforts()[-1])
    np.testing.assert_array_equal(found[0][:, 0], np.arange(5))
    assert not list(tmp_path.glob(".shards-*"))


def test_several_processes_fill_a_share_each(
    tmp_path: Path, vectors: FlatIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    def spread(folder: Path, file: Path, shards: int) -> None:
        told.append(shards)
        for shard in reversed(range(shards)):
            fill_shard(folder, file, shard, shards)

    plan = planned("ivf_sq8", ROWS, DIM)
    few = Structure.train(plan, vectors)
    assert fill(few, vectors, spread=spread, processes=3) is few
    assert told == []
    monkeypatch.setattr(sharded, "SPREAD_ROWS", ROWS)
    fill(Structure.train(plan, vectors), vectors, spread=spread, processes=3).save(tmp_path / "spread")
    assert told == [3]
    few.save(tmp_path / "whole")
    assert (tmp_path / "spread").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("kind", ["hnsw", "ivf_fastscan"])
def test_what_cannot_be_joined_is_filled_in_memory(
    vectors: FlatIndex, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(sharded, "SHARD_BYTES", 1000)
    structure = Structure.train(planned(kind, ROWS, DIM), vectors)
    assert fill(structure, vectors) is structure
    assert len(structure) == ROWS


def test_shards_are_removed_when_one_fails(
    tmp_path: Path, vectors: FlatIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ArtifactError("no space left")

    monkeypatch.setattr(sharded, "SHARD_BYTES", 1000)
    monkeypatch.setattr(sharded, "fill_shard", broken)
    with pytest.raises(ArtifactError, match="no space"):
        fill(Structure.train(planned("ivf_sq8", ROWS, DIM), vectors), vectors)
    assert [path.name for path in tmp_path.iterdir()] == ["vectors.faiss"]
