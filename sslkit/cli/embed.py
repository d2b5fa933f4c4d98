"""`sslkit embed`: the embedding of every image of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sslkit.cli.evaluate import ModelArgument
from sslkit.cli.pretrain import DataArgument


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog="Example: `sslkit embed runs/first photos/ --out photos.emb`")(embed)


def embed(
    model: ModelArgument,
    data: DataArgument,
    out: Annotated[Path, typer.Option(help="Embeddings folder to write.")],
    dtype: Annotated[
        Literal["float32", "float16"], typer.Option(help="Numbers written; float16 takes half the space.")
    ] = "float32",
    batch: Annotated[int, typer.Option(min=1, help="Samples computed at a time.")] = 128,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.")] = False,
) -> None:
    """Write the embedding of every image or moment of video.

    Stopped at any instant, the same command goes on where it was. On N devices:
    `torchrun --nproc_per_node N -m sslkit embed MODEL DATA --out EMB`.
    """
    from sslkit.runs.embed import embed as run

    typer.echo(run(model, data, out, dtype=dtype, batch_size=batch, overwrite=overwrite))
