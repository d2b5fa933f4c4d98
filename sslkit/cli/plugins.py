"""`sslkit plugins ...`: what is installed, and why a plugin was left out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from sslkit.cli.output import Json, print_facts, print_json, print_rows
from sslkit.errors import UnknownNameError
from sslkit.registry import Plugin, plugins


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="List plugins, and say why one was left out.", no_args_is_help=True)
    group.command("list", epilog="Example: `sslkit plugins list --json`")(list_plugins)
    group.command("why", epilog="Example: `sslkit plugins why detection`")(why)
    app.add_typer(group, name="plugins")


def list_plugins(json: Json = False) -> None:
    """List every plugin found and the names it provides."""
    found = plugins()
    if json:
        print_json([_facts(plugin) for plugin in found])
        return
    rows = [
        (plugin.name, plugin.distribution, "works" if plugin.works else "left out", _summary(plugin))
        for plugin in found
    ]
    print_rows([("PLUGIN", "PACKAGE", "STATE", "PROVIDES"), *rows])


def why(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin's name.")], json: Json = False
) -> None:
    """Show what a plugin provides, or the reason and the trace of its failure."""
    found = {plugin.name: plugin for plugin in plugins()}
    if name not in found:
        raise UnknownNameError("plugin", name, found)
    plugin = found[name]
    if json:
        print_json(_facts(plugin))
        return
    facts = {"plugin": plugin.name, "package": plugin.distribution, "module": plugin.module}
    state = {"state": "works", "provides": _summary(plugin)} if plugin.works else {"left out": plugin.reason}
    print_facts(facts | state)
    if plugin.trace:
        typer.echo(f"\n{plugin.trace.rstrip()}")


def _facts(plugin: Plugin) -> dict[str, Any]:
    return asdict(plugin) | {"works": plugin.works}


def _summary(plugin: Plugin) -> str:
    if not plugin.works:
        return plugin.reason.splitlines()[0]
    return (
        "; ".join(f"{kind.replace('_', ' ')} {', '.join(names)}" for kind, names in plugin.provides.items())
        or "nothing"
    )
