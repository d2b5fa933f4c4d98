"""Protocols: frozen ways of measuring, kept as YAML and named in every printed number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sslkit.errors import ConfigError, UnknownNameError, did_you_mean
from sslkit.yaml_text import parse_yaml

_MODES = ("frozen", "finetune")  # and partial:k
_KEYS = {"id": str, "version": int, "head": str, "mode": str, "options": dict, "source": str}


@dataclass(frozen=True)
class Protocol:
    """One way of measuring.

    mode: `frozen`, `partial:k` or `finetune`, what happens to the backbone; never defaulted. options: keyword
    arguments of the head. source: the publication it follows.
    """

    id: str
    version: int
    head: str
    mode: str
    options: Mapping[str, Any]
    source: str

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of everything that shapes the number (all but `source`)."""
        measured = [self.id, self.version, self.head, self.mode, dict(self.options)]
        canonical = json.dumps(measured, sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return f"{self.id}@{self.hash}"


def protocol_names() -> list[str]:
    """Names of the protocols that come with sslkit, sorted."""
    folder = files("sslkit.evaluation") / "protocol_files"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def load_protocol(name_or_path: str | Path) -> Protocol:
    """The protocol of a name, or of a YAML file (anything that ends in .yaml or .yml).

    Raises:
        UnknownNameError: no such name; the nearest ones are offered.
        ConfigError: the file is missing, no YAML, or lacks a key; nothing has a default.
    """
    name = str(name_or_path)
    if name.endswith((".yaml", ".yml")):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"protocol file {name} cannot be read: {error}") from error
        return _parse(text, name)
    if name not in protocol_names():
        raise UnknownNameError("protocol", name, protocol_names(), "(or give the path of a .yaml file)")
    return _parse((files("sslkit.evaluation") / "protocol_files" / f"{name}.yaml").read_text("utf-8"), name)


def _parse(text: str, where: str) -> Protocol:
    read = parse_yaml(text, f"protocol {where}")
    for key in read:
        if key not in _KEYS:
            raise ConfigError(f"protocol {where} has an unknown key '{key}'{did_you_mean(str(key), _KEYS)}")
    for key, kind in _KEYS.items():
        if not isinstance(read.get(key), kind):
            raise ConfigError(f"protocol {where} needs '{key}' ({kind.__name__}); it has {read.get(key)!r}")
    mode = read["mode"]
    if mode not in _MODES and not (mode.startswith("partial:") and mode.removeprefix("partial:").isdecimal()):
        raise ConfigError(
            f"protocol {where} has mode '{mode}'; use frozen, finetune or partial:k, such as partial:2"
        )
    return Protocol(**{**read, "options": MappingProxyType(read["options"])})
