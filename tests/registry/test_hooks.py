"""Every hook has a line of documentation, a real user and a test, and docs/plugins.md says which."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest

from sslkit import hookspecs
from sslkit.errors import UnknownNameError
from sslkit.hookspecs import HOOKS, Kind
from sslkit.registry import resolve
from sslkit.registry.promises import read_promises
from sslkit.registry.protocols import load_protocol

Install = Callable[..., Path]
ROOT = Path(__file__).parent.parent.parent
ROWS = {
    row[0].strip("`"): row[1:]
    for line in (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| `sslkit_")
    for row in [[cell.strip() for cell in line.strip("|").split("|")]]
}
GIVES = """
from sslkit.hookspecs import hookimpl
SSLKIT_API = 1
@hookimpl
def {hook}():
    return {{"mine": "{address}"}}
"""


def test_the_table_lists_every_hook_in_order() -> None:
    assert list(ROWS) == list(HOOKS.values())


@pytest.mark.parametrize(("kind", "hook"), HOOKS.items())
def test_a_hook_has_a_line_of_documentation_a_user_and_a_test(kind: Kind, hook: str) -> None:
    line, user, test = ROWS[hook]
    assert getattr(hookspecs, hook).__doc__ == line
    assert read_promises((ROOT / user.strip("`")).read_bytes()).get(kind), f"{user} gives no name through it"
    file, _, name = test.strip("`").partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), test


@pytest.mark.parametrize(("kind", "hook"), HOOKS.items())
def test_a_name_given_through_a_hook_is_found_and_only_as_its_kind(
    install: Install, kind: Kind, hook: str
) -> None:
    install(GIVES.format(hook=hook, address="collections:OrderedDict"), name="giver")
    assert resolve(kind, "mine") is OrderedDict
    for other in set(HOOKS) - {kind}:
        with pytest.raises(UnknownNameError):
            resolve(other, "mine")


def test_a_protocol_in_a_plugins_package_is_read(install: Install) -> None:
    folder = install(
        GIVES.format(hook="sslkit_protocols", address="sslkit_test_pack:ways/mine.yaml"), name="giver"
    )
    ways = folder / "sslkit_test_pack" / "ways"
    ways.mkdir(parents=True)
    (ways / "mine.yaml").write_text(
        "{id: mine, version: 3, head: knn, mode: frozen, options: {k: 1}, source: me}"
    )
    for name in ("mine", "giver:mine"):
        assert load_protocol(name).version == 3
