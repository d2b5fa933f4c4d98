"""Shards joined on disk against one structure filled at once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.merged import merge_on_disk
from sslkit.neighbours.structure import Kind, Plan, Structure, planned


def vectors(count: int, dim: int = 16, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def shards(folder: Path, kind: Kind, rows: NDArray[np.float32], bounds: list[int], plan: Plan) -> list[Path]:
    """For each part of the rows a file filled from a copy of one trained structure, as processes do it."""
    whole = FlatIndex.build(rows)
    Structure.train(plan, whole).save(folder / "trained")
    parts = []
    for start, stop in pairwise(bounds):
        part = FlatIndex.build(rows[start:stop]) if stop > start else FlatIndex(rows.shape[1])
        shard = Structure.open(folder / "trained", part, mapped=False)
        shard.add(part, 0, len(part))
        parts.append(folder / f"shard-{start}-{stop}")
        shard.save(parts[-1])
    return parts


@pytest.mark.parametrize("kind", ["ivf_sq8", "ivf_rabitq"])
@pytest.mark.parametrize("lists", [16, 512])  # of 512 most are empty, which FAISS writes in another way
@pytest.mark.parametrize("bounds", [[0, 700, 710, 2000], [0, 0, 2000], [0, 2000]])
def test_merged_shards_are_byte_for_byte_what_is_built_at_once(
    kind: Kind, lists: int, bounds: list[int], tmp_path: Path
) -> None:
    rows = vectors(2000)
    if lists == 512:
        rows = np.repeat(rows[:40], 50, axis=0) + 1e-4 * rows
    plan = Plan(kind, 16, lists=lists)
    parts = shards(tmp_path, kind, rows, bounds, plan)
    assert merge_on_disk(parts, tmp_path / "merged") == 2000
    flat = FlatIndex.build(rows)
    whole = Structure.train(plan, flat)
    whole.add(flat, 0, 2000)
    whole.save(tmp_path / "whole")
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()
    merged = Structure.open(tmp_path / "merged", flat, checked=True)
    effort = merged.efforts()[-1]
    for allowed in (None, np.arange(2000) % 3 == 0):
        ours, theirs = (
            one.search(vectors(9, seed=1), 10, effort=effort, allowed=allowed) for one in (merged, whole)
        )
        np.testing.assert_array_equal(ours[0], theirs[0])


def test_shards_of_one_file_keep_their_place(tmp_path: Path) -> None:
    flat = FlatIndex.build(vectors(2000))
    Structure.train(planned("ivf_sq8", 2000, 16), flat).save(tmp_path / "trained")
    parts = []
    for start, stop in ((0, 900), (900, 2000)):
        shard = Structure.open(tmp_path / "trained", flat, mapped=False)
        shard.add(flat, start, stop)
        parts.append(tmp_path / str(start))
        shard.save(parts[-1])
    merge_on_disk(parts, tmp_path / "merged")
    merged = Structure.open(tmp_path / "merged", flat)
    rows, _ = merged.search(vectors(2000), 1, effort=merged.efforts()[-1])
    assert rows[:, 0].tolist() == list(range(2000))


def test_what_cannot_be_merged_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        merge_on_disk([], tmp_path / "out")
    rows = vectors(2000)
    plan = planned("ivf_sq8", 2000, 16)
    parts = shards(tmp_path, "ivf_sq8", rows, [0, 1000, 2000], plan)
    flat = FlatIndex.build(rows)
    other = Structure.train(plan, flat, sample=1500)
    other.add(flat, 1000, 2000)
    other.save(tmp_path / "other")
    with pytest.raises(ArtifactError, match=r"other and .*not learnt the same lists"):
        merge_on_disk([parts[0], tmp_path / "other"], tmp_path / "out")
    fast = Structure.train(planned("ivf_fastscan", 2000, 16), flat)
    fast.save(tmp_path / "fast")
    with pytest.raises(ConfigError, match=r"ivf_fastscan.*ivf_rabitq or ivf_sq8"):
        merge_on_disk([tmp_path / "fast"], tmp_path / "out")
    with pytest.raises(ArtifactError, match="no search structure"):
        merge_on_disk([parts[0], tmp_path / "gone"], tmp_path / "out")
    whole = bytearray(parts[1].read_bytes())
    whole[len(whole) // 2] ^= 1
    parts[1].write_bytes(whole)
    with pytest.raises(ArtifactError, match="bytes have changed"):
        merge_on_disk(parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()
