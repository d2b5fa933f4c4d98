"""`sslkit plugins ...`: what is installed and what was left out; switch one, check one, make one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from sslkit import hookspecs
from sslkit.cli.output import Json, print_facts, print_json, print_rows
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.hookspecs import HOOKS
from sslkit.registry import Plugin, plugins
from sslkit.registry.disabled import disabled_plugins, switch
from sslkit.registry.lookup import installed
from sslkit.registry.plugins import BUILTIN

PluginName = Annotated[str, typer.Argument(metavar="NAME", help="A plugin's name.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="List plugins, switch them, check one, make a new one.", no_args_is_help=True)
    group.command("list", epilog="Example: `sslkit plugins list --hooks`")(list_plugins)
    group.command("why", epilog="Example: `sslkit plugins why detection`")(why)
    group.command("disable", epilog="Example: `sslkit plugins disable detection`")(disable)
    group.command("enable", epilog="Example: `sslkit plugins enable detection`")(enable)
    group.command("check", epilog="Example: `sslkit plugins check retinanet --only overfits`")(check)
    group.command("new", epilog="Example: `sslkit plugins new tree-height --input image --target boxes`")(new)
    app.add_typer(group, name="plugins")


def list_plugins(
    hooks: Annotated[
        bool, typer.Option("--hooks", help="List by hook: what it is for, and who gives which names.")
    ] = False,
    json: Json = False,
) -> None:
    """List every plugin found and the names it provides."""
    found = plugins()
    if hooks:
        _list_hooks(found, json)
        return
    if json:
        print_json([_facts(plugin) for plugin in found])
        return
    rows = [(plugin.name, plugin.distribution, plugin.state, _summary(plugin)) for plugin in found]
    print_rows([("PLUGIN", "PACKAGE", "STATE", "PROVIDES"), *rows])
    for plugin in found:
        for note in plugin.notes:
            typer.echo(f"{plugin.name}: {note}")


def why(name: PluginName, json: Json = False) -> None:
    """Show what a plugin provides, or the reason and the trace of its failure."""
    found = {plugin.name: plugin for plugin in plugins()}
    if name not in found:
        raise UnknownNameError("plugin", name, found)
    plugin = found[name]
    if json:
        print_json(_facts(plugin))
        return
    facts = {"plugin": plugin.name, "package": plugin.distribution, "module": plugin.module}
    state = (
        {"state": "works", "provides": _summary(plugin)} if plugin.works else {plugin.state: plugin.reason}
    )
    print_facts(facts | state | ({"notes": plugin.notes} if plugin.notes else {}))
    if plugin.trace:
        typer.echo(f"\n{plugin.trace.rstrip()}")


def disable(name: PluginName) -> None:
    """Import a plugin no more until it is enabled."""
    if name == BUILTIN:
        raise ConfigError(
            f"'{BUILTIN}' is sslkit itself and cannot be disabled; the others are in `plugins list`"
        )
    if name not in installed():
        raise UnknownNameError("plugin", name, installed())
    typer.echo(f"disabled {name}, as {switch(name, on=False)} says")


def enable(name: PluginName) -> None:
    """Import a plugin again that was disabled."""
    known = {BUILTIN, *installed(), *disabled_plugins()}  # what was uninstalled since may be forgotten
    if name not in known:
        raise UnknownNameError("plugin", name, known)
    if name not in disabled_plugins():
        typer.echo(f"{name} is not disabled")
        return
    typer.echo(f"enabled {name}, as {switch(name, on=True)} says")


def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin, or one head.")],
    only: Annotated[str | None, typer.Option(metavar="ID", help="Run one check alone.")] = None,
    json: Json = False,
) -> None:
    """Hold a plugin and its heads to the contract; exit code 1 when a check failed."""
    from sslkit.registry.conformance import checks_of

    checks = checks_of(name, only=only)
    subjects, ids = (
        max(map(len, column)) for column in zip(*((c.subject, c.id) for c in checks), strict=True)
    )
    results = []
    for one in checks:
        outcome, reason = one.outcome()
        results.append({"subject": one.subject, "check": one.id, "outcome": outcome, "reason": reason})
        if not json:
            said = f"{outcome}: {reason.strip().splitlines()[0]}" if reason.strip() else outcome
            typer.echo(f"{one.subject:<{subjects}}  {one.id:<{ids}}  {said}")
    if json:
        print_json(results)
    failed = sum(result["outcome"] == "failed" for result in results)
    if failed:
        if not json:
            typer.echo(f"{failed} of {len(results)} checks failed")
        raise typer.Exit(1)


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What the plugin is called, such as tree-height.")
    ],
    input: Annotated[str, typer.Option(help="What a sample is: image, pair or clip.")],
    target: Annotated[str, typer.Option(help="What is predicted: label, boxes, masks, semantic or flow.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the plugin's folder is made.")] = Path(),
) -> None:
    """Write a new plugin with one head, which works and passes its tests as it is."""
    from sslkit.scaffold import new_plugin

    files = new_plugin(name, input=input, target=target, out=out)
    for file in files:
        typer.echo(str(file))
    folder = next(file.parent for file in files if file.name == "pyproject.toml")
    typer.echo("\nNext:")
    for command in (f"pip install -e {folder}", f"python -m pytest {folder}", f"sslkit plugins check {name}"):
        typer.echo(f"  {command}")


def _list_hooks(found: list[Plugin], json: bool) -> None:
    hooks = [
        {
            "hook": hook,
            "kind": kind,
            "documentation": getattr(hookspecs, hook).__doc__,
            "names": {plugin.name: plugin.provides[kind] for plugin in found if kind in plugin.provides},
        }
        for kind, hook in HOOKS.items()
    ]
    if json:
        print_json(hooks)
        return
    for entry in hooks:
        typer.echo(f"{entry['hook']}: {entry['documentation']}")
        for plugin, names in entry["names"].items():
            typer.echo(f"  {plugin}: {', '.join(names)}")


def _facts(plugin: Plugin) -> dict[str, Any]:
    return asdict(plugin) | {"works": plugin.works, "state": plugin.state}


def _summary(plugin: Plugin) -> str:
    if not plugin.works:
        return plugin.reason.splitlines()[0]
    return (
        "; ".join(f"{kind.replace('_', ' ')} {', '.join(names)}" for kind, names in plugin.provides.items())
        or "nothing"
    )
