"""Which plugins are switched off here: a small JSON file in the user's folder of settings."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from sslkit.atomic import replace_text
from sslkit.errors import ConfigError

VARIABLE = "SSLKIT_CONFIG"
FILE = "plugins.json"


def settings_folder() -> Path:
    """The folder named by SSLKIT_CONFIG, else `sslkit` in XDG_CONFIG_HOME or ~/.config; it may be missing."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # A relative path is to be ignored (XDG Base Directory Specification).
    return (Path(base) if base.startswith("/") else Path(os.path.expanduser("~/.config"))) / "sslkit"  # noqa: PTH111 - Path.home() raises where there is none


def disabled_plugins() -> frozenset[str]:
    """The plugins not to be imported; a damaged file costs one line on stderr and disables none."""
    return frozenset(_read()["disabled"])


def switch(name: str, *, on: bool) -> Path:
    """Enable or disable a plugin from the next start on; gives the file where that is kept.

    Raises ConfigError when the file cannot be written.
    """
    file = settings_folder() / FILE
    if not file.is_absolute():  # "~" stays where there is no home
        raise ConfigError(f"there is no home folder to keep {FILE} in; set {VARIABLE} to a folder")
    settings = _read()
    others = {other for other in settings["disabled"] if other != name}
    settings["disabled"] = sorted(others if on else others | {name})
    replace_text(file, json.dumps(settings, indent=2) + "\n")
    return file


def _read() -> dict[str, Any]:
    """What the file holds, keys of later versions included; `disabled` is a list of names."""
    file = settings_folder() / FILE
    try:
        settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        fits = isinstance(settings, dict) and isinstance(settings.get("disabled"), list)
        if not fits or not all(isinstance(name, str) for name in settings["disabled"]):
            raise ValueError('it is {"disabled": ["NAME", ...]}')
    except FileNotFoundError:
        return {"disabled": []}
    except (OSError, ValueError, RecursionError) as error:  # a JSON or Unicode error is a ValueError
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        sys.stderr.write(f"sslkit: {file} is not read, so no plugin is disabled: {reason}\n")
        return {"disabled": []}
    return settings
