"""The EMB folder: what goes in comes out, whatever the names; damage is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sslkit.errors import ArtifactError, ConfigError
from sslkit.retrieval.embed import EmbeddingSet, read_embeddings, write_embeddings

STRANGE = [
    'says "hello".png',
    "a, b;c.png",
    "line\nbreak\r\nand\rreturn.png",
    "naïve/図書館/😀.png",
    "  spaces \t",
    "undecodable \udce9.png",
    "' OR 1=1; --",
    "",
    "-1",
    "#comment",
]


@dataclass
class Rows:
    ids: Tensor
    embeddings: Tensor
    labels: Tensor


def rows(ids: Iterable[int], dim: int = 4) -> Rows:
    numbers = torch.tensor(list(ids), dtype=torch.int64)
    values = torch.sin(numbers[:, None] * 1.7 + torch.arange(dim))
    return Rows(numbers, values, numbers % 3 - 1)


def write(out: Path, chunks: Iterable[Rows], **changed: Any) -> EmbeddingSet:
    options: dict[str, Any] = {
        "dtype": "float32",
        "model_hash": "abc",
        "preprocessing": {"size": 32},
        "source_fingerprint": "def",
        "classes": ["cat", "dog"],
    }
    return write_embeddings(out, chunks, lambda id: STRANGE[id % len(STRANGE)], **{**options, **changed})


def test_everything_comes_back(tmp_path: Path) -> None:
    chunks = [rows(range(7)), rows([20, 9, 8])]
    found = write(tmp_path / "emb", chunks)
    assert found.ids.tolist() == [*range(7), 20, 9, 8]
    assert found.names == [STRANGE[id % len(STRANGE)] for id in found.ids]
    assert found.labels.tolist() == [id % 3 - 1 for id in found.ids]
    np.testing.assert_array_equal(found.vectors, torch.cat([c.embeddings for c in chunks]).numpy())
    assert (found.model_hash, found.classes, found.preprocessing) == ("abc", ("cat", "dog"), {"size": 32})
    assert found.source_fingerprint == "def"
    assert isinstance(found.vectors, np.memmap)
    again = read_embeddings(tmp_path / "emb")
    assert again.names == found.names


def test_moments_keep_their_times_to_the_bit_beside_stills(tmp_path: Path) -> None:
    times = {1: (1 / 3, 0.1 + 0.2), 2: (0.0, 1e9 / 7)}
    found = write(tmp_path / "emb", [rows(range(4))], times_of=times.get, address="/photos")
    assert found.times is not None
    np.testing.assert_array_equal(found.times, [(np.nan,) * 2, times[1], times[2], (np.nan,) * 2])
    assert found.address == "/photos"
    assert write(tmp_path / "stills", [rows(range(4))]).times is None


def test_a_folder_of_before_times_and_addresses_is_read(tmp_path: Path) -> None:
    write(tmp_path / "emb", [rows(range(3))])
    (tmp_path / "emb" / "items.csv").write_text("id,name,label\n0,a.png,\n1,b.png,1\n2,c.png,0\n")
    described = json.loads((tmp_path / "emb" / "embed.json").read_text())
    del described["address"]
    (tmp_path / "emb" / "embed.json").write_text(json.dumps(described))
    found = read_embeddings(tmp_path / "emb")
    assert (found.names, found.labels.tolist()) == (["a.png", "b.png", "c.png"], [-1, 1, 0])
    assert (found.times, found.address) == (None, "")


def test_any_numpy_reads_the_vectors(tmp_path: Path) -> None:
    write(tmp_path / "emb", [rows([id]) for id in range(1000)], dtype="float16")
    vectors = np.load(tmp_path / "emb" / "embeddings.npy")
    assert (vectors.shape, vectors.dtype) == ((1000, 4), np.float16)
    np.testing.assert_allclose(vectors, rows(range(1000)).embeddings.numpy(), atol=1e-3)


def test_the_description_says_who_made_it(tmp_path: Path) -> None:
    write(tmp_path / "emb", [rows(range(3))])
    described = json.loads((tmp_path / "emb" / "embed.json").read_text())
    assert described["count"] == 3
    assert described["dim"] == 4
    assert described["sslkit"]


def test_chunks_are_written_as_they_come(tmp_path: Path) -> None:
    def chunks() -> Iterator[Rows]:
        yield rows(range(20_000, 60_000))
        (array,) = tmp_path.glob(".emb.*.tmp/embeddings.npy")
        assert array.stat().st_size > 500_000
        yield rows(range(3))

    assert len(write(tmp_path / "emb", chunks())) == 40_003


def test_empty_chunks_are_passed_over_and_no_row_at_all_is_refused(tmp_path: Path) -> None:
    empty = Rows(torch.empty(0, dtype=torch.int64), torch.empty(0, 0), torch.empty(0, dtype=torch.int64))
    assert len(write(tmp_path / "emb", [empty, rows([1]), empty])) == 1
    with pytest.raises(ArtifactError, match="no embedding"):
        write(tmp_path / "none", [empty])
    assert [path.name for path in tmp_path.iterdir()] == ["emb"]


def test_an_interrupted_write_leaves_nothing_and_the_old_set_as_it_was(tmp_path: Path) -> None:
    def dying() -> Iterator[Rows]:
        yield rows(range(5))
        raise KeyboardInterrupt

    write(tmp_path / "emb", [rows(range(3))])
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "emb", dying(), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["emb"]
    assert len(read_embeddings(tmp_path / "emb")) == 3


def test_an_existing_set_is_refused_before_any_work(tmp_path: Path) -> None:
    def unreached() -> Iterator[Rows]:
        raise AssertionError("the backbone ran for nothing")
        yield

    write(tmp_path / "emb", [rows(range(3))])
    with pytest.raises(ConfigError, match="would be lost"):
        write(tmp_path / "emb", unreached())
    assert len(write(tmp_path / "emb", [rows(range(4))], overwrite=True)) == 4


def test_repeated_ids_and_changing_widths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"2 ids occur more than once: 3, 4"):
        write(tmp_path / "emb", [rows(range(5)), rows([3, 4, 5])])
    with pytest.raises(ArtifactError, match="5 dimensions after some of 4"):
        write(tmp_path / "emb", [rows(range(5)), rows([6], dim=5)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("value", "dtype"), [(1e5, "float16"), (float("nan"), "float32")])
def test_values_that_do_not_fit_are_refused_with_their_ids(tmp_path: Path, value: float, dtype: str) -> None:
    chunk = rows(range(10, 15))
    chunk.embeddings[2, 1] = value
    with pytest.raises(ArtifactError, match=f"not finite as {dtype}: ids 12"):
        write(tmp_path / "emb", [chunk], dtype=dtype)


def damage(folder: Path, how: str) -> None:
    array, items, described = (folder / name for name in ("embeddings.npy", "items.csv", "embed.json"))
    if how == "cut vectors":
        array.write_bytes(array.read_bytes()[:-7])
    elif how == "cut header":
        array.write_bytes(array.read_bytes()[:20])
    elif how == "no vectors":
        array.unlink()
    elif how == "other dtype":
        np.save(array, np.load(array).astype(np.float64))
    elif how == "pickle":
        np.save(array, np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    elif how == "cut items":
        items.write_text("".join(items.read_text("utf-8", "surrogateescape").splitlines(True)[:2]))
    elif how == "no items":
        items.unlink()
    elif how == "items of words":
        items.write_text("id,name,label\none,a.png,2\n")
    elif how == "words for times":
        items.write_text(
            "id,name,label,start,stop\n" + "".join(f"{id},a.png,2,now,then\n" for id in range(5))
        )
    elif how == "half a row":
        items.write_text("id,name,label,start,stop\n" + "".join(f"{id},a.png,2\n" for id in range(5)))
    elif how == "empty items":
        items.write_text("")
    elif how == "repeated id":
        items.write_text("id,name,label\n" + "1,a.png,0\n" * 5)
    elif how == "no description":
        described.unlink()
    elif how == "count":
        described.write_text(described.read_text().replace('"count": 5', '"count": 6'))


@pytest.mark.parametrize(
    "how",
    [
        "cut vectors",
        "cut header",
        "no vectors",
        "other dtype",
        "pickle",
        "cut items",
        "no items",
        "items of words",
        "words for times",
        "half a row",
        "empty items",
        "repeated id",
        "no description",
        "count",
    ],
)
def test_a_damaged_set_is_refused(tmp_path: Path, how: str) -> None:
    write(tmp_path / "emb", [rows(range(5))])
    damage(tmp_path / "emb", how)
    with pytest.raises(ArtifactError):
        read_embeddings(tmp_path / "emb")
