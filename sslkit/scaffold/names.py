"""What a new plugin may be called."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from importlib.util import find_spec

from sslkit.errors import ConfigError
from sslkit.hookspecs import ENTRY_POINT_GROUP

LONGEST = 20
OFFICIAL = ("action", "detection", "flow", "inflation", "segmentation")
"""The names of sslkit's own plugins, taken whether they are installed or not."""
BUILT_IN = ("built-in", "knn", "linear")
"""What `--head` and `plugins list` already mean by these."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def distribution_name(name: str) -> str:
    """What is installed: sslkit-NAME."""
    return f"sslkit-{name}"


def package_name(name: str) -> str:
    """What is imported: sslkit_NAME, a hyphen is an underscore."""
    return f"sslkit_{name.replace('-', '_')}"


def class_name(name: str) -> str:
    """The head's class, such as TreeHeightHead of tree-height."""
    return "".join(part.capitalize() for part in name.split("-")) + "Head"


def check_name(name: str) -> None:
    """Raise ConfigError for a name that is not one, or that is taken; it says what would work."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST:
        near = _nearest(name)
        mend = f"try '{near}'" if near else "try 'tree-height'"
        raise ConfigError(
            f"'{name}' is no name for a plugin; it is made of lower-case letters and digits, with single "
            f"hyphens between them, begins with a letter and is at most {LONGEST} long; {mend}"
        )
    if name.startswith("sslkit"):
        raise ConfigError(
            f"a plugin's name does not begin with sslkit, its package does; '{name}' would be "
            f"'{distribution_name(name)}'; try '{_nearest(name) or 'tree-height'}'"
        )
    owner = _owner(name)
    if owner:
        raise ConfigError(f"the name '{name}' is taken by {owner}; try 'my-{name}'")


def _nearest(name: str) -> str:
    """A name that would do, made of what was given; "" where nothing is left of it."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1-\2", name).lower()
    words = re.sub(r"[^a-z0-9]+", "-", words).removeprefix("sslkit").lstrip("-0123456789")
    return words[:LONGEST].rstrip("-")


def _owner(name: str) -> str:
    """Who has this name, or "": sslkit itself, an installed plugin, distribution or package."""
    if name in BUILT_IN:
        return "sslkit itself"
    if name in OFFICIAL:
        return f"sslkit's own plugin {distribution_name(name)}"
    for entry in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return f"the installed plugin {entry.value}"
    try:
        distribution(distribution_name(name))
    except PackageNotFoundError:
        pass
    else:
        return f"the installed distribution {distribution_name(name)}"
    return f"the package {package_name(name)}" if find_spec(package_name(name)) else ""
