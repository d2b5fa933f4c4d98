"""`sslkit demo`: the three journeys on generated pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sslkit.cli.output import Json, print_json


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(epilog="Example: `sslkit demo --out sslkit-demo`")(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("sslkit-demo"), json: Json = False
) -> None:
    """Pretrain, evaluate and search on generated pictures, on the CPU, without a download."""
    from sslkit.runs.demo import demo as run

    result = run(out)
    if json:
        print_json(result.to_dict())
    else:
        typer.echo(result.to_text())
