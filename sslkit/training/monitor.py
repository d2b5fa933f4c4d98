"""The run's diary, `metrics.jsonl`: one JSON object a line, appended and flushed, cut back on resume."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Diary:
    """Appends records to a file; a record has at least `kind` and `step`."""

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        """resume_step: drop records later than this step, and a half-written last line."""
        if resume_step is not None and path.exists():
            _cut_back(path, resume_step)
        self._file = path.open("a", encoding="utf-8")

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one record; floats are kept to 6 significant digits."""
        record = {"kind": kind, "step": step, **{key: _short(value) for key, value in values.items()}}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


def read_diary(path: Path) -> list[dict[str, Any]]:
    """All complete records of a diary."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:  # the line a killed process was writing
            break
    return records


def _cut_back(path: Path, step: int) -> None:
    kept = [record for record in read_diary(path) if record["step"] <= step]
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in kept)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
