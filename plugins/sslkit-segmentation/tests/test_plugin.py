"""What the plugin registers is there and fits together."""

from __future__ import annotations

import importlib
import importlib.util
from importlib.resources import files
from typing import Any

import pytest

from sslkit.config.head_training import read_training
from sslkit.contracts import seen_by
from sslkit.evaluation.protocols import Protocol, parse_protocol
from sslkit.testing.backbones import TinyBackbone
from sslkit_segmentation import plugin


def head_of(name: str) -> Any:
    module, _, attribute = plugin.sslkit_heads()[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def protocol_of(name: str) -> Protocol:
    package, _, path = plugin.sslkit_protocols()[name].partition(":")
    return parse_protocol((files(package) / path).read_text("utf-8"), name)


@pytest.mark.parametrize("name", plugin.sslkit_protocols())
def test_a_protocol_is_whole_and_its_head_takes_its_options(name: str) -> None:
    protocol = protocol_of(name)
    assert protocol.id == name
    training = read_training(protocol.training, name)
    head = head_of(protocol.head)
    task = head.example_batch(0).task
    head(seen_by(head.spec, TinyBackbone().info), task, **protocol.options)
    assert training.cache == (protocol.mode == "frozen" and training.augment.none)


@pytest.mark.parametrize("name", ["deeplab", "fcn", "linear_seg", "mask_rcnn", "unet"])
def test_a_head_bears_its_name_and_knows_its_protocol(name: str) -> None:
    spec = head_of(name).spec
    assert spec.name == name
    assert protocol_of(spec.protocol).head == name


def test_every_protocol_file_is_registered() -> None:
    found = {entry.name for entry in (files("sslkit_segmentation") / "protocols").iterdir()}
    assert found == {f"{name}.yaml" for name in plugin.sslkit_protocols()}
