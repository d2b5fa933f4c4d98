"""What others find in an exported index: each vector with its item, and nothing that was removed."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours.picker import Wanted
from sslkit.neighbours.searching import search_numpy
from sslkit.retrieval import exported
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.retrieval.exported import COLUMNS, export
from sslkit.retrieval.interchange import ITEM_COLUMNS, imported
from sslkit.retrieval.metadata import read_metadata

NAMES = [f"photo {row}.jpg" for row in range(18)] + ['a "quoted", name', "two\nlines, ünï"]
METADATA: dict[str, dict[str, Any]] = {
    "photo 3.jpg": {"year": 2011, "who": 'O\'Hara, "Kate"', "score": 1, "mixed": 3, "tags": ["a", "b"]},
    "photo 4.jpg": {"year": -2, "score": 0.5, "mixed": "x", "good": True, "name": "own"},
}


def embeddings(count: int = 20, dim: int = 6, **changed: Any) -> EmbeddingSet:
    given: dict[str, Any] = {
        "vectors": np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32),
        "ids": np.arange(count, dtype=np.int64) * 10 + 2**40,
        "names": NAMES if count == 20 else [str(row) for row in range(count)],
        "labels": np.arange(count, dtype=np.int64) % 3 - 1,
        "model_hash": "abc123",
        "classes": ("cat", "dog"),
        "preprocessing": {"size": 32},
        "address": "photos/",
        "times": np.where(np.arange(count)[:, None] == 5, [[0.5, 2.0]], np.nan),
    }
    return EmbeddingSet(**{**given, **changed})


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index.build(embeddings(), tmp_path / "index", metadata=METADATA)


def table(folder: Path) -> list[dict[str, Any]]:
    """The rows of the table of items, as another program reads them."""
    if (folder / "items.parquet").exists():
        rows: list[dict[str, Any]] = (
            pytest.importorskip("pyarrow.parquet").read_table(folder / "items.parquet").to_pylist()
        )
        return rows
    with (folder / "items.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def check_whole(folder: Path, index: Index) -> None:
    """Every living item is there, with its vector, in all three files."""
    ids = index.ids()
    rows, vectors = table(folder), np.load(folder / "vectors.npy")
    assert [int(row["id"]) for row in rows] == ids.tolist()
    assert [row["name"] for row in rows] == [item.name for item in index.items(ids.tolist())]
    np.testing.assert_array_equal(vectors, index.vectors(ids.tolist()))
    searched = faiss.read_index(str(folder / "index.faiss"))
    similarities, found = search_numpy(searched)(vectors, 1)
    assert found[:, 0].tolist() == ids.tolist()
    np.testing.assert_allclose(similarities, 1, atol=1e-5)
    assert {file.name for file in folder.iterdir()} - {"items.csv", "items.parquet"} == {
        "vectors.npy",
        "index.faiss",
        "export.json",
    }


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_every_item_is_in_each_file_with_all_that_is_known_of_it(
    index: Index, tmp_path: Path, kind: Any
) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    described = export(index, tmp_path / "out", table=kind)
    check_whole(tmp_path / "out", index)
    assert described == json.loads((tmp_path / "out" / "export.json").read_text("utf-8"))
    assert (described["items"], described["model_hash"], described["metric"]) == (
        f"items.{kind}",
        "abc123",
        "cosine",
    )
    rows = table(tmp_path / "out")
    assert list(rows[0]) == [*COLUMNS, "good", "mixed", "metadata_name", "score", "tags", "who", "year"]
    row = rows[3] if kind == "parquet" else {key: value or None for key, value in rows[3].items()}
    expected = {
        "id": 2**40 + 30,
        "name": "photo 3.jpg",
        "label": None,
        "start": None,
        "stop": None,
        "source": "photos/",
        "sample": 2**40 + 30,
        "good": None,
        "mixed": "3",
        "metadata_name": None,
        "score": 1.0,
        "tags": '["a", "b"]',
        "who": 'O\'Hara, "Kate"',
        "year": 2011,
    }
    if kind == "csv":
        expected = {key: None if value is None else str(value) for key, value in expected.items()} | {
            "score": "1"
        }
    assert row == expected
    assert [row["label"] or None for row in rows[:4]] == [None, "cat", "dog", None]
    assert rows[4]["mixed"] == '"x"'
    assert (float(rows[5]["start"]), float(rows[5]["stop"])) == (0.5, 2.0)


def test_an_exported_index_is_built_again_from_its_files(index: Index, tmp_path: Path) -> None:
    index.remove([2**40])
    for kind in ("csv", "parquet"):
        if kind == "parquet":
            pytest.importorskip("pyarrow")
        folder = tmp_path / kind
        export(index, folder, table=kind)  # type: ignore[arg-type]
        items = folder / f"items.{kind}"
        given = imported(folder / "vectors.npy", items, model_hash="abc123")
        metadata = read_metadata(items, leave_out=ITEM_COLUMNS)
        with Index.build(given, tmp_path / f"{kind}.index", metadata=metadata) as again:
            assert again.ids().tolist() == index.ids().tolist()
            ids = index.ids().tolist()
            np.testing.assert_allclose(again.vectors(ids), index.vectors(ids), atol=1e-7)
            for new, old in zip(again.items(ids), index.items(ids), strict=True):
                assert (new.id, new.name, new.start, new.stop, new.source, new.sample) == (
                    old.id,
                    old.name,
                    old.start,
                    old.stop,
                    old.source,
                    old.sample,
                )
                assert (new.label is None) == (old.label is None)
                if new.label is not None and old.label is not None:
                    assert again.classes[new.label] == index.classes[old.label]
            assert again.items([2**40 + 30])[0].metadata["year"] == 2011


def test_what_was_removed_or_added_since_is_as_it_is_now(index: Index, tmp_path: Path) -> None:
    index.remove([2**40 + 10, 2**40 + 190])
    more = embeddings(address="others/", vectors=np.eye(20, 6, dtype=np.float32) + 0.1)
    added = index.add(
        replace(
            more,
            vectors=more.vectors[:3],
            ids=more.ids[:3],
            names=NAMES[:3],
            labels=more.labels[:3],
            times=None,
        )
    )
    export(index, tmp_path / "out")
    check_whole(tmp_path / "out", index)
    assert len(table(tmp_path / "out")) == 21
    assert int(table(tmp_path / "out")[-1]["id"]) == added[-1]


def test_a_structure_searches_as_the_index_does(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    given = embeddings(1500, 16, vectors=random.standard_normal((1500, 16)).astype(np.float32))
    with Index.build(given, tmp_path / "index", wanted=Wanted(kind="ivf_sq8", recall=0.8)) as index:
        described = export(index, tmp_path / "out")
        assert (
            described["faiss"] == "IndexIDMap2 over IndexRefine over IndexIVFScalarQuantizer over IndexFlatIP"
        )
        queries = index.vectors(index.ids().tolist())[:100]
        ids, similarities = index.nearest(queries, 10, model_hash="abc123")
        searched = faiss.read_index(str(tmp_path / "out" / "index.faiss"))
        found = search_numpy(searched)(queries, 10)
        np.testing.assert_array_equal(found[1], ids)
        np.testing.assert_allclose(found[0], similarities, atol=1e-5)
        index.remove(index.ids()[:1].tolist())
        assert export(index, tmp_path / "less")["faiss"] == "IndexIDMap2 over IndexFlatIP"
        index.compact()
        assert "IVF" in export(index, tmp_path / "again")["faiss"]


def test_names_that_are_no_text_are_written_as_csv(tmp_path: Path) -> None:
    names = [*NAMES[:19], "bad \udce9.jpg"]
    with Index.build(embeddings(names=names), tmp_path / "index") as index:
        assert export(index, tmp_path / "out")["items"] == "items.csv"
        assert (
            imported(tmp_path / "out" / "vectors.npy", tmp_path / "out" / "items.csv").names[19] == names[19]
        )
        with pytest.raises(ConfigError, match="no UTF-8"):
            export(index, tmp_path / "other", table="parquet")
    assert not (tmp_path / "other").exists()


def test_without_pyarrow_csv_is_written_and_parquet_refused(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported, "find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    assert export(index, tmp_path / "out")["items"] == "items.csv"
    with pytest.raises(ConfigError, match=r"pip install 'sslkit\[parquet\]'"):
        export(index, tmp_path / "other", table="parquet")
    with pytest.raises(ConfigError, match=r"pip install 'sslkit\[parquet\]'"):
        read_metadata(tmp_path / "items.parquet")


def test_nothing_is_left_of_an_export_that_failed(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="table='xml'"):
        export(index, tmp_path / "out", table="xml")  # type: ignore[arg-type]
    export(index, tmp_path / "out")
    with pytest.raises(ConfigError, match="would be lost"):
        export(index, tmp_path / "out")
    export(index, tmp_path / "out", overwrite=True)
    write = exported._write_vectors

    def changing(*given: Any) -> None:
        write(*given)
        index.remove(index.ids()[-1:].tolist())

    monkeypatch.setattr(exported, "_write_vectors", changing)
    with pytest.raises(ArtifactError, match=r"changed while|no item"):
        export(index, tmp_path / "late")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "out"]
    monkeypatch.undo()
    index.remove(index.ids().tolist())
    with pytest.raises(ArtifactError, match="is empty"):
        export(index, tmp_path / "empty")


def test_the_documented_loops_read_an_export(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    export(index, tmp_path / "photos.export")
    np.save(tmp_path / "queries.npy", 3 * index.vectors(index.ids().tolist()))
    monkeypatch.chdir(tmp_path)
    told = (Path(__file__).parents[2] / "docs" / "retrieval.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", told, re.DOTALL)
    searching, upserting = (
        next(block for block in blocks if word in block) for word in ("faiss.read_index", "upsert(points)")
    )
    names: dict[str, Any] = {}
    exec(searching, names)
    assert names["ids"][:, 0].tolist() == index.ids().tolist()
    points: list[dict[str, Any]] = []
    exec(upserting, {"upsert": points.extend})
    assert [point["id"] for point in points] == index.ids().tolist()
    np.testing.assert_array_equal(
        np.array([point["vector"] for point in points], np.float32), index.vectors(index.ids().tolist())
    )
    assert points[3]["payload"]["year"] == 2011
