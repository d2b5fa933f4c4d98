"""Tables of metadata: the same values from every kind of file, and nothing doubtful is taken."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from sslkit.errors import ConfigError, DataError
from sslkit.retrieval.metadata import read_metadata, read_rows

VALUES: dict[str, dict[str, Any]] = {
    "a.jpg": {"year": 2011, "score": 0.5, "who": 'O\'Hara, "Kate"'},
    "two\nlines.jpg": {"year": -3, "score": 2.0},
    "ünï/日本.jpg": {"year": 0, "who": "ça"},
}


def write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="in the extra parquet")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.Table.from_pylist(rows), path)


def written(path: Path) -> Path:
    """The values as a table of the kind that the name says."""
    rows = [{"name": name, **own} for name, own in VALUES.items()]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(VALUES), "utf-8")
    elif path.suffix == ".parquet":
        write_parquet(rows, path)
    else:
        path.write_text(
            'name,year,score,who\na.jpg,2011,.5,"O\'Hara, ""Kate"""\n"two\nlines.jpg",-3,2e0,\n'
            "ünï/日本.jpg,0,,ça\n",
            "utf-8",
        )
    return path


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet"])
def test_each_kind_of_file_says_the_same(tmp_path: Path, kind: str) -> None:
    found = read_metadata(written(tmp_path / f"table.{kind}"))
    assert found == VALUES
    assert [type(value) for value in found["a.jpg"].values()] == [int, float, str]


def test_a_list_of_objects_is_read_as_an_object_by_name(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps([{"name": name, **own, "gone": None} for name, own in VALUES.items()]))
    assert read_metadata(path) == VALUES


def test_a_column_of_csv_is_numbers_only_where_all_its_cells_are(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,code,mixed,huge,odd\n12,007,1,99999999999999999999,1_0\n13,8,x,2,nan\n")
    assert read_metadata(path) == {
        "12": {"code": "007", "mixed": "1", "huge": 1e20, "odd": "1_0"},
        "13": {"code": "8", "mixed": "x", "huge": 2.0, "odd": "nan"},
    }


def test_bytes_of_names_that_are_no_text_survive(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfname,n\nbad\xff.jpg,1\n")
    assert read_metadata(path) == {"bad\udcff.jpg": {"n": 1}}


def test_parquet_gives_dates_as_text_and_no_value_for_nan(tmp_path: Path) -> None:
    day = datetime.date(2024, 2, 29)
    rows = [{"name": "a", "day": day, "x": float("nan"), "tags": ["u", "v"]}]
    write_parquet(rows, tmp_path / "t.parquet")
    assert read_metadata(tmp_path / "t.parquet") == {"a": {"day": "2024-02-29", "tags": ["u", "v"]}}
    (tmp_path / "t.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match="no Parquet file"):
        read_metadata(tmp_path / "t.parquet")


def test_columns_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,name,label,year\n5,a,cat,1\n")
    with pytest.raises(DataError, match="'id', which conditions use"):
        read_metadata(path)
    assert read_metadata(path, leave_out=("id", "label")) == {"a": {"year": 1}}


def test_a_name_may_come_again_with_the_same_values_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,n\na,1\na,1\n")
    assert read_metadata(path) == {"a": {"n": 1}}
    path.write_text("name,n\na,1\nb,1\na,2\n")
    with pytest.raises(DataError, match="two things of 'a', the second in row 2"):
        read_metadata(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "path,n\na,1\n", r"row 0 .* has no 'name'"),
        ("t.csv", "", "has no rows"),
        ("t.csv", "name,n\n", "has no rows"),
        ("t.csv", "name,n\na,1,2\n", "row 0 .* has 3 cells under 2 headings"),
        ("t.csv", "name,n,n\na,1,2\n", "the column 'n' twice"),
        ("t.csv", "name,\na,1\n", "a column without a name"),
        ("t.csv", "name,Label\na,1\n", "'Label', which conditions use"),
        ("t.csv", "name,year,Year\na,1,2\n", "'Year' and 'year', which SQL takes for one"),
        ("t.csv", 'name,"a""b"\na,1\n', "without double quotes"),
        ("t.json", "[1", "is no JSON"),
        ("t.json", "3", "is no table"),
        ("t.json", "[3]", "row 0 .* is no object"),
        ("t.json", '{"a": 3}', "row 0 .* is no object"),
        ("t.json", '[{"name": "a", "n": NaN}]', "NaN is no JSON value"),
        ("t.json", '[{"name": ["a"]}]', "has no 'name'"),
        ("t.jsonl", '{"name": "a"}\n\n{"name": "b"', "line 3 .* is no JSON"),
        ("t.jsonl", '{"name": "a", "n": 1e999}', "what JSON cannot hold"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_metadata(tmp_path / name)


def test_other_kinds_of_file_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"one of \.csv, \.json, \.jsonl, \.parquet"):
        read_rows(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(tmp_path / "nowhere.csv")
