"""A new plugin: which kinds of heads there are templates for, and its files written in one step."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sslkit.errors import ConfigError, did_you_mean
from sslkit.scaffold.names import check_name, class_name, distribution_name, package_name
from sslkit.scaffold.template import render
from sslkit.version import __version__

SENSIBLE: Final[Mapping[str, Mapping[str, str]]] = {
    "image": {"label": "label", "boxes": "objects", "masks": "objects", "semantic": "semantic"},
    "pair": {"label": "label", "semantic": "semantic", "flow": "flow"},
    "clip": {"label": "label"},
}
"""Input to target to the template of the head."""
TARGETS: Final = ("label", "boxes", "masks", "semantic", "flow")

_WHY_NOT = {
    "flow": "flow tells where pixels go from one frame to another, so it needs a pair",
    "boxes": "objects are found in one image, so boxes need an image",
    "masks": "objects are found in one image, so masks need an image",
    "semantic": "a map of classes belongs to one image, or to what changed between a pair",
}


def new_plugin(name: str, *, input: str, target: str, out: Path) -> list[Path]:
    """Write the plugin `sslkit-NAME` into the folder `out`, and give its files.

    input: image | pair | clip; target: label | boxes | masks | semantic | flow. The folder appears whole or
    not at all, and nothing is overwritten. Raises ConfigError for a name that is none or is taken, for an
    input and target that do not go together, for a folder that exists and where it cannot be written.
    """
    check_name(name)
    _check_kind(input, target)
    folder = out / distribution_name(name)
    if folder.exists() or folder.is_symlink():
        raise ConfigError(
            f"{folder} exists, and nothing is overwritten; choose another name, or another --out"
        )
    texts = _texts(name, input, target)
    try:
        _write(folder, texts)
    except OSError as error:
        raise ConfigError(
            f"cannot write {folder}: {error.strerror or error}; choose another --out"
        ) from error
    return [folder / place for place in texts]


def _check_kind(input: str, target: str) -> None:
    for what, given, known in (("input", input, SENSIBLE), ("target", target, TARGETS)):
        if given not in known:
            raise ConfigError(f"unknown {what} '{given}'{did_you_mean(given, known)}")
    if target not in SENSIBLE[input]:
        takes = [kind for kind, targets in SENSIBLE.items() if target in targets]
        raise ConfigError(
            f"there is no head of {input} to {target}: {_WHY_NOT[target]}; {target} goes with "
            f"{' or '.join(takes)}, and {input} with {', '.join(SENSIBLE[input])}"
        )


def _texts(name: str, input: str, target: str) -> dict[str, str]:
    """Every file of the plugin: its place in the folder, and its text."""
    package, head = package_name(name), SENSIBLE[input][target]
    words = {
        "name": name,
        "distribution": distribution_name(name),
        "package": package,
        "Head": class_name(name),
        "input": input,
        "target": target,
        "version": __version__,
    }
    templates = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "LICENSE": "LICENSE",
        ".gitignore": "gitignore",
        ".github/workflows/test.yml": "test.yml",
        f"{package}/__init__.py": "init.py",
        f"{package}/plugin.py": "plugin.py",
        f"{package}/head.py": f"head_{head}.py",
        f"{package}/protocols/{name}.yaml": "protocol.yaml",
        f"tests/test_{package.removeprefix('sslkit_')}.py": f"test_{head}.py",
    }
    kinds = {input, target}
    return {place: render(template, words, kinds) for place, template in templates.items()}


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write the files aside, beside the nearest folder that exists, and rename them into place."""
    ground = next(parent for parent in folder.absolute().parents if parent.exists())
    aside = ground / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        for place, text in texts.items():
            path = aside / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
