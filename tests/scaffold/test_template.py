"""Templates: words are filled in, blocks are kept for their kinds and leave no trace."""

import pytest

from sslkit.scaffold.template import render, select

TEXT = """first
#: pair clip
frames
    #: image
    one
    #:
last $$
"""


@pytest.mark.parametrize(
    ("kinds", "kept"),
    [
        ({"pair"}, ["first", "frames", "last $$"]),
        ({"clip", "label"}, ["first", "frames", "last $$"]),
        ({"image"}, ["first", "    one", "last $$"]),
        (set(), ["first", "last $$"]),
    ],
)
def test_a_block_is_kept_for_the_kinds_it_names(kinds: set[str], kept: list[str]) -> None:
    assert select(TEXT, kinds).splitlines() == kept


def test_words_are_filled_in_and_doubled_dollars_become_one() -> None:
    words = {"distribution": "sslkit-fire", "name": "fire"}
    text = render("test.yml", words, {"image"})
    assert "python-version: ${{ matrix.python }}" in text


def test_a_word_that_nobody_gives_is_an_error() -> None:
    with pytest.raises(KeyError, match="package"):
        render("plugin.py", {"name": "fire", "Head": "FireHead"}, {"image"})
