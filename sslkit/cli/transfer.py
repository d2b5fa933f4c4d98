"""`sslkit transfer`: did pretraining help me?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sslkit.cli.evaluate import ModelArgument
from sslkit.cli.output import Json, print_json


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(epilog="Example: `sslkit transfer runs/first --against resnet18.a1_in1k --suite labelled/`")(
        transfer
    )


def transfer(
    model: ModelArgument,
    against: Annotated[
        list[str] | None,
        typer.Option(help="A run or network to compare with; may be repeated. `random` is always there."),
    ] = None,
    suite: Annotated[
        str,
        typer.Option(
            help="`procedural` (needs no data), a YAML file, or a folder of labelled data of your own."
        ),
    ] = "procedural",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each head on each backbone.")] = 3,
    task: Annotated[
        list[str] | None, typer.Option(help="A task of the suite; may be repeated. Default: all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results; rows it holds already are kept.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes that measure rows. Default: one for each GPU.")
    ] = None,
    leaderboard: Annotated[
        Path | None,
        typer.Option(help="File that gets a line for every row. Default: leaderboard.jsonl beside OUT."),
    ] = None,
    store: Annotated[bool, typer.Option(help="Keep features of frozen backbones for the next time.")] = True,
    json: Json = False,
) -> None:
    """Answer "did pretraining help me?": every task of a suite, beside the same network untrained.

    Stopped or failed rows are measured when the same command runs again. Exit code 1 when a row failed.
    """
    from sslkit.runs.transfer import transfer as run

    found = run(
        model,
        against=against or [],
        suite=suite,
        seeds=seeds,
        tasks=task or [],
        out=out,
        processes=processes,
        leaderboard=leaderboard,
        store=store,
    )
    if json:
        print_json(found.to_dict())
    else:
        typer.echo(found.to_text())
    if found.failed:
        raise typer.Exit(1)
