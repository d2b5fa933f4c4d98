"""`sslkit report`: transfer matrices side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sslkit.cli.output import Json, print_json


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog="Example: `sslkit report transfer/first transfer/second --out compared.html`")(report)


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER", help="Folders that `sslkit transfer` wrote.")
    ],
    out: Annotated[Path | None, typer.Option(help="Page to write, one HTML file.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare what other protocols measured too, and mark it.")
    ] = False,
    leaderboard: Annotated[
        Path | None, typer.Option(help="File that gets a line for every row, without doubles.")
    ] = None,
    json: Json = False,
) -> None:
    """Put the backbones of several transfer matrices into one."""
    from sslkit.runs.compare import compare

    found = compare(folders, out=out, force=force, leaderboard=leaderboard)
    if json:
        print_json(found.to_dict())
    else:
        typer.echo(found.to_text())
