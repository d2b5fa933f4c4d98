"""results.json holds all of it, and is described field by field."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from sslkit.contracts import Curve
from sslkit.errors import ArtifactError
from sslkit.evaluation.leaderboard import Entry
from sslkit.evaluation.rows import Row
from sslkit.evaluation.transfer_results import RESULTS, Overlap, Subject, TransferResults, read_results
from tests.evaluation.transfer_rows import failed, grid, results, row

PAGE = Path(__file__).parents[2] / "docs" / "results-format.md"


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    written = replace(
        results(row("knn", "run", 0, 0.6), row("knn", "random", 0, 0.4), failed("flow", "run", 0, "図")),
        overlaps=(
            Overlap("run", "knn", 0.5, (("a.jpg", "b.jpg", 0.99),)),
            Overlap("run", "flow", reason="no pictures"),
        ),
        seconds={"measuring": 1.5},
    )
    written.write(tmp_path)
    assert read_results(tmp_path) == written


def test_what_is_no_number_can_be_written(tmp_path: Path) -> None:
    holes = replace(grid({"knn": {"run": 0.6}}), environment={"load": math.nan}, seconds={"all": math.inf})
    holes = replace(holes, rows=tuple(replace(one, resamples=(math.nan,)) for one in holes.rows))
    holes.write(tmp_path)
    assert read_results(tmp_path).environment == {"load": None}
    json.loads((tmp_path / RESULTS).read_text("utf-8"), parse_constant=lambda name: pytest.fail(name))


def test_the_rows_of_a_cell_are_in_the_order_of_seeds() -> None:
    made = results(*(row("knn", "run", seed, 0.6) for seed in (2, 0, 1)), row("linear", "run", 0, 0.5))
    assert [one.seed for one in made.of("knn", "run")] == [0, 1, 2]
    assert made.of("knn", "nobody") == []


def spoilt(change: Any) -> str:
    read = grid({"knn": {"run": 0.6}}, seeds=1).to_dict()
    changed = change(read)
    return json.dumps(read if changed is None else changed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 1}',
        spoilt(lambda read: read.update(format=99)),
        spoilt(lambda read: read.pop("format") and None),
        spoilt(lambda read: read["rows"][0].update(surprise=1)),
        spoilt(lambda read: read["rows"][0].pop("curves") and None),
        spoilt(lambda read: read["rows"].append(None)),
        spoilt(lambda read: read["rows"][0].update(subject="stranger")),
        spoilt(lambda read: read["subjects"][0].pop("weights") and None),
        spoilt(lambda read: read.update(overlaps=[{"subject": "run"}])),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / RESULTS).write_text(text)
    with pytest.raises(ArtifactError, match="give the folder that `sslkit transfer` wrote"):
        read_results(tmp_path)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"results\.json"):
        read_results(tmp_path)


@pytest.mark.parametrize("kind", [TransferResults, Subject, Overlap, Row, Curve, Entry])
def test_every_field_is_described(kind: type) -> None:
    page = PAGE.read_text("utf-8")
    section = re.search(rf"^## {kind.__name__}\b.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section is not None
    described = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", section.group(), re.MULTILINE)
    extra = ["format"] if kind in (TransferResults, Entry) else []
    assert described == [*extra, *(one.name for one in fields(kind))]
