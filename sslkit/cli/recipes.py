"""`sslkit recipes ...`: the recipes that come with sslkit."""

from __future__ import annotations

from typing import Annotated

import typer

from sslkit.cli.output import Json, print_json, print_rows


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="List the recipes and show one.", no_args_is_help=True)
    group.command("list", epilog="Example: `sslkit recipes list`")(list_recipes)
    group.command("show", epilog="Example: `sslkit recipes show smoke-simclr > my.yaml`")(show)
    app.add_typer(group, name="recipes")


def list_recipes(json: Json = False) -> None:
    """List the named recipes and the purpose of each."""
    from sslkit.config import recipe_header, recipe_names

    purposes = {name: _purpose(recipe_header(name)) for name in recipe_names()}
    if json:
        print_json(purposes)
    else:
        print_rows(list(purposes.items()))


def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A named recipe or a YAML file.")]) -> None:
    """Print a recipe with every default spelt out, ready to be edited and given to --recipe."""
    from sslkit.config import load_recipe, recipe_header

    header = recipe_header(name).splitlines()
    typer.echo(
        "".join(f"# {line}".rstrip() + "\n" for line in header) + load_recipe(name).to_yaml(), nl=False
    )


def _purpose(header: str) -> str:
    found = [line.partition(":")[2].strip() for line in header.splitlines() if line.startswith("purpose:")]
    return found[0] if found else ""
