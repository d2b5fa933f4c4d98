"""The house rules of docs/architecture.md, section 3, held against every import in the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sslkit"

# A room may import from itself and from strictly lower floors.
FLOORS = {
    "errors": 0,
    "keyed_random": 0,
    "version": 0,
    "atomic": 1,
    "contracts": 1,
    "distributed": 1,
    "yaml_text": 1,
    "config": 2,
    "hookspecs": 1,
    "models": 2,
    "neighbours": 2,
    "page": 2,
    "plots": 2,
    "scaffold": 2,
    "pairwise": 2,
    "data": 3,
    "mining": 3,
    "objectives": 3,
    "testing": 4,
    "training": 4,
    "evaluation": 4,
    "retrieval": 4,
    "registry": 5,
    "runs": 6,
    "cli": 7,
    "__init__": 8,
    "__main__": 8,
}
# On one floor, one step up: what ranks do together is written in terms of the contracts, and an objective may
# choose its negatives with a miner's rules.
STEPS = {("distributed", "contracts"), ("objectives", "mining")}
ENGINES = {
    "accelerate": ("runs/",),
    "av": ("data/decode/",),
    "faiss": ("neighbours/",),
    "fastapi": ("runs/serving/",),
    "gradio": ("runs/serving/",),
    "kornia": ("data/views/",),
    "pluggy": ("hookspecs.py", "registry/"),
    "sqlite3": ("retrieval/",),
    "starlette": ("runs/serving/",),
    "tifffile": ("data/decode/",),
    "timm": ("models/",),
    "torchcodec": ("data/decode/",),
    "typer": ("cli/",),
    "uvicorn": ("runs/serving/",),
}
APART = ("data/sources/", "objectives/")
KNOW_RECIPES = ("config/", "runs/", "cli/", "__init__.py")
PUBLIC_CONTRACT = ("contracts", "errors", "hookspecs", "keyed_random", "models", "testing")
NAMELESS = {"utils", "util", "common", "helpers", "helper", "misc", "tools", "core", "base"}

FILES = sorted(PACKAGE.rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """Every module a file imports, inside functions and under TYPE_CHECKING too; sslkit's with the name."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            assert node.module is not None
            if node.module == "sslkit":
                yield from (f"sslkit.{alias.name}" for alias in node.names)
            else:
                yield node.module


def place(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def below(upper: str, lower: str) -> bool:
    return upper == lower or FLOORS[lower] < FLOORS[upper] or (upper, lower) in STEPS


def test_every_file_stands_on_a_floor() -> None:
    assert {place(file) for file in FILES if room(file) not in FLOORS} == set()


def test_a_file_imports_only_from_its_own_room_and_lower_floors() -> None:
    upward = [
        f"{place(file)} imports {name}"
        for file in FILES
        for name in imports(file)
        if name.startswith("sslkit.") and not below(room(file), name.split(".")[1])
    ]
    assert upward == []


def test_an_engine_is_imported_in_its_own_room_only() -> None:
    strays = [
        f"{place(file)} imports {name}"
        for file in FILES
        for name in imports(file)
        if not place(file).startswith(ENGINES.get(name.partition(".")[0], ("",)))
    ]
    assert strays == []


def test_pictures_are_opened_in_the_decoding_room_only() -> None:
    opening = [place(file) for file in FILES if "Image.open(" in file.read_text(encoding="utf-8")]
    assert [name for name in opening if not name.startswith("data/decode/")] == []


def test_only_runs_and_the_command_line_know_recipes() -> None:
    knowing = {place(file) for file in FILES for name in imports(file) if name.startswith("sslkit.config")}
    assert [name for name in knowing if not name.startswith(KNOW_RECIPES)] == []


@pytest.mark.parametrize("folder", APART)
def test_siblings_stand_apart(folder: str) -> None:
    siblings = [file for file in FILES if place(file).startswith(folder) and file.stem != "__init__"]
    package = f"sslkit.{folder.rstrip('/').replace('/', '.')}"
    assert len(siblings) >= 2
    for file in siblings:
        met = [name for name in imports(file) if name.startswith(package)]
        assert not met, f"{place(file)} imports its sibling {met}"


def test_every_file_has_a_telling_name() -> None:
    assert not [place(file) for file in FILES if file.stem in NAMELESS]


def test_files_stay_small() -> None:
    lengths = {place(file): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {name: length for name, length in lengths.items() if length > 310} == {}


def test_a_plugin_imports_only_the_public_contract() -> None:
    strays = [
        f"{file} imports {name}"
        for file in (ROOT / "plugins").glob("*/sslkit_*/**/*.py")
        for name in imports(file)
        if name.startswith("sslkit.") and name.split(".")[1] not in PUBLIC_CONTRACT
    ]
    assert strays == []


def test_nothing_in_sslkit_imports_a_plugin() -> None:
    plugins = {folder.name for folder in (ROOT / "plugins").glob("*/sslkit_*")}
    assert not [name for file in FILES for name in imports(file) if name.partition(".")[0] in plugins]


@pytest.mark.parametrize(
    ("upper", "lower", "allowed"),
    [
        ("runs", "errors", True),
        ("errors", "runs", False),
        ("objectives", "data", False),
        ("cli", "cli", True),
    ],
)
def test_the_rule_itself_tells_up_from_down(upper: str, lower: str, allowed: bool) -> None:
    assert below(upper, lower) is allowed
