"""`sslkit serve`: look around in an index with a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(epilog="Example: `sslkit serve photos.index --open`")(serve)


def serve(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="An index folder.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="Run or network of the index; default: where it was when indexed.")
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Search an index and see its map in a browser, on this machine alone, until Ctrl-C.

    The address that is printed holds a token; without it nothing is answered.
    """
    from sslkit.runs.serving.server import serve as run

    run(index, port=port, model=model, browser=open, tell=typer.echo)
