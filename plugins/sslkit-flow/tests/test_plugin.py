"""What the plugin registers is there and fits together."""

from __future__ import annotations

import importlib
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from sslkit.config.head_training import check_input, read_training
from sslkit.contracts import seen_by
from sslkit.evaluation.protocols import Protocol, parse_protocol
from sslkit.testing.backbones import TinyBackbone
from sslkit_flow import plugin


def named(address: str) -> Any:
    module, _, attribute = address.partition(":")
    return getattr(importlib.import_module(module), attribute)


def head_of(name: str) -> Any:
    return named(plugin.sslkit_heads()[name])


def protocol_of(name: str) -> Protocol:
    package, _, path = plugin.sslkit_protocols()[name].partition(":")
    return parse_protocol((files(package) / path).read_text("utf-8"), name)


@pytest.mark.parametrize("name", plugin.sslkit_protocols())
def test_a_protocol_is_whole_and_its_head_takes_its_options(name: str) -> None:
    protocol = protocol_of(name)
    assert protocol.id == name
    training = read_training(protocol.training, name)
    head = head_of(protocol.head)
    check_input(head.spec, training)
    task = replace(head.example_batch(0).task, size=training.size)
    head(seen_by(head.spec, TinyBackbone().info), task, **protocol.options)
    assert not training.cache or protocol.mode == "frozen"


@pytest.mark.parametrize("name", plugin.sslkit_heads())
def test_a_head_bears_its_name_and_knows_its_protocol(name: str) -> None:
    spec = head_of(name).spec
    assert spec.name == name
    assert (spec.input, spec.target, spec.metric, spec.higher_is_better) == ("pair", "flow", "epe", False)
    assert protocol_of(spec.protocol).head == name


@pytest.mark.parametrize("address", plugin.sslkit_sources().values())
def test_a_source_is_there(address: str) -> None:
    assert callable(named(address))


def test_matching_trains_nothing() -> None:
    assert read_training(protocol_of("matching").training, "matching").steps == 0


def test_every_protocol_file_is_registered() -> None:
    found = {entry.name for entry in (files("sslkit_flow") / "protocols").iterdir()}
    assert found == {f"{name}.yaml" for name in plugin.sslkit_protocols()}
