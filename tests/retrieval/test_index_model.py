"""Random changes of an index, compared after every step with a plain dict and search by loops in float64."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from sslkit.errors import ArtifactError
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.retrieval.filters import Where
from tests.retrieval.named_vectors import HASH, embeddings, unit_of, vector_of

CLASSES = ("cat", "dog", "owl")


@dataclass
class Known:
    """What an item must be."""

    name: str
    version: int
    label: str | None
    year: int | None


@dataclass
class Model:
    """The index and what it must hold, by id."""

    index: Index
    items: dict[int, Known] = field(default_factory=dict)
    given: set[int] = field(default_factory=set)
    serial: int = 0

    def check(self, draw: np.random.Generator) -> None:
        index, items = self.index, self.items
        assert len(index) == len(items)
        assert index.ids().tolist() == sorted(items)
        if not items:
            with pytest.raises(ArtifactError, match="is empty"):
                index.nearest(vector_of("x")[None], 1, model_hash=HASH)
            return
        for id, item in zip(items, index.items(items), strict=True):
            known = items[id]
            label = None if item.label is None else index.classes[item.label]
            own = {} if known.year is None else {"year": known.year}
            assert (item.id, item.name, label, item.metadata) == (id, known.name, known.label, own)
        expected = np.stack([unit_of(known.name, known.version) for known in items.values()])
        np.testing.assert_allclose(index.vectors(items), expected, atol=1e-6)
        blocks = list(index.blocks(5))
        assert sorted(np.concatenate([ids for ids, _ in blocks]).tolist()) == sorted(items)
        for ids, vectors in blocks:
            for id, vector in zip(ids.tolist(), vectors, strict=True):
                np.testing.assert_allclose(vector, unit_of(items[id].name, items[id].version), atol=1e-6)
        wheres: list[tuple[Where | None, Callable[[int, Known], bool]]] = [
            (None, lambda id, known: True),
            (Where(label="dog"), lambda id, known: known.label == "dog"),
            (
                Where("year >= 2005 AND id % 2 = 0"),
                lambda id, known: (known.year or 0) >= 2005 and id % 2 == 0,
            ),
            (Where(path="*1*"), lambda id, known: "1" in known.name),
        ]
        where, means = wheres[int(draw.integers(len(wheres)))]
        allowed = {id for id, known in items.items() if means(id, known)}
        if where is not None and (where.label in index.classes or where.label is None):
            if "year" in where.sql and "year" not in index.keys:
                return
            assert index.select(where).tolist() == sorted(allowed)
        elif where is not None:
            return
        self.search(draw, where, allowed)

    def search(self, draw: np.random.Generator, where: Where | None, allowed: set[int]) -> None:
        k = int(draw.integers(1, 8))
        queries = np.stack(
            [vector_of(f"query {draw.integers(1000)}"), vector_of(self.items[min(self.items)].name)]
        )
        ids, similarities = self.index.nearest(queries, k, model_hash=HASH, where=where)
        hits = self.index.search(queries, k, model_hash=HASH, where=where)
        for query, found, near, told in zip(queries, ids, similarities, hits, strict=True):
            unit = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
            cosines = {
                id: float(unit @ unit_of(self.items[id].name, self.items[id].version)) for id in allowed
            }
            best = sorted(cosines, key=lambda id: -cosines[id])[:k]
            np.testing.assert_allclose(near[: len(best)], [cosines[id] for id in best], atol=1e-6)
            np.testing.assert_allclose(
                near[: len(best)], [cosines[id] for id in found[: len(best)]], atol=1e-6
            )
            assert len(set(found[: len(best)].tolist())) == len(best)
            assert found[len(best) :].tolist() == [-1] * (k - len(best))
            assert np.isneginf(near[len(best) :]).all()
            assert [hit.id for hit in told] == found[: len(best)].tolist()
            assert [hit.name for hit in told] == [self.items[id].name for id in found[: len(best)].tolist()]


New = tuple[EmbeddingSet, int, dict[str, dict[str, int]]]


def some(model: Model, draw: np.random.Generator, *, update: bool) -> New:
    """New samples and the version of their vectors; some are there already where they may be updated."""
    count = int(draw.integers(0 if update and model.items else 1, 6))
    names = [f"n{model.serial + number}" for number in range(count)]
    model.serial += count
    if update and model.items:
        known = draw.choice(list(model.items), int(draw.integers(1, 4)))
        names += sorted({model.items[int(id)].name for id in known})
    names = [names[at] for at in draw.permutation(len(names))]
    version = int(draw.integers(1, 1000))
    labels = draw.integers(-1, 2, len(names))
    classes = CLASSES[:2] if draw.random() < 0.5 else CLASSES[1:]
    metadata = {name: {"year": int(draw.integers(2000, 2010))} for name in names if draw.random() < 0.5}
    return (
        embeddings(names, version, labels=labels, classes=classes),
        version,
        metadata | {"nobody": {"year": 1}},
    )


def note(
    model: Model, ids: list[int], new: EmbeddingSet, version: int, metadata: dict[str, dict[str, int]]
) -> None:
    for row, (id, name) in enumerate(zip(ids, new.names, strict=True)):
        before = model.items.get(id)
        if before is None:
            assert id not in model.given, "an id was given twice"
            model.given.add(id)
        else:
            assert before.name == name
        label = None if new.labels[row] < 0 else new.classes[int(new.labels[row])]
        year = metadata.get(name, {}).get("year", None if before is None else before.year)
        model.items[id] = Known(name, version, label, year)


@pytest.mark.parametrize("seed", range(3))
def test_random_changes_leave_what_a_dict_would_hold(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    first = [f"first{number}" for number in range(10)]
    model = Model(Index.build(embeddings(first, ids=np.arange(10) * 3), tmp_path / "index"))
    note(model, (np.arange(10) * 3).tolist(), embeddings(first), 0, {})
    for step in range(60):
        choice = draw.random()
        generation = model.index.generation
        if choice < 0.35:
            new, version, metadata = some(model, draw, update=False)
            note(model, model.index.add(new, metadata=metadata).tolist(), new, version, metadata)
        elif choice < 0.55:
            new, version, metadata = some(model, draw, update=True)
            note(model, model.index.add(new, update=True, metadata=metadata).tolist(), new, version, metadata)
        elif choice < 0.85 and model.items:
            most = len(model.items) if draw.random() < 0.1 else min(6, len(model.items))
            highest = [max(model.items)] if draw.random() < 0.3 else []
            gone = {
                *draw.choice(list(model.items), int(draw.integers(1, most + 1)), replace=False).tolist(),
                *highest,
            }
            assert model.index.remove(gone) == len(gone)
            for id in gone:
                del model.items[id]
        elif choice < 0.93:
            model.index.compact()
        else:
            model.index.close()
            model.index = Index.load(tmp_path / "index")
            generation -= 1
        assert model.index.generation == generation + 1
        model.check(draw)
        if step % 10 == 0:
            model.index.verify()
    described = json.loads((tmp_path / "index" / "index.json").read_text())
    assert (described["count"], described["generation"]) == (len(model.items), model.index.generation)
    files = {name for segment in described["segments"] for name in segment["files"]}
    assert {file.name for file in (tmp_path / "index").iterdir()} == files | {"items.sqlite", "index.json"}
    model.index.close()
