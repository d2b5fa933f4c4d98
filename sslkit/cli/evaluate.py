"""`sslkit evaluate`: did pretraining help?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sslkit.cli.output import Json, print_json

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A run folder or a timm model name.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(epilog="Example: `sslkit evaluate runs/first --data labelled/ --head linear`")(evaluate)


def evaluate(
    model: ModelArgument,
    data: Annotated[str, typer.Option(help="Labelled data to fit the probe on.")],
    test: Annotated[
        str | None, typer.Option(help="Labelled data to score on; default: its held-out part.")
    ] = None,
    head: Annotated[str, typer.Option(help="knn, linear, or a plugin's head.")] = "knn",
    protocol: Annotated[
        str | None, typer.Option(help="Evaluation protocol; default: the head's own.")
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Also measure the same backbone untrained.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the probe and of the random baseline.")] = 0,
    json: Json = False,
) -> None:
    """Measure a representation with a probe, beside the same backbone untrained."""
    from sslkit.runs.evaluate import evaluate as run

    result = run(
        model, data, test=test, head=head, protocol=protocol, baselines=baselines, out=out, seed=seed
    )
    if json:
        print_json(result.to_dict())
    else:
        typer.echo(result.to_text())
