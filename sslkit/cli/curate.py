"""`sslkit index duplicates | outliers | mislabelled | leakage | clusters | diverse`: a set seen whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sslkit.cli.filters import LabelOption, PathOption, TimeOption, WhereOption, where_of
from sslkit.cli.output import Json, print_json
from sslkit.errors import ConfigError

if TYPE_CHECKING:
    from sslkit.runs.curated import Curated, Wanted

IndexArgument = Annotated[Path, typer.Argument(metavar="INDEX", help="An index folder.")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder to write: findings.json, items.csv and gallery.html."),
]
ApplyOption = Annotated[
    Path | None,
    typer.Option(
        "--apply",
        metavar="LIST.txt",
        help="List file of what to keep, DATA for `pretrain` and `embed`. No image is moved or deleted.",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what --out and --apply hold.")]
ExactOption = Annotated[
    bool, typer.Option("--exact", help="Compare all pairs instead of asking the index's search structure.")
]
NeighboursOption = Annotated[int, typer.Option("-k", min=1, help="Nearest others that are asked.")]
ThresholdOption = Annotated[float, typer.Option(help="Least cosine similarity of what counts as the same.")]


def add_to(index: typer.Typer) -> None:
    """Add the commands of this file to the group `sslkit index`."""
    for command, example in (
        (duplicates, "sslkit index duplicates photos.index --out twins --apply photos.txt"),
        (outliers, "sslkit index outliers photos.index --method lof --out odd"),
        (mislabelled, "sslkit index mislabelled photos.index --out doubts"),
        (leakage, "sslkit index leakage train.index test.index --apply clean.txt"),
        (clusters, "sslkit index clusters photos.index --count 20 --out groups"),
        (diverse, "sslkit index diverse photos.index --count 500 --apply label_these.txt"),
    ):
        index.command(epilog=f"Example: `{example}`", rich_help_panel="Curate")(command)


def duplicates(
    index: IndexArgument,
    threshold: Annotated[
        float | None, typer.Option(help="Least cosine similarity of duplicates. Default: 0.98.")
    ] = None,
    quantile: Annotated[
        float | None,
        typer.Option(help="Instead: share of the items that are to have a duplicate, such as 0.001."),
    ] = None,
    keep: Annotated[
        str,
        typer.Option(help="Which one of a group to keep: `centre`, near to most, or `first`, as indexed."),
    ] = "centre",
    where: WhereOption = None,
    label: LabelOption = None,
    path: PathOption = None,
    time: TimeOption = None,
    exact: ExactOption = False,
    out: OutOption = None,
    apply: ApplyOption = None,
    overwrite: OverwriteOption = False,
    json: Json = False,
) -> None:
    """Find groups of items that are nearly the same, and list one of each.

    All of a group are near to the one that is kept, so a chain of small steps joins nothing. Items are
    compared as the model sees them, which also finds other photos of the same thing; a good threshold depends
    on the model: look at the gallery. For copies by their pixels alone, whatever the model, `sslkit transfer`
    has its own check of what pretraining and test sets share.
    """
    from sslkit.runs.curate import duplicates as run

    _print(
        run(
            index,
            threshold=threshold,
            quantile=quantile,
            keep=keep,  # type: ignore[arg-type]  # checked there
            where=where_of(where, label, path, time),
            exact=exact,
            wanted=_wanted(out, apply, overwrite),
        ),
        json,
    )


def outliers(
    index: IndexArgument,
    method: Annotated[
        str,
        typer.Option(
            help="`mean`: distance to the nearest others; `lof`: how much sparser than around them."
        ),
    ] = "mean",
    k: NeighboursOption = 10,
    share: Annotated[float, typer.Option(help="Share of the items to list.")] = 0.01,
    where: WhereOption = None,
    label: LabelOption = None,
    path: PathOption = None,
    time: TimeOption = None,
    exact: ExactOption = False,
    out: OutOption = None,
    apply: ApplyOption = None,
    overwrite: OverwriteOption = False,
    json: Json = False,
) -> None:
    """Rank the items that lie most apart from the others: broken, empty, of another kind, or rare.

    --apply lists the rest.
    """
    from sslkit.runs.curate import outliers as run

    _print(
        run(
            index,
            method=method,  # type: ignore[arg-type]  # checked there
            k=k,
            share=share,
            where=where_of(where, label, path, time),
            exact=exact,
            wanted=_wanted(out, apply, overwrite),
        ),
        json,
    )


def mislabelled(
    index: IndexArgument,
    k: NeighboursOption = 10,
    share: Annotated[float, typer.Option(help="Share of the items to list at most.")] = 0.1,
    where: WhereOption = None,
    label: LabelOption = None,
    path: PathOption = None,
    time: TimeOption = None,
    exact: ExactOption = False,
    out: OutOption = None,
    apply: ApplyOption = None,
    overwrite: OverwriteOption = False,
    json: Json = False,
) -> None:
    """Rank labels that the nearest others contradict, each with the label they suggest.

    --apply lists the other labelled items. Remove duplicates first: copies vouch for each
    other.
    """
    from sslkit.runs.curate import mislabelled as run

    meant = where_of(where, label, path, time)
    _print(
        run(index, k=k, share=share, where=meant, exact=exact, wanted=_wanted(out, apply, overwrite)), json
    )


def leakage(
    index: IndexArgument,
    other: Annotated[
        Path | None,
        typer.Argument(metavar="OTHER", help="The other index; without it, another part of INDEX."),
    ] = None,
    threshold: ThresholdOption = 0.98,
    where: WhereOption = None,
    label: LabelOption = None,
    path: PathOption = None,
    time: TimeOption = None,
    other_where: Annotated[
        str | None,
        typer.Option("--other-where", metavar="SQL", help="The same as --where, for the other set."),
    ] = None,
    other_path: Annotated[
        str | None,
        typer.Option("--other-path", metavar="GLOB", help="The same as --path, for the other set."),
    ] = None,
    exact: ExactOption = False,
    out: OutOption = None,
    apply: ApplyOption = None,
    overwrite: OverwriteOption = False,
    json: Json = False,
) -> None:
    """Find items of INDEX that are in OTHER too, or nearly: photos of a test set among those to train on.

    --apply lists what of INDEX is not in OTHER. Two parts of one index:
    `sslkit index leakage photos.index --path 'train/*' --other-path 'test/*'`.
    """
    from sslkit.runs.survey import leakage as run

    others = where_of(other_where, None, other_path, None)
    if other is None and others is None:
        raise ConfigError(
            "leakage into what? name OTHER, or a part of INDEX by --other-path or --other-where"
        )
    _print(
        run(
            index,
            other,
            threshold=threshold,
            where=where_of(where, label, path, time),
            other_where=others,
            exact=exact,
            wanted=_wanted(out, apply, overwrite),
        ),
        json,
    )


def clusters(
    index: IndexArgument,
    count: Annotated[
        str, typer.Option(metavar="K", help="Clusters, or `auto` to try numbers and take the clearest.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of the first centres.")] = 0,
    where: WhereOption = None,
    label: LabelOption = None,
    path: PathOption = None,
    time: TimeOption = None,
    out: OutOption = None,
    apply: ApplyOption = None,
    overwrite: OverwriteOption = False,
    json: Json = False,
) -> None:
    """Part the items into groups of similar ones, each with its most typical items.

    --apply lists all of them, with their cluster as their class.
    """
    from sslkit.runs.survey import clusters as run

    if count != "auto" and not count.isdecimal():
        raise ConfigError(f"--count {count}: a number of clusters or auto is needed")
    _print(
        run(
            index,
            count=None if count == "auto" else int(count),
            seed=seed,
            where=where_of(where, label, path, time),
            wanted=_wanted(out, apply, overwrite),
        ),
        json,
    )


def diverse(
    index: IndexArgument,
    count: Annotated[int, typer.Option(metavar="M", min=1, help="Items to choose.")],
    seed: Annotated[int, typer.Option(help="Of the random subsets it is compared with.")] = 0,
    where: WhereOption = None,
    label: LabelOption = None,
    path: PathOption = None,
    time: TimeOption = None,
    out: OutOption = None,
    apply: ApplyOption = None,
    overwrite: OverwriteOption = False,
    json: Json = False,
) -> None:
    """Choose items that stand for all: nothing is far from the nearest chosen one, as what to label first.

    --apply lists the chosen. They are compared with random subsets of the same size; what is rare is chosen
    early, and what is broken too: look for outliers first.
    """
    from sslkit.runs.survey import diverse as run

    meant = where_of(where, label, path, time)
    _print(run(index, count=count, seed=seed, where=meant, wanted=_wanted(out, apply, overwrite)), json)


def _wanted(out: Path | None, apply: Path | None, overwrite: bool) -> Wanted:
    from sslkit.runs.curated import Wanted

    return Wanted(out, apply, overwrite)


def _print(found: Curated, json: bool) -> None:
    if json:
        print_json(found.to_dict())
    else:
        typer.echo(found.to_text())
