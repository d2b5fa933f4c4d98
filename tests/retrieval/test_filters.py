"""Conditions mean the right items, keep recall, and can do nothing but read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from sslkit.errors import ConfigError, UnknownNameError
from sslkit.neighbours.picker import Wanted
from sslkit.retrieval import filters
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.filters import Where
from tests.retrieval.named_vectors import HASH, embeddings, unit_of, vector_of

NAMES = [f"{'ab'[row % 2]}/{2010 + row % 7}/photo [{row}].jpg" for row in range(58)] + [
    "Größe's.png",
    "bad \udce9.png",
]
TIMES = np.array([[row / 2, row / 2 + 1] if row % 3 == 0 else [np.nan, np.nan] for row in range(60)])


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    labels = np.arange(60) % 4 - 1
    given = embeddings(
        NAMES, labels=labels, classes=("cat", "dog", "it's"), times=TIMES, ids=np.arange(60) * 2
    )
    metadata = {
        name: {"year": 1990 + row, "two words": "x" * row} for row, name in enumerate(NAMES) if row % 2
    }
    folder = tmp_path_factory.mktemp("filters") / "index"
    with Index.build(given, folder, wanted=Wanted(kind="flat"), metadata=metadata) as made:
        made.add(embeddings(["late.jpg"]), metadata={"late.jpg": {"year": 5}})
        made.remove([0, 50])
        yield made


def rows(means: Callable[[int], bool]) -> list[int]:
    return [2 * row for row in range(60) if row not in (0, 25) and means(row)]


MEANT: list[tuple[Where, Callable[[int], bool]]] = [
    (Where("label = 'cat'"), lambda row: row % 4 == 1),
    (Where("label = 'it''s' OR class = 0"), lambda row: row % 4 in (1, 3)),
    (Where("label IS NULL AND id < 100"), lambda row: row % 4 == 0 and row < 50),
    (Where("year BETWEEN 2000 AND 2010 -- a comment"), lambda row: row % 2 == 1 and 10 <= row <= 20),
    (Where('length("two words") > 40 /* one */'), lambda row: row % 2 == 1 and row > 40),
    (Where("path = 'Größe''s.png'"), lambda row: row == 58),
    (Where("sample = 7 AND source = 'set'"), lambda row: row == -1),
    (Where("sample = 14"), lambda row: row == 7),
    (Where("id IN (SELECT 2 UNION SELECT 4)"), lambda row: row in (1, 2)),
    (Where("YEAR IS NOT NULL AND id < 119"), lambda row: row % 2 == 1),
    (Where(label="dog"), lambda row: row % 4 == 2),
    (Where(path="a/*"), lambda row: row % 2 == 0 and row < 58),
    (Where(path="*/2012/photo [[]?[]].jpg"), lambda row: row % 7 == 2 and row < 10),
    (Where(path="bad \udce9*"), lambda row: row == 59),
    (Where(time=(5, 6.25)), lambda row: row % 3 == 0 and row / 2 <= 6.25 and row / 2 + 1 >= 5),
    (Where("year > 2000", "cat", "b/*", (0, 99)), lambda row: row % 12 == 9 and row > 10),
    (Where("0"), lambda row: False),
]


@pytest.mark.parametrize(("where", "means"), MEANT, ids=[str(number) for number in range(len(MEANT))])
def test_a_condition_means_the_items_it_says(
    index: Index, where: Where, means: Callable[[int], bool]
) -> None:
    expected = rows(means)
    assert index.select(where).tolist() == expected
    for item in index.items(expected):
        assert means(item.sample // 2)
    queries = np.stack([vector_of("query"), -vector_of("query")])
    ids, similarities = index.nearest(queries, 7, model_hash=HASH, where=where)
    cosines = np.array([unit_of("query") @ unit_of(NAMES[id // 2]) for id in expected])
    for found, near, sign in zip(ids, similarities, (1, -1), strict=True):
        best = np.argsort(-sign * cosines, kind="stable")[:7]
        assert found[found >= 0].tolist() == [expected[at] for at in best]
        np.testing.assert_allclose(near[: len(best)], sign * cosines[best], atol=1e-6)
    assert [[hit.id for hit in hits] for hits in index.search(queries, 7, model_hash=HASH, where=where)] == [
        row[row >= 0].tolist() for row in ids
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "1) UNION SELECT 1, 2 --",
        "1) UNION SELECT id FROM (SELECT 4 AS id",
        "1) /*",
        "1) OR (1",
        "1 /*",
        "1)) UNION ALL SELECT 0, 0 FROM ((SELECT 1",
        "1 ORDER BY 1",
        "1 LIMIT 1",
        "1; DROP TABLE items",
        "1; ATTACH 'x.sqlite' AS x",
        "ATTACH 'x.sqlite' AS x",
        "PRAGMA query_only = OFF",
        "id IN (DELETE FROM items)",
        "id IN (DELETE FROM items RETURNING id)",
        "load_extension('x')",
        "id IN (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n)",
        "(SELECT count(*) FROM sqlite_master a, pragma_database_list) > 0 AND writefile('x', 'y')",
        "length(hex(zeroblob(90000000))) > 0",
        "nope = 1",
        "label = ?",
        "label = :label",
        "label = @x",
        "=",
        "'",
        '"',
        "(",
        ")",
        "\0",
        "1\0",
        "path = 'bad \udce9.png'",
        "1, 2",
        "year >",
    ],
)
def test_a_condition_that_does_anything_else_is_refused(index: Index, sql: str) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in index.path.iterdir()}
    for ask in (
        lambda: index.select(Where(sql)),
        lambda: index.nearest(vector_of("x")[None], 3, model_hash=HASH, where=Where(sql)),
    ):
        with pytest.raises(
            ConfigError, match=r"cannot be used: (?s:.*)it may name id, path, .*two words, year"
        ):
            ask()
    assert {file.name: file.stat().st_mtime_ns for file in index.path.iterdir()} == before
    assert len(index.select(Where("1"))) == len(index) == 59
    assert index.add(embeddings([]), update=True).tolist() == []


def test_an_endless_condition_is_stopped(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "_STEPS", 100_000)
    tables = ", ".join(f"items {one}" for one in "abcde")
    endless = f"EXISTS (SELECT 1 FROM {tables} WHERE a.name || b.name = c.name || d.name || 'x')"
    with pytest.raises(ConfigError, match="it takes too long"):
        index.select(Where(endless))
    assert len(index.select(Where("sample >= 0"))) == 59


def test_reading_more_than_a_condition_needs_harms_nothing(index: Index) -> None:
    assert len(index.select(Where("(SELECT count(*) FROM state) > 0"))) == 59


def test_an_unknown_class_is_named_with_the_nearest(index: Index) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown class 'cta'; did you mean 'cat'"):
        index.select(Where(label="cta"))


def test_a_time_must_not_end_before_it_starts() -> None:
    for time in ((2.0, 1.0), (float("nan"), 1.0)):
        with pytest.raises(ConfigError, match="must not end before it starts"):
            Where(time=time)
    assert not Where()
    assert not Where("  ")
    assert Where("1")
    assert Where(path="")


def test_as_many_keys_as_there_may_be_can_be_named(tmp_path: Path) -> None:
    metadata = {"a": {f"key {number}": number for number in range(3000)}}
    with Index.build(embeddings(["a", "b"]), tmp_path / "index", metadata=metadata) as index:
        assert index.select(Where('"key 2999" = 2999')).tolist() == [0]
