"""Where things that can be made again are kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from sslkit.data import cache_folder as cache_folder_file
from sslkit.data.cache_folder import cache_folder
from sslkit.errors import ConfigError


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a place of temporary files that are the test's own."""
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("SSLKIT_CACHE", raising=False)


def test_the_named_folder_comes_before_the_usual_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == tmp_path / "home/.cache/sslkit"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / "home/.cache/sslkit"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/sslkit"
    monkeypatch.setenv("SSLKIT_CACHE", "~/mine/deep")
    assert cache_folder() == tmp_path / "home/mine/deep"
    assert cache_folder().is_dir()


def test_a_named_folder_that_is_no_use_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(
        ConfigError, match=r"SSLKIT_CACHE=.*Not a directory; name a folder that can be written"
    ):
        cache_folder()
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "closed"))
    monkeypatch.setattr(os, "access", lambda *_: False)  # a super-user may write anywhere
    with pytest.raises(ConfigError, match="cannot be written to"):
        cache_folder()


def test_without_a_home_it_lies_among_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / ".cache").write_text("a file in the way")
    folder = cache_folder()
    assert folder == tmp_path / "temporary" / f"sslkit-{os.getuid()}"
    assert folder.stat().st_mode & 0o077 == 0
    assert cache_folder() == folder
    monkeypatch.setattr(cache_folder_file.os.path, "expanduser", lambda path: path)  # no home at all
    monkeypatch.chdir(tmp_path)
    assert cache_folder() == folder
    assert not (tmp_path / "~").exists()


def test_a_temporary_folder_somebody_else_made_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / ".cache").write_text("a file in the way")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "temporary" / f"sslkit-{os.getuid()}").symlink_to(tmp_path / "theirs")
    with pytest.raises(ConfigError, match="belongs to another user; set SSLKIT_CACHE"):
        cache_folder()
