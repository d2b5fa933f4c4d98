"""A text file replaced in one step: a reader sees the old text or the new, never a part."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from sslkit.errors import ConfigError


def replace_text(path: Path, text: str) -> None:
    """Write UTF-8 text aside and rename it; missing folders are made.

    What is no UTF-8 (undecodable bytes of a file name) is written as "?". Raises ConfigError when the place
    cannot be written to.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; choose another place") from error
    finally:
        if aside.exists():
            aside.unlink()
