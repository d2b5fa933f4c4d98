"""`sslkit index export`: an index for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sslkit.cli.output import Json, print_facts, print_json


def add_to(index_app: typer.Typer) -> None:
    """Add the command of this file to the group `index`."""
    index_app.command("export", epilog="Example: `sslkit index export photos.index --out photos.export`")(
        export
    )


def export(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="An index folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    table: Annotated[
        Literal["auto", "parquet", "csv"],
        typer.Option(help="Of the items; auto: Parquet where pyarrow is installed, else CSV."),
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.")] = False,
    json: Json = False,
) -> None:
    """Write vectors (NumPy), items (Parquet or CSV) and a plain FAISS index whose search gives item ids."""
    from sslkit.retrieval.artifact import Index
    from sslkit.retrieval.exported import export as run

    with Index.load(index) as opened:
        described = run(opened, out, table=table, overwrite=overwrite)
    if json:
        print_json({"out": str(out), **described})
    else:
        said = {
            "out": out,
            "vectors": f"{described['count']:,} of {described['dim']} dimensions, unit length",
        }
        print_facts({**said, "items": described["items"], "faiss": described["faiss"]})
