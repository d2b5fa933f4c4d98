"""Named recipes and recipe files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslkit.config import files, load_recipe, recipe_header, recipe_names
from sslkit.errors import ConfigError, UnknownNameError


def test_named_recipes_are_found_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "smoke-simclr" in recipe_names()
    assert load_recipe("smoke-simclr").objective.name == "simclr"


def test_packed_recipes_win_over_those_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, beside = tmp_path / "packed", tmp_path / "beside"
    for folder, seed in ((packed, 1), (beside, 2)):
        folder.mkdir()
        (folder / "mine.yaml").write_text(f"seed: {seed}\n", encoding="utf-8")
    monkeypatch.setattr(files, "_FOLDERS", (packed, beside))
    assert recipe_names() == ["mine"]
    assert load_recipe("mine").seed == 1


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'smoke-simclr'"):
        load_recipe("smoke-simclrr")


def test_a_missing_file_is_told_apart_from_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no recipe file"):
        load_recipe(str(tmp_path / "none.yaml"))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(file)


def test_the_header_is_the_leading_comment_alone(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("# purpose: try\n#\n#  indented\nseed: 1\n# later\n", encoding="utf-8")
    assert recipe_header(file) == "purpose: try\n\n indented"
