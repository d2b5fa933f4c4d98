"""`sslkit index eval`: how good an index is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sslkit.cli.filters import LabelOption, PathOption, TimeOption, WhereOption, where_of
from sslkit.cli.output import Json, print_json
from sslkit.errors import ConfigError


def add_to(index_app: typer.Typer) -> None:
    """Add the command of this file to the group `index`."""
    index_app.command(
        "eval", epilog="Example: `sslkit index eval photos.index --queries-where \"path LIKE 'query/%'\"`"
    )(evaluate)


def evaluate(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="An index folder.")],
    k: Annotated[str, typer.Option("-k", "--k", metavar="K,K,...", help="Neighbours.")] = "1,10,100",
    queries: Annotated[int, typer.Option(min=0, help="Most queries, drawn by key; 0 for all.")] = 1000,
    queries_where: Annotated[
        str,
        typer.Option(
            metavar="SQL",
            help="Items that are queries, and the rest the gallery; default: each among the others.",
        ),
    ] = "",
    where: WhereOption = None,
    label: LabelOption = None,
    path: PathOption = None,
    time: TimeOption = None,
    seed: Annotated[int, typer.Option(help="Of the draw of queries.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Page (.html) to write.")] = None,
    json: Json = False,
) -> None:
    """Measure recall and time against exact search and, with labels, how well neighbours are of one class.

    Recall@K is 1 where one of the K nearest is of the query's class; mAP@R and R-precision divide by R, the
    number of items of that class; MRR is one divided by the rank of the first of them.
    """
    from sslkit.runs.index_eval import evaluate_index

    found = evaluate_index(
        index,
        ks=_numbers(k),
        queries=queries,
        queries_where=queries_where,
        where=where_of(where, label, path, time),
        seed=seed,
    )
    if out is not None:
        found.write_page(out)
    print_json(found.to_dict()) if json else typer.echo(found.to_text())


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--k {text}: whole numbers with commas are needed, such as 1,10,100") from error
