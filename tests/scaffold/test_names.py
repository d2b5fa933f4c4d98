"""Names of plugins: what is one, what is taken, and what would do instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sslkit.errors import ConfigError
from sslkit.scaffold.names import LONGEST, check_name, class_name, distribution_name, package_name

IMPOSSIBLE = {
    "Fire": "fire",
    "TreeHeight": "tree-height",
    "tree height": "tree-height",
    "tree_height": "tree-height",
    "tree--height": "tree-height",
    "tree-": "tree",
    "3d-boxes": "d-boxes",
    "sslkit-fire": "fire",
    "../fire": "fire",
    "fire\n": "fire",
    "": "tree-height",
    "Grüße": "gr-e",
    "x" * (LONGEST + 1): "x" * LONGEST,
}


@pytest.mark.parametrize("name", ["fire", "tree-height", "x", "3d-boxes"[3:], "v2", "x" * LONGEST])
def test_a_sound_name_passes(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(("name", "near"), IMPOSSIBLE.items())
def test_what_is_no_name_is_refused_with_one_that_works(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"try '{near}'")):
        check_name(name)
    check_name(near)


@pytest.mark.parametrize("name", ["detection", "knn", "built-in"])
def test_names_of_sslkit_itself_are_taken(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is taken by sslkit.* try 'my-{name}'"):
        check_name(name)


def test_the_name_of_an_importable_package_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_name("tree-height")
    (tmp_path / "sslkit_tree_height.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="taken by the package sslkit_tree_height"):
        check_name("tree-height")


@pytest.mark.parametrize(
    ("metadata", "entry", "owner"),
    [
        ("Name: sslkit-fire", "", "distribution sslkit-fire"),
        ("Name: other", "[sslkit.plugins]\nfire = other.plugin\n", "plugin other.plugin"),
    ],
)
def test_what_is_installed_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: str, entry: str, owner: str
) -> None:
    info = tmp_path / f"{metadata.removeprefix('Name: ').replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\n{metadata}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=f"taken by the installed {owner}"):
        check_name("fire")


def test_names_that_follow_from_it() -> None:
    assert distribution_name("tree-height") == "sslkit-tree-height"
    assert package_name("tree-height") == "sslkit_tree_height"
    assert class_name("tree-height") == "TreeHeightHead"
