"""`sslkit index`: build, grow and keep in order a nearest-neighbour index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sslkit.cli import curate, index_eval, interchange
from sslkit.cli.filters import LabelOption, PathOption, TimeOption, WhereOption, where_of
from sslkit.cli.output import Json, print_facts, print_json

IndexArgument = Annotated[Path, typer.Argument(metavar="INDEX", help="An index folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.")]
Metadata = Annotated[
    Path | None,
    typer.Option(help="Table of metadata: .csv, .json, .jsonl or .parquet with a column `name`."),
]
Structure = Literal["auto", "flat", "hnsw", "ivf_fastscan", "ivf_rabitq", "ivf_sq8"]
StructureOption = Annotated[Structure, typer.Option(help="What finds neighbours; auto measures and chooses.")]
Recall = Annotated[
    float, typer.Option(help="Share of the true nearest that a search is to find, as measured.")
]
Neighbours = Annotated[int, typer.Option("-k", min=1, help="Neighbours the recall is measured with.")]
Memory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Most memory for searching, such as 500MB or 2GiB.")
]
Latency = Annotated[float | None, typer.Option(metavar="MS", help="Most milliseconds for one query.")]
Plot = Annotated[
    Path | None, typer.Option(metavar="PNG", help="Draw recall against time, as it was measured.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    index = typer.Typer(
        help="Build, grow, inspect and curate nearest-neighbour indexes.", no_args_is_help=True
    )
    index.command(epilog="Example: `sslkit index build runs/first photos/ --out photos.index --recall 0.99`")(
        build
    )
    index.command(epilog="Example: `sslkit index add photos.index more/ --new`")(add)
    index.command(epilog="Example: `sslkit index remove photos.index --path '*/drafts/*' --dry-run`")(remove)
    index.command(epilog="Example: `sslkit index compact photos.index --recall 0.99`")(compact)
    index.command(epilog="Example: `sslkit index info photos.index`")(info)
    index.command(epilog="Example: `sslkit index verify photos.index`")(verify)
    for group in (index_eval, interchange, curate):
        group.add_to(index)
    app.add_typer(index, name="index")


def build(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_EMB",
            help="A run or network to embed with, an embeddings folder, or vectors.npy.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Index folder to write.")],
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="What to embed, when a model is given.")
    ] = None,
    structure: StructureOption = "auto",
    recall: Recall = 0.95,
    k: Neighbours = 10,
    memory: Memory = None,
    latency: Latency = None,
    metadata: Metadata = None,
    items: Annotated[
        Path | None, typer.Option(help="Table of ids, names and labels of the rows of vectors.npy.")
    ] = None,
    model_hash: Annotated[
        str | None, typer.Option(help="Names the model that made vectors.npy; queries must carry it too.")
    ] = None,
    plot: Plot = None,
    overwrite: Overwrite = False,
) -> None:
    """Build an index from a model and its data, from embeddings, or from vectors.

    Neighbours are found exactly in small sets; in large ones by the structure that reaches the recall within
    the memory and latency asked for, as measured on held-out samples. Stopped, the same command goes on.
    """
    from sslkit.neighbours.picker import Wanted
    from sslkit.runs.index import build_index, index_info

    wanted = Wanted(structure, recall, k, _bytes(memory), latency)
    build_index(
        source,
        data,
        out,
        wanted=wanted,
        metadata=metadata,
        items=items,
        model_hash=model_hash,
        overwrite=overwrite,
    )
    _show_search(index_info(out), plot, err=True)
    typer.echo(out)


def add(
    index: IndexArgument,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="What to embed and add, or an embeddings folder.")
    ],
    update: Annotated[
        bool, typer.Option("--update", help="Samples that are there already get their new vector.")
    ] = False,
    new: Annotated[bool, typer.Option("--new", help="Samples that are there already are left out.")] = False,
    metadata: Metadata = None,
    model: Annotated[
        str | None, typer.Option(help="Run or network of the index; default: where it was when indexed.")
    ] = None,
    json: Json = False,
) -> None:
    """Add samples to an index; it can be searched meanwhile."""
    from sslkit.runs.index import add_to_index

    ids = add_to_index(index, data, update=update, new=new, metadata=metadata, model=model)
    if json:
        print_json({"index": index, "ids": ids.tolist()})
    else:
        typer.echo(f"{len(ids)} samples are in {index}")


def remove(
    index: IndexArgument,
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID", help="Items to remove.")] = None,
    where: WhereOption = None,
    label: LabelOption = None,
    path: PathOption = None,
    time: TimeOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    json: Json = False,
) -> None:
    """Remove items from an index, by id or by condition; no image is touched."""
    from sslkit.runs.index import remove_from_index

    gone = remove_from_index(index, ids or (), where_of(where, label, path, time), dry_run=dry_run)
    if json:
        print_json({"index": index, "removed": 0 if dry_run else len(gone), "ids": gone.tolist()})
    else:
        typer.echo(f"{len(gone)} items {'would be' if dry_run else 'were'} removed from {index}")


def compact(
    index: IndexArgument,
    structure: Annotated[
        Structure | None, typer.Option(help="Another search structure than the index was built for.")
    ] = None,
    recall: Annotated[float | None, typer.Option(help="Another recall.")] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Another number of neighbours.")] = None,
    memory: Memory = None,
    latency: Latency = None,
    plot: Plot = None,
) -> None:
    """Write an index into one piece and choose its search structure anew."""
    from dataclasses import replace

    from sslkit.neighbours.picker import Wanted
    from sslkit.runs.index import compact_index, index_info

    asked = {"kind": structure, "recall": recall, "k": k, "memory": _bytes(memory), "latency": latency}
    changed: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    wanted = replace(Wanted(**index_info(index)["wanted"]), **changed)
    compact_index(index, wanted=wanted)
    _show_search(index_info(index), plot)


def info(index: IndexArgument, plot: Plot = None, json: Json = False) -> None:
    """Say what an index holds, of which model, and how well it finds."""
    from sslkit.runs.index import index_info

    found = index_info(index)
    if json:
        print_json(found)
        return
    segments = found.pop("segments")
    found["segments"] = [f"{segment['count']} in {segment['factory']}" for segment in segments]
    print_facts({name: value for name, value in found.items() if name != "search"})
    _show_search(found, plot)


def verify(index: IndexArgument) -> None:
    """Check every byte of an index, and that each item has its vector."""
    from sslkit.runs.index import verify_index

    typer.echo(f"{index} is sound: {verify_index(index)} items")


def _show_search(passport: dict[str, Any], plot: Path | None, *, err: bool = False) -> None:
    """Print and draw what was measured when the search structure was chosen."""
    from sslkit.neighbours.trials import Trial
    from sslkit.retrieval.tradeoff import picture, table

    search = passport["search"]
    trials = [Trial.of(plain) for plain in search["trials"]]
    typer.echo(table(trials, search["k"]), err=err)
    note = f"; {search['note']}" if search["note"] else ""
    typer.echo(f"measured with {search['sample']}{note}", err=err)
    if plot is not None:
        plot.write_bytes(picture(trials, search["k"], passport["wanted"]["recall"]))


def _bytes(size: str | None) -> int | None:
    """Bytes of a size such as 500MB, 2GiB or 1000000; ConfigError for anything else."""
    from sslkit.errors import ConfigError

    if size is None:
        return None
    units = {"": 1, "B": 1} | {f"{p}B": 1000**n for n, p in enumerate("KMGT", 1)}
    units |= {f"{p}IB": 1024**n for n, p in enumerate("KMGT", 1)}
    number = size.strip().rstrip("BIKMGTbikmgt")
    unit = size.strip()[len(number) :].upper()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError):
        raise ConfigError(f"a memory of {size!r}; write a size such as 500MB, 2GiB or 1000000") from None
