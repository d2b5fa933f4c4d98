"""A row survives the way through JSON, whatever was not a number."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import MappingProxyType

import pytest

from sslkit.contracts import Curve
from sslkit.evaluation.rows import Row, in_json
from tests.evaluation.transfer_rows import failed, row


def through(one: Row) -> Row:
    return Row.from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False)))


def test_a_row_comes_back_as_it_was() -> None:
    full = replace(
        row("knn", "run", 2, 0.6),
        per_class={"cat": 0.5, "図": None},
        curves={"roc": Curve((0.0, 1.0), (0.5, 1.0), "far", "tar")},
        source={"domain": "photos", "synthetic": False},
        target={"task": "knn", "nested": {"list": [1, 2]}},
        parameters={"loaded": 10},
        seconds={"features": 1.5},
        transfer={"data": "elsewhere", "figures": {"top1": 0.1}, "gap": -0.5},
        sheet="sheet.png",
    )
    assert through(full) == full
    assert through(failed("knn", "run", 0, "broken")) == failed("knn", "run", 0, "broken")


def test_what_is_no_number_is_null_and_comes_back() -> None:
    empty = replace(
        row("knn", "run", 0, 0.6),
        figures={"top1": math.nan, "top5": None, "map": math.inf},
        resamples=(0.5, math.nan, math.inf),
        curves={"pr": Curve((0.0, 1.0), (math.nan, 1.0), "recall", "precision")},
        transfer={"figures": {"top1": math.nan}, "gap": math.nan},
    )
    assert empty.to_dict()["resamples"] == [0.5, None, None]
    read = through(empty)
    assert read.figures == {"top1": None, "top5": None, "map": None}
    assert read.value is None
    assert read.resamples[0] == 0.5
    assert all(math.isnan(one) for one in read.resamples[1:])
    assert math.isnan(read.curves["pr"].y[0])
    assert read.transfer == {"figures": {"top1": None}, "gap": None}


def test_mappings_that_cannot_be_changed_are_written_too() -> None:
    frozen = replace(
        row("knn", "run", 0, 0.6), target=MappingProxyType({"options": MappingProxyType({"k": 1})})
    )
    assert through(frozen).target == {"options": {"k": 1}}
    assert in_json({1: (2.0, None, True, "x")}) == {"1": [2.0, None, True, "x"]}


def test_the_figure_that_counts_is_the_metrics() -> None:
    assert row("knn", "run", 0, 0.5, figures={"top1": 0.25, "top5": 1.0}).value == 0.25
    assert failed("knn", "run", 0, "broken").value is None


@pytest.mark.parametrize("broken", [{}, {"curves": {}}, {"curves": {}, "resamples": [], "surprise": 1}])
def test_other_terms_are_refused(broken: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError)):
        Row.from_dict(broken)
