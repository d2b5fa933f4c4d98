"""What the page sends is read strictly."""

import math

import pytest

from sslkit.errors import ConfigError
from sslkit.runs.serving.asking import MOST_NEIGHBOURS, Asked, asked_of


def test_a_whole_search_is_read() -> None:
    plain = {
        "item": 3,
        "picture": None,
        "box": [0.1, 0.2, 0.3, 0.4],
        "k": 5,
        "label": "cat",
        "path": "a/*",
        "where": "id > 1",
        "time": "1-",
        "exact": True,
    }
    asked = asked_of(plain)
    assert (asked.item, asked.picture, asked.k, asked.exact) == (3, None, 5, True)
    assert asked.box == (0.1, 0.2, 0.3, 0.4)
    assert asked.where is not None
    assert (asked.where.sql, asked.where.label, asked.where.path) == ("id > 1", "cat", "a/*")
    assert asked.where.time == (1.0, math.inf)


def test_empty_fields_are_no_conditions() -> None:
    plain = {"picture": "key", "label": "", "path": "", "where": "", "time": "", "box": None}
    assert asked_of(plain) == Asked(None, "key", None, 20, None, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"item": None},
        {"picture": "key"},
        {"item": "0"},
        {"item": True},
        {"item": 1.0},
        {"item": None, "picture": 5},
        {"k": 0},
        {"k": MOST_NEIGHBOURS + 1},
        {"k": "5"},
        {"k": True},
        {"label": 3},
        {"path": ["a"]},
        {"where": {"a": 1}},
        {"time": "soon"},
        {"time": 5},
        {"box": [0, 0, 1]},
        {"box": [0, 0, 1, "1"]},
        {"box": [0.5, 0, 0.6, 1]},
        {"box": [-0.1, 0, 0.5, 1]},
        {"box": [0, 0, 0, 1]},
        {"box": [0, 0, math.nan, 1]},
        {"box": {}},
        {"file": "/etc/passwd"},
    ],
)
def test_anything_else_is_refused_in_words(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        asked_of({"item": 0} | wrong)


@pytest.mark.parametrize("wrong", [None, [], "item", 5])
def test_only_an_object_is_a_search(wrong: object) -> None:
    with pytest.raises(ConfigError, match="object"):
        asked_of(wrong)
