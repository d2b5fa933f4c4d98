"""Protocols: frozen ways of measuring, kept as YAML and named in every printed number."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sslkit.errors import ConfigError, did_you_mean
from sslkit.yaml_text import parse_yaml

_MODE = re.compile(r"frozen|finetune|partial:\d+|until:.+")
_KEYS = {"id": str, "version": int, "head": str, "mode": str, "options": dict, "source": str}


@dataclass(frozen=True)
class Protocol:
    """One way of measuring.

    head: a head or probe. mode: `frozen`, `partial:k`, `until:STAGE` or `finetune`, what happens to the
    backbone; never defaulted. options: keyword arguments of the head. training: how a head is trained; None
    for a probe. backbone: transforms of the backbone with their options, made before the head. source: the
    publication it follows.
    """

    id: str
    version: int
    head: str
    mode: str
    options: Mapping[str, Any]
    source: str
    training: Mapping[str, Any] | None = None
    backbone: Mapping[str, Mapping[str, Any]] | None = None

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of everything that shapes the number (all but `source`)."""
        measured: list[Any] = [self.id, self.version, self.head, self.mode, dict(self.options)]
        if self.training is not None:
            measured.append(dict(self.training))
        if self.backbone:
            measured.append({name: dict(options) for name, options in self.backbone.items()})
        canonical = json.dumps(measured, sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """What a file of it holds, as plain values."""
        told = {name: _plain(getattr(self, name)) for name in (*_KEYS, "training", "backbone")}
        return {name: value for name, value in told.items() if value is not None}

    def __str__(self) -> str:
        return f"{self.id}@{self.hash}"


def read_protocol(path: str | Path) -> Protocol:
    """The protocol of a YAML file; raises ConfigError when it is missing, no YAML, or lacks a key."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"protocol file {path} cannot be read: {error}") from error
    return parse_protocol(text, str(path))


def parse_protocol(text: str, where: str) -> Protocol:
    """The protocol of a YAML text that lies at `where`; raises ConfigError, nothing has a default."""
    read = parse_yaml(text, f"protocol {where}")
    known = {*_KEYS, "training", "backbone"}
    for key in read:
        if key not in known:
            raise ConfigError(f"protocol {where} has an unknown key '{key}'{did_you_mean(str(key), known)}")
    for key, kind in _KEYS.items():
        if not isinstance(read.get(key), kind):
            raise ConfigError(f"protocol {where} needs '{key}' ({kind.__name__}); it has {read.get(key)!r}")
    if not isinstance(read.get("training", {}), dict):
        raise ConfigError(f"protocol {where}: 'training' is a mapping; it has {read['training']!r}")
    transforms = read.get("backbone", {})
    if not isinstance(transforms, dict) or not all(isinstance(one, dict) for one in transforms.values()):
        raise ConfigError(
            f"protocol {where}: 'backbone' maps transforms to their options, as {{inflate: {{kernel: 3}}}}; "
            f"it has {transforms!r}"
        )
    mode = read["mode"]
    if not _MODE.fullmatch(mode):
        raise ConfigError(
            f"protocol {where} has mode '{mode}'; use frozen, finetune, partial:k, such as partial:2, or "
            "until:STAGE, such as until:layer3"
        )
    frozen: dict[str, Any] = {
        key: MappingProxyType(read[key]) for key in ("options", "training", "backbone") if key in read
    }
    return Protocol(**{**read, **frozen})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
