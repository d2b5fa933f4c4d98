"""`sslkit data ...`: look at data before spending hours on it."""

from __future__ import annotations

from typing import Annotated

import typer

from sslkit.cli.output import Json, print_facts, print_json
from sslkit.cli.pretrain import DataArgument


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="Look at data before training on it.", no_args_is_help=True)
    group.command("inspect", epilog="Example: `sslkit data inspect photos/`")(inspect)
    app.add_typer(group, name="data")


def inspect(
    data: DataArgument,
    channels: Annotated[int, typer.Option(min=1, help="Channels of an image: 3 for RGB, 1 for grey.")] = 3,
    json: Json = False,
) -> None:
    """Count, decode and summarise the samples; name those that cannot be read."""
    from sslkit.runs.inspect import inspect as run

    (print_json if json else print_facts)(run(data, channels=channels).to_dict())
