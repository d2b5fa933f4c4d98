"""Stretches of time are read and written the same way."""

import math

import pytest

from sslkit.errors import ConfigError
from sslkit.retrieval.times import span_of, told_span


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("3-5", (3.0, 5.0)),
        (" 12.5 - 13 ", (12.5, 13.0)),
        ("90-", (90.0, math.inf)),
        ("-5", (0.0, 5.0)),
        ("12.5", (12.5, 12.5)),
        ("1:30-2:00", (90.0, 120.0)),
        ("1:00:02.5-", (3602.5, math.inf)),
        ("0-0", (0.0, 0.0)),
    ],
)
def test_a_stretch_is_read(text, span) -> None:
    assert span_of(text) == span


@pytest.mark.parametrize(
    "text", ["", "-", "5-3", "a-b", "3-5-7", "1:2:3:4", "1e3", "nan", "3,5", "1..2", ":", "٣"]
)
def test_what_is_no_stretch_is_refused_with_an_example(text) -> None:
    with pytest.raises(ConfigError, match="such as 3-5"):
        span_of(text)


def test_a_stretch_is_told_in_seconds() -> None:
    assert told_span(12.5, 13.0) == "12.5-13.0 s"
    assert told_span(0.0, 2 / 3) == "0.0-0.667 s"
    assert told_span(4.0, 4.0) == "4.0 s"
    assert span_of(told_span(61.25, 62.0).removesuffix(" s")) == (61.25, 62.0)
