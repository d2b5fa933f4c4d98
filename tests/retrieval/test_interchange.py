"""Vectors of other programs: what can be used is read as it is, and what cannot is refused by its rows."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.errors import DataError
from sslkit.retrieval.interchange import ITEM_COLUMNS, imported
from sslkit.retrieval.metadata import read_metadata


def matrix(rows: int = 6, dim: int = 4) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal((rows, dim))


def saved(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_a_matrix_alone_has_row_numbers_for_ids_and_names(tmp_path: Path, dtype: str) -> None:
    path = saved(tmp_path / "x.npy", matrix().astype(dtype))
    read = imported(path)
    np.testing.assert_array_equal(read.vectors, matrix().astype(dtype))
    assert read.ids.tolist() == list(range(6))
    assert list(read.names) == ["0", "1", "2", "3", "4", "5"]
    assert read.labels.tolist() == [-1] * 6
    assert read.model_hash == "imported:" + hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    assert imported(path, model_hash="clip").model_hash == "clip"


def test_a_table_gives_ids_names_labels_times_and_metadata(tmp_path: Path) -> None:
    path, table = saved(tmp_path / "x.npy", matrix(4)), tmp_path / "items.csv"
    table.write_text("id,name,label,start,stop,year\n7,a,10,,,1\n3,b,9,0,1.5,2\n5,b,,1.5,2,2\n9,c,cat,,,\n")
    read = imported(path, table, address="photos/")
    assert read.ids.tolist() == [7, 3, 5, 9]
    assert list(read.names) == ["a", "b", "b", "c"]
    assert list(read.classes) == ["9", "10", "cat"]
    assert read.labels.tolist() == [1, 0, -1, 2]
    assert read.times is not None
    np.testing.assert_array_equal(read.times, [[np.nan] * 2, [0, 1.5], [1.5, 2], [np.nan] * 2])
    assert read.address == "photos/"
    assert read_metadata(table, leave_out=ITEM_COLUMNS) == {"a": {"year": 1}, "b": {"year": 2}, "c": {}}


def test_items_without_names_are_called_by_their_ids(tmp_path: Path) -> None:
    path, table = saved(tmp_path / "x.npy", matrix(2)), tmp_path / "items.json"
    table.write_text('[{"id": 40}, {"id": 2, "label": 3}]')
    read = imported(path, table)
    assert (list(read.names), list(read.classes), read.labels.tolist()) == (["40", "2"], ["3"], [-1, 0])


def rows_with(value: float) -> NDArray[np.float64]:
    array = matrix(20_000, 3)
    array[[4, 17_000], 1] = value
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (rows_with(np.nan), "2 of 20000 .* not finite as float32 at rows 4, 17000;"),
        (rows_with(1e300), "2 of 20000 .* not finite as float32 at rows 4, 17000;"),
        (rows_with(0) * [[0, 1, 0]], "2 of 20000 .* all zero.* at rows 4, 17000;"),
        (matrix()[0], r"the shape \(4,\)"),
        (matrix()[None], r"the shape \(1, 6, 4\)"),
        (matrix()[:0], r"the shape \(0, 4\)"),
        (matrix().astype(int), "holds int64"),
        (matrix().astype(complex), "holds complex128"),
        (np.asfortranarray(matrix()), "Fortran order"),
        (np.array([{}, []], object), "cannot be read as a matrix"),
    ],
)
def test_a_matrix_that_cannot_be_used_is_refused(tmp_path: Path, array: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        imported(saved(tmp_path / "x.npy", array))


def test_files_that_are_no_matrix_are_refused(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.save(whole, matrix())
    path = tmp_path / "x.npy"
    for content in (b"", b"not numpy at all", whole.getvalue()[:-8], whole.getvalue()[:60]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as a matrix"):
            imported(path)
    with path.open("wb") as file:
        np.savez(file, a=matrix())
    with pytest.raises(DataError, match="several arrays"):
        imported(path)
    with pytest.raises(DataError, match="no file"):
        imported(tmp_path / "nowhere.npy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\na\nb\n", "has 2 rows, .* 3"),
        ("id,name\n5,a\n6,b\n5,c\n", "ids a second time in rows 2, such as 5"),
        ("id,name\n-1,a\n6,b\n5,c\n", "no usable id in rows 0, such as -1"),
        ("id,name\n1.5,a\n6,b\n5,c\n", "no usable id in rows 0, 1, 2"),
        ("id,name\n1,a\n,b\n5,c\n", "no usable id in rows 1, such as None"),
        ("id,name\nx,a\n6,b\n5,c\n", "no usable id in rows 0, 1, 2, such as 'x'"),
        ("name,n\na,1\nb,1\na,2\n", "names a second time in rows 2, such as 'a'"),
        ("name,n\na,1\n,1\na,2\n", "no name in rows 1;"),
        ("name,start,stop\na,0,1\na,0,2\na,1,2\n", "names a second time in rows 1,"),
        ("name,start,stop\na,0,1\nb,2,1\nc,0,\n", "no usable start and stop in rows 1, 2;"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "items.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        imported(saved(tmp_path / "x.npy", matrix(3)), tmp_path / "items.csv")


def test_the_address_is_known_where_the_ids_are_those_of_one_data_set(tmp_path: Path) -> None:
    path, table = saved(tmp_path / "x.npy", matrix(2)), tmp_path / "items.csv"
    for cells, address in (
        ("7,photos,7\n9,photos,9\n", "photos"),
        ("7,photos,0\n9,photos,1\n", ""),
        ("7,photos,7\n9,others,9\n", ""),
        ("7,,7\n9,,9\n", ""),
    ):
        table.write_text("id,source,sample\n" + cells)
        assert imported(path, table).address == address
        assert imported(path, table, address="own").address == "own"
