"""The RUN folder: what lies where, when it may be written, what is noted about the machine."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sslkit.config import Recipe, load_recipe
from sslkit.errors import ConfigError, RunError
from sslkit.version import __version__

_PACKAGES = ("torch", "torchvision", "timm", "kornia", "accelerate", "numpy", "pillow")


@dataclass(frozen=True)
class RunFolder:
    """config.yaml, environment.json, metrics.jsonl, skipped.txt, checkpoints/, backbone.*, report.html."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved recipe."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, hardware and command of the run."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """The diary."""
        return self.path / "metrics.jsonl"

    @property
    def skipped(self) -> Path:
        """Samples that could not be decoded, one a line: id, name, reason, separated by tabs."""
        return self.path / "skipped.txt"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    def recipe(self) -> Recipe:
        """The run's recipe; raises RunError when the folder is no run."""
        if not self.config.is_file():
            raise RunError(f"{self.path} is not a run: it has no config.yaml")
        return load_recipe(self.config)

    def write_recipe(self, recipe: Recipe) -> None:
        """Write config.yaml in one step."""
        aside = self.config.with_name(".config.yaml.partial")
        aside.write_text(recipe.to_yaml())
        aside.replace(self.config)

    def write_environment(self, facts: dict[str, Any]) -> None:
        """Write environment.json: the given facts, versions, platform and command."""
        everything = {
            "command": sys.argv,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "versions": {"sslkit": __version__, **{package: _version(package) for package in _PACKAGES}},
            **facts,
        }
        self.environment.write_text(json.dumps(everything, indent=2) + "\n")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # put on the path by hand
        return "unknown"


def planned_folder(out: str | Path | None, recipe: Recipe, *, overwrite: bool) -> RunFolder:
    """Where a new run may go; without `out`, runs/DATA-OBJECTIVE-BACKBONE with a free number.

    Nothing is touched. Raises ConfigError when `out` holds something and may not be overwritten.
    """
    path = Path(out) if out is not None else _free_name(recipe)
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out {path} is a file; give a folder that does not exist yet")
    if path.is_dir() and any(path.iterdir()):
        if not overwrite:
            raise ConfigError(
                f"--out {path} exists and is not empty; continue it with `sslkit resume {path}`, "
                "or add --overwrite to delete it and start again"
            )
        if not (path / "config.yaml").is_file():
            raise ConfigError(f"--out {path} is not a run, so --overwrite will not delete it; choose another")
    return RunFolder(path.resolve())


def create_folder(folder: RunFolder) -> None:
    """Make a planned folder, empty; raises RunError when that is not possible."""
    try:
        if folder.path.exists():
            shutil.rmtree(folder.path)
        folder.path.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"cannot create {folder.path}: {error}") from error


def _free_name(recipe: Recipe) -> Path:
    data = Path((recipe.data.path or "data").partition(":")[0]).stem or "data"
    base = f"{data}-{recipe.objective.name}-{recipe.backbone.name.partition('.')[0]}"
    path, number = Path("runs") / base, 2
    while path.exists():
        path, number = Path("runs") / f"{base}-{number}", number + 1
    return path
