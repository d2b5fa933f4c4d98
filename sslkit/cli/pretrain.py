"""`sslkit pretrain`, `sslkit resume` and `sslkit views`: from unlabelled images to a backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DATA_HELP = "Images, videos or .tar shards in a folder, .npz, list file, hf:NAME, or SOURCE:key=value,..."
DataArgument = Annotated[
    str,
    typer.Argument(metavar="DATA", help=DATA_HELP),
]
RecipeOption = Annotated[
    str | None, typer.Option("--recipe", "-r", help="A named recipe (`sslkit recipes list`) or a YAML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Recipe values to set, e.g. schedule.epochs=50."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(epilog="Example: `sslkit pretrain photos/ --recipe smoke-simclr --out runs/first`")(pretrain)
    app.command(epilog="Example: `sslkit resume runs/first`")(resume)
    app.command(epilog="Example: `sslkit views photos/ --out sheet.png views.size=96`")(views)


def pretrain(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help=f"{DATA_HELP} Default: the recipe's own.",
        ),
    ] = None,
    overrides: Overrides = None,
    recipe: RecipeOption = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to write.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out if it is there.")
    ] = False,
    views_engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What makes the views: exact, fused, kornia, kornia_compiled, workers; default: timed here.",
        ),
    ] = None,
) -> None:
    """Pretrain a backbone on unlabelled images or videos.

    On N devices: `torchrun --nproc_per_node N -m sslkit pretrain DATA`.
    """
    from sslkit.runs.pretrain import pretrain as run

    if overwrite and resume:
        raise typer.BadParameter("give --overwrite or --resume, not both")
    settings = list(overrides or [])
    if data is not None and _is_setting(data):
        settings.insert(0, data)
        data = None
    if views_engine is not None:
        settings.append(f"views.engine={views_engine}")
    run(data, recipe=recipe, out=out, overwrite=overwrite, resume=resume, overrides=settings)


def _is_setting(argument: str) -> bool:
    """Whether the first argument is key=value of a recipe that brings its own data."""
    key, equals, _ = argument.partition("=")
    return bool(equals) and ":" not in key and not Path(argument).exists()


def resume(run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]) -> None:
    """Continue a run from its last checkpoint, exactly where it stopped."""
    from sslkit.runs.pretrain import resume as continue_run

    continue_run(run)


def views(
    data: DataArgument,
    out: Annotated[Path, typer.Option(help="Picture to write.")],
    overrides: Overrides = None,
    recipe: RecipeOption = None,
) -> None:
    """Draw the random views a recipe makes, to judge them by eye before training."""
    from sslkit.runs.views import draw_sheet

    typer.echo(draw_sheet(data, recipe=recipe, out=out, overrides=overrides or []))
