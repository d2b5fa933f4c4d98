"""A text file is replaced whole or left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sslkit.atomic import replace_text
from sslkit.errors import ConfigError


def test_the_text_is_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    for text in ("one", "two 図 ", "undecodable \udce9"):
        replace_text(path, text)
        assert path.read_text("utf-8") == text.replace("\udce9", "?")
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_text_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.txt"
    replace_text(path, "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        replace_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
