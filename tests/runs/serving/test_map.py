"""The map keeps neighbourhoods, and holds 100,000 items."""

from pathlib import Path

import numpy as np
import pytest

from sslkit.neighbours.picker import Wanted
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.runs.serving import map
from sslkit.runs.serving.map import embedding_map, weighted_places


def indexed(folder: Path, count: int, *, clusters: int = 3, dim: int = 8, spread: float = 0.05) -> Index:
    """Items around a few directions; the label is the cluster, some have none."""
    draws = np.random.default_rng(0)
    labels = np.arange(count) % clusters
    vectors = np.eye(dim, dtype=np.float32)[labels] + draws.normal(0, spread, (count, dim)).astype(np.float32)
    known = np.where(np.arange(count) % 7 == 3, -1, labels)
    names = [f"{number}.png" for number in range(count)]
    classes = tuple(f"class {number}" for number in range(clusters))
    embeddings = EmbeddingSet(vectors, np.arange(count), names, known, "hash", classes)
    return Index.build(embeddings, folder / "an.index", wanted=Wanted("flat"))


def share_of_own(made: map.EmbeddingMap, clusters: int) -> float:
    """Share of items whose nearest point on the map is of their own cluster."""
    points = made.points.astype(np.float64)
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(squared, np.inf)
    return float((made.ids[squared.argmin(axis=1)] % clusters == made.ids % clusters).mean())


def test_items_lie_near_their_like(tmp_path) -> None:
    with indexed(tmp_path, 90) as index:
        made = embedding_map(index)
        assert made.ids.tolist() == index.ids().tolist()
        assert made.labels.tolist() == [-1 if id % 7 == 3 else id % 3 for id in made.ids]
        assert share_of_own(made, 3) == 1
        assert made.described == "t-SNE of 90 items"
        assert made.points.max() == 65535
        assert made.points.min() == 0


def test_items_beyond_the_landmarks_lie_among_those_they_are_like(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(map, "LANDMARKS", 60)
    with indexed(tmp_path, 240) as index:
        made = embedding_map(index)
        assert len(made.ids) == 240
        assert share_of_own(made, 3) > 0.99
        assert "60 items; the other 180" in made.described


def test_a_sample_of_very_many_is_shown_and_said_to_be_one(tmp_path) -> None:
    with indexed(tmp_path, 90) as index:
        index.remove([0, 1, 2])
        made = embedding_map(index, most=40)
        assert len(made.ids) == len(set(made.ids.tolist())) == 40
        assert set(made.ids.tolist()) <= set(index.ids().tolist())
        assert "40 of 87 items" in made.described
        assert made.to_bytes() == embedding_map(index, most=40).to_bytes()
        assert made.ids.tolist() != embedding_map(index, most=40, seed=1).ids.tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 15, 16, 17])
def test_a_few_items_are_laid_out_too(tmp_path, count: int) -> None:
    with indexed(tmp_path, count) as index:
        made = embedding_map(index)
        assert len(made.points) == count
        assert ("t-SNE" in made.described) == (count >= 16)


def test_equal_items_lie_on_one_spot(tmp_path) -> None:
    with indexed(tmp_path, 20, spread=0.0) as index:
        made = embedding_map(index)
        assert made.points.dtype == np.uint16


def test_places_are_means_weighted_by_similarity() -> None:
    """Against a plain-loop transcription."""
    draws = np.random.default_rng(1)
    landmarks, vectors = (draws.normal(size=(n, 6)).astype(np.float32) for n in (30, 20))
    landmarks /= np.linalg.norm(landmarks, axis=1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    placed = draws.normal(size=(30, 2)).astype(np.float32)
    found = weighted_places(vectors, landmarks, placed)
    for row, vector in enumerate(vectors.astype(np.float64)):
        similarities = [float(vector @ one) for one in landmarks.astype(np.float64)]
        near = sorted(range(30), key=lambda one: -similarities[one])[:8]
        weights = [np.exp(30 * similarities[one]) for one in near]
        expected = sum(
            w * placed[one].astype(np.float64) for w, one in zip(weights, near, strict=True)
        ) / sum(weights)
        assert found[row] == pytest.approx(expected, abs=1e-4)
    assert np.allclose(weighted_places(landmarks, landmarks, placed), placed)


def test_the_bytes_are_what_the_page_reads(tmp_path) -> None:
    with indexed(tmp_path, 21) as index:
        made = embedding_map(index)
        content = made.to_bytes()
        assert len(content) == 21 * (8 + 4 + 2)
        assert np.frombuffer(content, "<f8", 21).astype(np.int64).tolist() == made.ids.tolist()
        assert np.frombuffer(content, "<u2", 42, 168).reshape(-1, 2).tolist() == made.points.tolist()
        labels = np.frombuffer(content, "<u2", 21, 252)
        assert labels.tolist() == [65535 if label < 0 else label for label in made.labels]


def test_a_hundred_thousand_items_are_laid_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(map, "LANDMARKS", 100)  # t-SNE of the landmarks takes the same for any number
    with indexed(tmp_path, 100_000, clusters=20, dim=32) as index:
        made = embedding_map(index)
        assert len(made.ids) == 100_000
        middles = np.stack([made.points[made.ids % 20 == one].mean(axis=0) for one in range(20)])
        nearest = ((made.points[::100, None].astype(float) - middles[None]) ** 2).sum(axis=-1).argmin(axis=1)
        assert (nearest == made.ids[::100] % 20).mean() > 0.95
