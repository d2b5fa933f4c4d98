"""The `sslkit` command: its groups, and how it ends. Exit code 0 done, 1 failed, 2 wrongly asked."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from sslkit.cli import (
    data,
    demo,
    embed,
    evaluate,
    index,
    mine,
    plugins,
    pretrain,
    profile,
    recipes,
    report,
    search,
    serve,
    transfer,
)
from sslkit.errors import SslkitError
from sslkit.registry.plugins import SAFE_VARIABLE
from sslkit.version import __version__

TRACEBACK_VARIABLE = "SSLKIT_TRACEBACK"

app = typer.Typer(
    name="sslkit",
    help="Self-supervised representation learning for images: pretrain, evaluate, search.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    pretrain,
    evaluate,
    transfer,
    report,
    profile,
    embed,
    index,
    search,
    serve,
    mine,
    data,
    demo,
    plugins,
    recipes,
):
    group.add_to(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(epilog="Start with `sslkit demo`: it pretrains, evaluates and searches in a few minutes.")
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    safe: Annotated[
        bool, typer.Option("--safe", help=f"Load no plugin but the built-in one, as {SAFE_VARIABLE}=1 does.")
    ] = False,
) -> None:
    if safe:
        os.environ[SAFE_VARIABLE] = "1"  # before the first name is looked up, and for the processes started


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    try:
        app()
    except SslkitError as error:
        if os.environ.get(TRACEBACK_VARIABLE) == "1":
            raise
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written: the system's words say it best
        if os.environ.get(TRACEBACK_VARIABLE) == "1":
            raise
        sys.stderr.write(f"error: {error}; {TRACEBACK_VARIABLE}=1 shows where\n")
        sys.exit(1)
