"""Protocols by name: YAML files inside installed packages, registered through a hook like every name."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from sslkit.errors import ConfigError, PluginError
from sslkit.evaluation.protocols import Protocol, parse_protocol, read_protocol
from sslkit.registry.lookup import find
from sslkit.yaml_text import parse_value


def load_protocol(name_or_path: str | Path) -> Protocol:
    """The protocol of a name, or of a YAML file (anything that ends in .yaml or .yml).

    Raises:
        UnknownNameError: no such name; the nearest ones are offered.
        ConfigError: the file is missing, no YAML, or lacks a key; or several plugins give the name.
        PluginError: a plugin registered a file that it does not have.
    """
    name = str(name_or_path)
    if name.endswith((".yaml", ".yml")):
        return read_protocol(name)
    target = find("protocol", name)
    package, _, path = target.address.partition(":")
    try:
        text = (files(package) / path).read_text("utf-8")
    except (ImportError, OSError) as error:
        raise PluginError(
            f"protocol '{name}' of plugin '{target.plugin}' is not at '{target.address}': {error}"
        ) from error
    return parse_protocol(text, name)


def changed(protocol: Protocol, settings: list[str]) -> Protocol:
    """A protocol with `mode=...`, `options.KEY=...`, `training.KEY.SUB=...`, `backbone.NAME.KEY=...` set.

    Its hash tells them apart; `backbone={}` leaves out the transforms of the backbone.

    Raises ConfigError for any other key; the values are checked where they are used.
    """
    parts: dict[str, Any] = {
        "mode": protocol.mode,
        "options": _plain(protocol.options),
        "training": _plain(protocol.training or {}),
        "backbone": _plain(protocol.backbone or {}),
    }
    for setting in settings:
        path, equals, value = setting.partition("=")
        keys = path.strip().split(".")
        deep = len(keys) > 1 and keys[0] in ("options", "training", "backbone")
        wanted = deep or keys in (["mode"], ["backbone"])
        if not equals or not all(keys) or not wanted:
            raise ConfigError(
                f"cannot read '{setting}'; write mode=finetune, options.KEY=value, training.KEY=value or "
                "backbone.TRANSFORM.KEY=value, e.g. training.steps=500"
            )
        section = parts
        for key in keys[:-1]:
            inner = section.get(key)
            section[key] = inner if isinstance(inner, dict) else {}
            section = section[key]
        section[keys[-1]] = parse_value(value, setting)
    training = parts["training"] if protocol.training is not None or parts["training"] else None
    transforms = parts["backbone"] or None
    if not isinstance(transforms or {}, dict):
        raise ConfigError(
            f"backbone={transforms!r}: give transforms with options, as {{inflate: {{}}}}, or {{}}"
        )
    return replace(
        protocol, mode=parts["mode"], options=parts["options"], training=training, backbone=transforms
    )


def _plain(values: Any) -> Any:
    if hasattr(values, "items"):
        return {key: _plain(value) for key, value in values.items()}
    return list(values) if isinstance(values, list | tuple) else values
