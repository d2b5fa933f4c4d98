"""Where sslkit keeps what it can make again: listings, headers, decoded canvases."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sslkit.errors import ConfigError

VARIABLE = "SSLKIT_CACHE"


def cache_folder() -> Path:
    """The folder named by SSLKIT_CACHE, else `sslkit` in XDG_CACHE_HOME or ~/.cache; made where missing.

    All in it can be deleted at any time. Where the home folder cannot be written to, it is a folder of the
    user's in the place of temporary files. Raises ConfigError when SSLKIT_CACHE names a place that is no use.
    """
    named = os.environ.get(VARIABLE)
    if named:
        folder = Path(named).expanduser().absolute()
        reason = _unusable(folder)
        if reason:
            raise ConfigError(
                f"{VARIABLE}={named} cannot be used: {reason}; name a folder that can be written to, "
                f"or unset {VARIABLE}"
            )
        return folder
    folder = _usual()
    if not folder.is_absolute() or _unusable(folder):  # "~" stays where there is no home
        folder = Path(tempfile.gettempdir()) / f"sslkit-{os.getuid()}"
        reason = _unusable(folder) or _of_another(folder)
        if reason:
            raise ConfigError(f"no place for a cache, {folder}: {reason}; set {VARIABLE} to a folder")
    return folder


def _usual() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is to be ignored (XDG Base Directory Specification).
    return (Path(base) if base.startswith("/") else Path(os.path.expanduser("~/.cache"))) / "sslkit"  # noqa: PTH111 - Path.home() raises where there is none


def _unusable(folder: Path) -> str | None:
    """Why nothing can be written in the folder, which is made if it is missing; None if it can."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return None if os.access(folder, os.W_OK | os.X_OK) else "it cannot be written to"


def _of_another(folder: Path) -> str | None:
    """Anyone can make a folder among temporary files; what another user wrote is not read."""
    status = folder.lstat()
    return None if status.st_uid == os.getuid() and not folder.is_symlink() else "it belongs to another user"
