"""`sslkit search`: the nearest neighbours of pictures, moments of videos, items or vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sslkit.cli.filters import LabelOption, PathOption, TimeOption, WhereOption, where_of
from sslkit.cli.output import Json, print_json


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog="Example: `sslkit search photos.index query.jpg -k 5 --html gallery.html`")(search)


def search(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="An index folder.")],
    queries: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY",
            help="Images; folders of them; file:// addresses; videos, as a whole or walk.avi@12.5 (the frame "
            "or clip at a time) or walk.avi@3-5. A part of one image: photo.jpg#x,y,w,h.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbours per query.")] = 10,
    box: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H", help="Search by this part of each image: pixels of the original, upright."
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Search by items of the index: a text file of ids, one a line."),
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npy", help="Search by vectors: an .npy file or an embeddings folder."),
    ] = None,
    model_hash: Annotated[
        str | None,
        typer.Option(
            metavar="HASH", help="Model that made the vectors of an .npy file that does not say it."
        ),
    ] = None,
    where: WhereOption = None,
    label: LabelOption = None,
    path: PathOption = None,
    time: TimeOption = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every vector, not with the likeliest.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Gallery page to write.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Run or timm model of the index; default: where it was when indexed.")
    ] = None,
    json: Json = False,
) -> None:
    """Find the indexed items nearest to each query."""
    meant = where_of(where, label, path, time)
    from sslkit.runs.search import search as run

    results = run(
        index,
        queries or [],
        k=k,
        where=meant,
        box=box,
        exact=exact,
        ids=ids,
        vectors=vectors,
        model_hash=model_hash,
        html=html,
        model=model,
    )
    if json:
        print_json([result.to_dict() for result in results])
    else:
        for result in results:
            typer.echo(result.to_text())
