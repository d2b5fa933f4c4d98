"""Templates: `$words` are filled in, and blocks are kept for the kinds of heads they are marked for.

    #: pair clip
    lines of heads of pairs and of clips
    #:

A line of `#:` and words begins a block, `#:` alone ends it; both vanish. `$$` is a dollar.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.resources import files
from string import Template

MARK = "#:"


def render(name: str, words: Mapping[str, str], kinds: Collection[str]) -> str:
    """The text of a template in `templates/`, with its words filled in and the blocks of these kinds."""
    text = (files(__package__) / "templates" / f"{name}.tmpl").read_text(encoding="utf-8")
    return Template(select(text, kinds)).substitute(words)


def select(text: str, kinds: Collection[str]) -> str:
    """The lines outside blocks, and those of blocks marked for one of these kinds."""
    kept, wanted = [], True
    for line in text.splitlines(keepends=True):
        mark, *named = line.split() or [""]
        if mark == MARK:
            wanted = not named or not set(named).isdisjoint(kinds)
        elif wanted:
            kept.append(line)
    return "".join(kept)
