"""A new plugin: all of its files or none, and a refusal that says what would work."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sslkit import scaffold
from sslkit.config.head_training import read_training
from sslkit.errors import ConfigError
from sslkit.evaluation.protocols import read_protocol
from sslkit.scaffold import new_plugin
from sslkit.scaffold.names import LONGEST
from sslkit.scaffold.plugin import SENSIBLE, TARGETS

PAIRS = [(input, target) for input, targets in SENSIBLE.items() for target in targets]
OTHERS = [(input, target) for input in SENSIBLE for target in TARGETS if (input, target) not in PAIRS]
LONGEST_NAME = "x" + "ab-" * 6 + "z"


def test_its_files_are_these(tmp_path: Path) -> None:
    made = new_plugin("tree-height", input="image", target="boxes", out=tmp_path)
    assert [path.relative_to(tmp_path / "sslkit-tree-height").as_posix() for path in made] == [
        "pyproject.toml",
        "README.md",
        "LICENSE",
        ".gitignore",
        ".github/workflows/test.yml",
        "sslkit_tree_height/__init__.py",
        "sslkit_tree_height/plugin.py",
        "sslkit_tree_height/head.py",
        "sslkit_tree_height/protocols/tree-height.yaml",
        "tests/test_tree_height.py",
    ]
    assert sorted(made) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert [path.name for path in tmp_path.iterdir()] == ["sslkit-tree-height"]


@pytest.mark.parametrize(("input", "target"), PAIRS)
def test_no_trace_of_a_template_is_left(tmp_path: Path, input: str, target: str) -> None:
    for path in new_plugin("fire", input=input, target=target, out=tmp_path):
        text = path.read_text(encoding="utf-8")
        assert "#:" not in text
        assert "$" not in text.replace("${{ matrix.python }}", "")
        if path.suffix == ".py":
            ast.parse(text)


@pytest.mark.parametrize(("input", "target"), PAIRS)
def test_its_protocol_says_everything(tmp_path: Path, input: str, target: str) -> None:
    new_plugin("fire", input=input, target=target, out=tmp_path)
    protocol = read_protocol(tmp_path / "sslkit-fire/sslkit_fire/protocols/fire.yaml")
    assert (protocol.id, protocol.version, protocol.head) == ("fire", 1, "fire")
    training = read_training(protocol.training, "fire")  # refuses what is missing, unknown or wrong
    assert training.size == ((224, 224) if input == "image" else (128, 128))


def test_its_entry_point_is_its_light_module(tmp_path: Path) -> None:
    new_plugin("tree-height", input="image", target="boxes", out=tmp_path)
    text = (tmp_path / "sslkit-tree-height/pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    assert project["name"] == "sslkit-tree-height"
    assert project["entry-points"]["sslkit.plugins"] == {"tree-height": "sslkit_tree_height.plugin"}


@pytest.mark.parametrize("name", ["x", LONGEST_NAME])
def test_what_is_written_is_in_order(tmp_path: Path, name: str) -> None:
    assert len(LONGEST_NAME) == LONGEST
    for input, target in PAIRS:
        new_plugin(name, input=input, target=target, out=tmp_path / f"{input}-{target}")
    ruff = shutil.which("ruff", path=Path(sys.executable).parent) or "ruff"
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([ruff, *command, tmp_path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("input", "target"), OTHERS)
def test_what_does_not_go_together_is_refused_with_what_does(tmp_path: Path, input: str, target: str) -> None:
    with pytest.raises(ConfigError) as refused:
        new_plugin("fire", input=input, target=target, out=tmp_path)
    message = str(refused.value)
    assert f"{input} with {', '.join(SENSIBLE[input])}" in message
    assert f"{target} goes with {' or '.join(i for i, t in PAIRS if t == target)}" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("input", "target", "message"),
    [
        ("images", "label", "unknown input 'images'; did you mean 'image'?"),
        ("image", "mask", "unknown target 'mask'; did you mean 'masks'?"),
    ],
)
def test_unknown_kinds_name_the_nearest(tmp_path: Path, input: str, target: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        new_plugin("fire", input=input, target=target, out=tmp_path)
    assert str(refused.value) == message


@pytest.mark.parametrize("kind", ["folder", "file", "lost link"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    there = tmp_path / "sslkit-fire"
    if kind == "folder":
        there.mkdir()
    elif kind == "file":
        there.write_text("mine")
    else:
        there.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"sslkit-fire exists.*another"):
        new_plugin("fire", input="image", target="label", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["sslkit-fire"]
    assert not there.is_dir() or list(there.iterdir()) == []


@pytest.mark.parametrize("after", [0, 7])
def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    written, write_text = [], Path.write_text

    def full(path: Path, text: str, **options: str) -> int:
        if len(written) == after:
            raise OSError(28, "No space left on device")
        written.append(path)
        return write_text(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ConfigError, match=r"cannot write .*sslkit-fire: No space left on device"):
        new_plugin("fire", input="image", target="label", out=tmp_path / "new" / "deep")
    assert len(written) == after
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=r"cannot write .*file/sslkit-fire"):
        new_plugin("fire", input="image", target="label", out=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_it_asks_for_no_torch() -> None:
    code = f"import sys, {scaffold.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
