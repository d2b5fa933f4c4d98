"""Names become objects; options are checked before anything is built."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from sslkit.errors import ConfigError, PluginError, UnknownNameError
from sslkit.hookspecs import HOOKS, Kind
from sslkit.registry import build, lookup, names, plugins, resolve
from sslkit.registry.plugins import Plugin, Target

FROM_PLUGINS = {"network", "backbone_transform", "head"}
"""Kinds of which nothing is built in."""


class Part:
    """A part as objectives are: one positional argument, then options."""

    def __init__(
        self,
        backbone: object,
        *,
        temperature: float = 0.1,
        scale: tuple[float, float] = (0.0, 1.0),
        folder: Path | None = None,
        other: object = None,
    ) -> None:
        self.given = (backbone, temperature, scale, folder, other)


class Needy:
    """A part with an option that has no default."""

    def __init__(self, *, size: int) -> None:
        self.size = size


def open_ended(**options: Any) -> dict[str, Any]:
    return options


@pytest.fixture(autouse=True)
def _parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the parts above, and a plugin that failed."""
    loaded = lookup.loaded()
    targets = {kind: dict(known) for kind, known in loaded.targets.items()}
    targets["objective"]["part"] = Target("parts_here:Part", "mine")
    targets["objective"]["needy"] = Target("parts_here:Needy", "mine")
    targets["objective"]["open"] = Target("parts_here:open_ended", "mine")
    targets["objective"]["absent"] = Target("parts_here:Absent", "mine")
    targets["objective"]["lost"] = Target("no_such_module_anywhere:X", "mine")
    module = types.ModuleType("parts_here")
    vars(module).update(Part=Part, Needy=Needy, open_ended=open_ended)
    monkeypatch.setitem(sys.modules, "parts_here", module)
    monkeypatch.setattr(loaded, "targets", targets)
    monkeypatch.setattr(
        loaded, "plugins", [*loaded.plugins, Plugin("wreck", "wreck", "wreck 1", reason="it broke")]
    )


@pytest.mark.parametrize("kind", sorted(set(HOOKS) - FROM_PLUGINS - {"protocol", "task"}))  # files and data
def test_every_built_in_name_resolves(kind: Kind) -> None:
    built_in = plugins()[0].provides[kind]
    assert set(built_in) <= set(names(kind))
    for name in built_in:
        assert callable(resolve(kind, name))


def test_an_unknown_name_offers_the_nearest_and_owns_up_to_broken_plugins() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown objective 'simclrr'; did you mean 'simclr'\?.*wreck"
    ):
        resolve("objective", "simclrr")


def test_a_kind_is_called_in_words() -> None:
    with pytest.raises(UnknownNameError, match="unknown view policy"):
        resolve("view_policy", "none")


@pytest.mark.parametrize("name", ["absent", "lost"])
def test_an_address_that_leads_nowhere_is_its_plugins_fault(name: str) -> None:
    with pytest.raises(PluginError, match=f"objective '{name}' of plugin 'mine' cannot be loaded"):
        resolve("objective", name)


def test_a_part_is_built_with_its_arguments_and_options() -> None:
    backbone = object()
    assert build("objective", "part", backbone, temperature=0.5).given[:2] == (backbone, 0.5)


def test_values_from_yaml_become_what_the_annotation_says() -> None:
    given = build("objective", "part", None, scale=[1, 2], folder="photos", temperature=1).given
    assert given == (None, 1.0, (1.0, 2.0), Path("photos"), None)
    assert isinstance(given[1], float)


def test_an_object_made_by_code_passes_as_it_is() -> None:
    other = object()
    assert build("objective", "part", None, other=other).given[-1] is other


def test_an_unknown_option_names_the_nearest_and_lists_all() -> None:
    with pytest.raises(ConfigError) as caught:
        build("objective", "part", None, temprature=1.0)
    text = str(caught.value)
    assert "objective 'part' has no option 'temprature', did you mean 'temperature'" in text
    assert "it takes folder, other, scale, temperature" in text


def test_what_is_given_by_position_is_no_option() -> None:
    with pytest.raises(ConfigError, match="no option 'backbone'"):
        build("objective", "part", None, backbone=1)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("temperature", "warm", "valid number"), ("scale", [1], "Field required"), ("folder", 3, "valid path")],
)
def test_a_value_of_the_wrong_kind_is_named(option: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=f"option '{option}' of objective 'part'") as caught:
        build("objective", "part", None, **{option: value})
    assert said.lower() in str(caught.value).lower().replace("input is not a valid path", "valid path")


def test_a_missing_option_is_named() -> None:
    with pytest.raises(ConfigError, match="objective 'needy' needs a value for 'size'"):
        build("objective", "needy")


def test_a_part_that_takes_anything_gets_anything() -> None:
    assert build("objective", "open", a=1, b=[2]) == {"a": 1, "b": [2]}


def test_the_real_objectives_refuse_a_misspelt_option() -> None:
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        build("objective", "simclr", object(), temprature=0.1)
