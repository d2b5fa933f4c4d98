"""The options that say which items of an index are meant, for every command that takes some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sslkit.errors import ConfigError

if TYPE_CHECKING:
    from sslkit.retrieval.filters import Where

WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="SQL",
        help="Only items for which this holds, as behind WHERE in SQLite: \"label = 'cat' AND year > 2010\". "
        "It may name id, path, label, start, stop, source, sample and the keys of the metadata.",
    ),
]
LabelOption = Annotated[str | None, typer.Option("--label", metavar="NAME", help="Only items of this class.")]
PathOption = Annotated[
    str | None,
    typer.Option(
        "--path",
        metavar="GLOB",
        help="Only items whose path matches, such as '2024/*.jpg'; * also matches /.",
    ),
]
TimeOption = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="A-B",
        help="Only moments of videos that overlap these seconds: 3-5, 90-, 1:30-2:00.",
    ),
]


def where_of(where: str | None, label: str | None, path: str | None, time: str | None) -> Where | None:
    """The condition that the options make together, None where none was given; raises ConfigError."""
    if (where, label, path, time) == (None, None, None, None):
        return None
    from sslkit.retrieval.filters import Where
    from sslkit.retrieval.times import span_of

    if where is not None and not where.strip():
        raise ConfigError("--where is empty; write a condition such as \"label = 'cat'\", or leave it out")
    return Where(where or "", label, path, None if time is None else span_of(time))
