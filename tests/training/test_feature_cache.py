"""Features of heads in an entry: what comes out is what the backbone gave, under the ids of the samples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sslkit.contracts import FeatureMap, HeadFeatures, Meta, Skipped
from sslkit.training.feature_cache import FeatureCache, write_features
from sslkit.training.feature_store import FeatureStore

CPU = torch.device("cpu")


def batch(ids: list[int], *, views: int = 1, dtype: torch.dtype = torch.float32) -> HeadFeatures:
    metas = tuple(
        Meta(id, f"{id}.png", (id + 1, 9), (4, id + 2), (8, 12), view) for id in ids for view in range(views)
    )
    fine, coarse = torch.randn(len(metas), 3, 4, 6, dtype=dtype), torch.randn(len(metas), 2, 5, 2, 3)
    maps = (FeatureMap(fine.contiguous(memory_format=torch.channels_last), 2), FeatureMap(coarse, 4, 2))
    return HeadFeatures(torch.randn(len(metas), 7), maps, (8, 12), metas)


def cached(folder: Path, *batches: HeadFeatures | None, skipped: tuple[Skipped, ...] = ()) -> FeatureCache:
    store = FeatureStore(folder)
    pairs = [(one, skipped if one is None else ()) for one in batches]
    store.entry({}, lambda writer: write_features(writer, pairs, of=100))
    return FeatureCache(FeatureStore(folder).entry({}, lambda writer: None))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("as_made", [False, True])
def test_samples_come_back_in_any_order(tmp_path: Path, dtype: torch.dtype, as_made: bool) -> None:
    torch.manual_seed(0)
    first, second = batch([0, 1, 2], dtype=dtype), batch([4, 5], dtype=dtype)
    left_out = (Skipped(3, "3.png", "cut"),)
    found = cached(tmp_path, first, None, second, skipped=left_out)
    assert len(found) == 5
    assert found.skipped == left_out
    given = found.batch([4, 3, 0, 4], CPU, as_made=as_made)
    assert given is not None
    assert given.metas == (second.metas[0], first.metas[0], second.metas[0])
    assert (given.canvas, given.pixels) == ((8, 12), None)
    assert [(one.stride, one.temporal_stride) for one in given.maps] == [(2, 1), (4, 2)]
    for place, made in enumerate(given.maps):
        one, other = (part.maps[place].values for part in (first, second))
        assert made.values.dtype == one.dtype
        assert torch.equal(made.values, torch.stack([other[0], one[0], other[0]]))
        assert made.values.is_contiguous() == (not as_made or place == 1)
        assert not as_made or made.values.stride() == one.stride()
    assert first.vector is not None
    assert second.vector is not None
    assert given.vector is not None
    assert torch.equal(given.vector, torch.stack([second.vector[0], first.vector[0], second.vector[0]]))
    assert found.batch([3], CPU) is None


def test_all_views_of_a_sample_come_together(tmp_path: Path) -> None:
    made = batch([0, 1, 2], views=2)
    given = cached(tmp_path, made).batch([2, 0], CPU)
    assert given is not None
    assert [(meta.id, meta.view) for meta in given.metas] == [(2, 0), (2, 1), (0, 0), (0, 1)]
    assert torch.equal(given.maps[0].values, made.maps[0].values[[4, 5, 0, 1]])


def test_maps_alone_have_no_vector_and_nothing_at_all_has_no_batch(tmp_path: Path) -> None:
    made = batch([0])
    alone = cached(tmp_path / "maps", HeadFeatures(None, made.maps, made.canvas, made.metas))
    given = alone.batch([0], CPU)
    assert given is not None
    assert given.vector is None
    assert len(given.maps) == 2
    nothing = cached(tmp_path / "nothing", None, skipped=(Skipped(0, "0.png", "cut"),))
    assert (len(nothing), nothing.batch([0], CPU), len(nothing.skipped)) == (0, None, 1)
