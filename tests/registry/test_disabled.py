"""What is switched off is kept in a small file, which may be damaged and must never stop a command."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sslkit.errors import ConfigError
from sslkit.registry.disabled import disabled_plugins, settings_folder, switch


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSLKIT_CONFIG", str(tmp_path / "settings"))
    return tmp_path / "settings"


def test_a_plugin_is_switched_off_and_on_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert disabled_plugins() == set()
    assert switch("b", on=False) == folder / "plugins.json"
    switch("a", on=False)
    switch("a", on=False)
    assert json.loads((folder / "plugins.json").read_text()) == {"disabled": ["a", "b"]}
    assert disabled_plugins() == {"a", "b"}
    switch("b", on=True)
    assert disabled_plugins() == {"a"}
    assert [file.name for file in folder.iterdir()] == ["plugins.json"]
    assert capsys.readouterr().err == ""


def test_what_a_later_version_keeps_in_the_file_stays(folder: Path) -> None:
    folder.mkdir()
    (folder / "plugins.json").write_text('{"disabled": [], "pinned": {"a": 1}}')
    switch("a", on=False)
    assert json.loads((folder / "plugins.json").read_text()) == {"disabled": ["a"], "pinned": {"a": 1}}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"disabled": "a"}', b'{"disabled": [1]}', b"{}", b"[" * 100_000],
)
def test_a_damaged_file_costs_one_line_and_is_replaced(
    folder: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    folder.mkdir()
    file = folder / "plugins.json"
    file.write_bytes(content)
    assert disabled_plugins() == set()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sslkit: {file} is not read, so no plugin is disabled: ")
    switch("a", on=False)
    assert disabled_plugins() == {"a"}


def test_a_folder_in_place_of_the_file_costs_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "plugins.json").mkdir(parents=True)
    assert disabled_plugins() == set()
    assert capsys.readouterr().err.count("\n") == 1


def test_a_place_that_cannot_be_written_is_named(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match=r"cannot write .*plugins\.json"):
        switch("a", on=False)


def test_the_folder_is_the_named_one_or_the_usual(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", "/elsewhere")
    monkeypatch.setenv("SSLKIT_CONFIG", "~/here")
    assert settings_folder() == tmp_path / "here"
    monkeypatch.delenv("SSLKIT_CONFIG")
    assert settings_folder() == Path("/elsewhere/sslkit")
    for ignored in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CONFIG_HOME", ignored)
        assert settings_folder() == tmp_path / ".config" / "sslkit"


def test_without_a_home_nothing_is_disabled_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSLKIT_CONFIG")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert disabled_plugins() == set()
    with pytest.raises(ConfigError, match="set SSLKIT_CONFIG to a folder"):
        switch("a", on=False)
    assert list(tmp_path.iterdir()) == []
