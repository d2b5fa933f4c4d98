"""What a plugin would give is read from its source, and nothing of it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslkit.registry import builtin
from sslkit.registry.plugins import load_plugins
from sslkit.registry.promises import promised, read_promises


def hook(returned: str, before: str = "") -> str:
    return (
        f"from sslkit.hookspecs import hookimpl\n{before}\n@hookimpl\ndef sslkit_heads():\n    {returned}\n"
    )


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (hook("return {'b': 'm:B', 'a': 'm:A'}"), ("a", "b")),
        (hook("return NAMES", "NAMES = {'a': 'm:A'}"), ("a",)),
        (hook("return NAMES", "NAMES: dict[str, str] = {'a': 'm:A'}"), ("a",)),
        (hook("return {**NAMES, 'b': 'm:B'}", "NAMES = {'a': 'm:A'}"), ("a", "b")),
        (hook("return NAMES | {'b': 'm:B'}", "NAMES = {'a': 'm:A'}"), ("a", "b")),
        (hook("return {n: f'm:{n}' for n in NAMES}", "NAMES = ('a', 'b')"), ("a", "b")),
        (hook("return {n: f'm:{n}' for n in ['a', 'b']}"), ("a", "b")),
        (hook("if x: return {'a': 'm:A'}\n    return {'b': 'm:B'}"), ("a", "b")),
        (hook("return made()"), ()),
        (hook("return NAMES", "NAMES = NAMES"), ()),
        (hook("return {1: 'm:A', n: 'm:B'}"), ()),
        (hook("return"), ()),
        ("def sslkit_others():\n    return {'a': 'm:A'}\n", ()),
    ],
)
def test_the_keys_written_in_a_hook_are_its_names(source: str, names: tuple[str, ...]) -> None:
    assert read_promises(source) == ({"head": names} if names else {})


def test_what_is_read_of_the_built_ins_is_what_they_give() -> None:
    source = Path(builtin.__file__).read_text(encoding="utf-8")
    assert read_promises(source) == load_plugins([]).plugins[0].provides


def test_a_module_is_found_without_running_its_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "sslkit_test_promising"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('ran')")
    (package / "inner" / "__init__.py").write_text(hook("return {'inner': 'm:A'}"))
    (package / "plugin.py").write_text(hook("return {'a': 'm:A'}") + "raise SystemExit('ran')")
    (tmp_path / "sslkit_test_alone.py").write_text(hook("return {'alone': 'm:A'}"))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert promised("sslkit_test_promising.plugin") == {"head": ("a",)}
    assert promised("sslkit_test_promising.plugin:Thing [extra]") == {"head": ("a",)}
    assert promised("sslkit_test_promising.inner") == {"head": ("inner",)}
    assert promised("sslkit_test_alone") == {"head": ("alone",)}
    assert promised("sslkit_test_promising") == {}


@pytest.mark.parametrize("source", [b"def", b"\xff\xfe", b"x = '\0'", b"(" * 3000])
def test_a_module_that_does_not_parse_promises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: bytes
) -> None:
    (tmp_path / "sslkit_test_unread.py").write_bytes(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert promised("sslkit_test_unread") == {}


@pytest.mark.parametrize(
    "module", ["no_such_package_anywhere.plugin", "json.no_such", "sys", "", "__main__.x"]
)
def test_a_module_that_is_not_there_promises_nothing(module: str) -> None:
    assert promised(module) == {}
