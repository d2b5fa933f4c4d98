"""The benchmark of indexes: its vectors, how a frontier is read, and a small run of some commands."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("bench_index")


def test_made_up_vectors_are_of_unit_length_and_repeat(tools: ModuleType) -> None:
    made = importlib.import_module("index_vectors")
    first, again = (np.concatenate(list(made.blocks(70_000, 16))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (70_000, 16)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert len(np.unique(first[:, 0])) > 60_000
    # Neighbours of one cluster are far nearer than others.
    near = np.sort(first[:200] @ first.T, axis=1)
    assert np.median(near[:, -10]) > np.median(near) + 0.4


def test_the_time_at_a_recall_is_read_between_measurements_that_are_worth_it(tools: ModuleType) -> None:
    peer: Any = importlib.import_module("index_peers").Peer("a", True, dict.fromkeys("abc"), 0.0, 0.0)
    peer.recalls = {"a": 0.8, "b": 0.9, "c": 0.85}  # c takes longer and finds less
    times = {"a": 1.0, "b": 4.0, "c": 5.0}
    assert peer.milliseconds(0.9, times) == pytest.approx(4.0)
    assert peer.milliseconds(0.85, times) == pytest.approx(2.0)
    assert peer.milliseconds(0.5, times) == 1.0
    assert peer.milliseconds(0.95, times) is None


def test_what_is_missing_is_said_and_left_out(
    tools: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("hnswlib", "usearch", "usearch.index"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(importlib.import_module("index_peers"), "ROUNDS", 1)
    given = ["bench_index.py", "peers", "--count", "3000", "--dim", "16", "--kinds", "ivf_sq8"]
    monkeypatch.setattr(sys, "argv", given)
    tools.main()
    lines = capsys.readouterr().out.splitlines()
    assert "hnswlib" in lines[0]
    assert "extra `bench`" in lines[0]
    assert "usearch" in lines[1]
    found = json.loads(lines[-1])
    assert [peer["ours"] for peer in found["peers"]] == [True]
    assert set(found["ours_over_best"].values()) == {None}


def test_time_within_faiss_is_told_from_the_rest(
    tools: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tools, "REPEATS", 1)
    from sslkit.neighbours.flat import FlatIndex

    vectors = FlatIndex.build(np.random.default_rng(0).standard_normal((2_000, 16), dtype=np.float32))
    queries = np.array(vectors.view()[:1000])
    figures = tools._overhead(lambda some: vectors.search(some, 10), queries)
    assert 1 < figures["batch_over_faiss"] < 100
    assert 0 < figures["one_beyond_faiss_ms"] < figures["one_ms"]
