"""`sslkit mine`: the pairs that confuse a model most, and hard negatives for one class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sslkit.cli.evaluate import ModelArgument
from sslkit.cli.output import Json, print_json


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog="Example: `sslkit mine runs/first photos/ --html confused.html`")(mine)


def mine(
    model: ModelArgument,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Image folder, .npz arrays, list file, or SOURCE:key=value,...; default: the run's own.",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Page of the pairs to write.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the figures as JSON and the pairs as CSV.")
    ] = None,
    pairs: Annotated[int | None, typer.Option(min=1, help="Pairs of each kind; default: 50.")] = None,
    cap: Annotated[
        float | None,
        typer.Option(help="Without labels, pairs at least this similar are near-duplicates; default: 0.98."),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", help="Bootstrap a classifier of this class against the others instead."),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="With --class: rounds at most; default: 5.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the pairs of images that confuse a model most, over a whole data set."""
    from sslkit.runs.mine import mine as run
    from sslkit.runs.mine import mine_class

    if class_name is None and rounds is not None:
        raise typer.BadParameter("--rounds are of bootstrapping one class; name it with --class")
    if class_name is not None and (pairs, cap) != (None, None):
        raise typer.BadParameter("--pairs and --cap are of the confused pairs, which --class leaves out")
    found = (
        run(model, data, html=html, out=out, **_given(pairs=pairs, cap=cap))
        if class_name is None
        else mine_class(model, data, class_name, html=html, out=out, **_given(rounds=rounds))
    )
    if json:
        print_json(found.to_dict())
    else:
        typer.echo(found.to_text())


def _given(**options: Any) -> dict[str, Any]:
    """The options that were typed: the run knows the defaults of the others."""
    return {name: value for name, value in options.items() if value is not None}
