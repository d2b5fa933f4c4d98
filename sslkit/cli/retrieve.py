"""`sslkit embed`, `sslkit index ...` and `sslkit search`: from a backbone to nearest neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sslkit.cli.evaluate import ModelArgument
from sslkit.cli.output import Json, print_facts, print_json
from sslkit.cli.pretrain import DataArgument

IndexArgument = Annotated[Path, typer.Argument(metavar="INDEX", help="An index folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    index = typer.Typer(help="Build and inspect nearest-neighbour indexes.", no_args_is_help=True)
    index.command("build", epilog="Example: `sslkit index build runs/first photos/ --out photos.index`")(
        build
    )
    index.command("info", epilog="Example: `sslkit index info photos.index`")(info)
    app.command(epilog="Example: `sslkit embed runs/first photos/ --out photos.emb`")(embed)
    app.add_typer(index, name="index")
    app.command(epilog="Example: `sslkit search photos.index query.jpg -k 5 --html gallery.html`")(search)


def embed(
    model: ModelArgument,
    data: DataArgument,
    out: Annotated[Path, typer.Option(help="Embeddings folder to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Write the embedding of every image."""
    from sslkit.runs.retrieve import embed as run

    typer.echo(run(model, data, out, overwrite=overwrite))


def build(
    source: Annotated[
        str, typer.Argument(metavar="EMB_OR_RUN", help="Embeddings folder, run or timm model name.")
    ],
    out: Annotated[Path, typer.Option(help="Index folder to write.")],
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Images to embed, when a model is given.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Build an index from embeddings, or from a model and its images."""
    from sslkit.runs.retrieve import build_index

    typer.echo(build_index(source, data, out, overwrite=overwrite))


def info(index: IndexArgument, json: Json = False) -> None:
    """Say what an index holds and which model it belongs to."""
    from sslkit.runs.retrieve import index_info

    (print_json if json else print_facts)(index_info(index))


def search(
    index: IndexArgument,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Query images.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbours per query.")] = 10,
    html: Annotated[Path | None, typer.Option(help="Gallery page to write.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Run or timm model of the index; default: where it was when indexed.")
    ] = None,
    json: Json = False,
) -> None:
    """Find the indexed images nearest to each query."""
    from sslkit.runs.retrieve import search as run

    results = run(index, images, k=k, html=html, model=model)
    if json:
        print_json([result.to_dict() for result in results])
    else:
        for result in results:
            typer.echo(result.to_text())
