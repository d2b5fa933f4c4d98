"""What the plugin registers is there and fits together."""

from __future__ import annotations

import importlib
import inspect
from importlib.resources import files
from typing import Any

import pytest

from sslkit.config.head_training import check_input, read_training
from sslkit.contracts import seen_by
from sslkit.evaluation.protocols import Protocol, parse_protocol
from sslkit.testing.backbones import TinyBackbone
from sslkit_action import plugin


def found(address: str) -> Any:
    module, _, attribute = address.partition(":")
    return getattr(importlib.import_module(module), attribute)


def head_of(name: str) -> Any:
    return found(plugin.sslkit_heads()[name])


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
    task = head.example_batch(0).task
    head(seen_by(head.spec, TinyBackbone().info), task, **protocol.options)
    assert training.cache == (protocol.mode == "frozen" and training.augment.none)


@pytest.mark.parametrize("name", plugin.sslkit_heads())
def test_a_head_bears_its_name_and_knows_its_protocol(name: str) -> None:
    spec = head_of(name).spec
    assert spec.name == name
    assert protocol_of(spec.protocol).head == name


def test_every_protocol_file_is_registered() -> None:
    there = {entry.name for entry in (files("sslkit_action") / "protocols").iterdir()}
    assert there == {f"{name}.yaml" for name in plugin.sslkit_protocols()}


def test_networks_and_transforms_are_functions_of_options_by_name() -> None:
    addresses = {**plugin.sslkit_networks(), **plugin.sslkit_backbone_transforms()}
    for name, address in addresses.items():
        parameters = list(inspect.signature(found(address)).parameters.values())
        given = 1 if name in plugin.sslkit_backbone_transforms() else 0
        assert all(option.kind is option.KEYWORD_ONLY for option in parameters[given:]), name
