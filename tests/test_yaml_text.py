"""YAML as people write it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sslkit.errors import ConfigError
from sslkit.yaml_text import line_of, parse_value, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-2E+5", -2e5),
        ("1.5e-3", 1.5e-3),
        ("12", 12),
        ("e3", "e3"),
        ("1e", "1e"),
        ("true", True),
        ("null", None),
        ("", None),
        ("'1e-3'", "1e-3"),
        ("[1, a]", [1, "a"]),
        ("{p: 0.5}", {"p": 0.5}),
    ],
)
def test_values_mean_what_they_look_like(text: str, value: Any) -> None:
    read = parse_value(text, "here")
    assert read == value
    assert type(read) is type(value)


def test_infinity_is_still_a_number() -> None:
    assert math.isinf(parse_value(".inf", "here"))


def test_an_empty_text_is_an_empty_mapping() -> None:
    assert parse_yaml("# nothing\n", "here") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "line 1, column 5"),
        ("seed: 1\nseed: 2", "line 2, column 1: key 'seed' is given twice"),
        ("a:\n  b: 1\n  b: 2", "line 3"),
        ("- a", "not a list"),
        ("1: a", "keys are words"),
        ("a: !!python/object/apply:os.getcwd []", "line 1"),
    ],
)
def test_what_is_no_mapping_of_plain_values_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="here") as caught:
        parse_yaml(text, "here")
    assert said in str(caught.value)


def test_merged_keys_may_be_given_again() -> None:
    assert parse_yaml("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  x: 3\n", "here")["b"] == {"x": 3, "y": 2}


@pytest.mark.parametrize(
    ("path", "line"), [("a", 1), ("a.b", 2), ("c", 3), ("a.none", 1), ("none", None), ("c.deep", 3)]
)
def test_the_line_of_a_key_or_of_its_section(path: str, line: int | None) -> None:
    assert line_of("a:\n  b: 1\nc: 2\n", path) == line
