"""The names a plugin would give, read from its source: a module that fails to import cannot be asked."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from sslkit.hookspecs import HOOKS, Kind


def promised(module: str) -> dict[Kind, tuple[str, ...]]:
    """The names that an entry point's module would register, by kind; nothing of the plugin is executed.

    module: an entry point's value, such as "package.plugin". Empty where no source is found or it does not
    parse.
    """
    named = re.match(r"[\w.]+", module)
    source = _source_of(named.group()) if named else None
    try:
        return read_promises(source.read_bytes()) if source else {}
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # all that ast.parse may raise
        return {}


def read_promises(source: str | bytes) -> dict[Kind, tuple[str, ...]]:
    """The string keys of what the hooks of a module return, as far as they are written out in it.

    Literal mappings, those unpacked into another, comprehensions over literal names, and all of these under a
    name of the module. Raises SyntaxError where the source is no Python.
    """
    tree = ast.parse(source)
    constants: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            constants |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            constants[node.target.id] = node.value
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    promises: dict[Kind, tuple[str, ...]] = {}
    for kind, hook in HOOKS.items():
        inside = ast.walk(functions[hook]) if hook in functions else ()
        returned = [node.value for node in inside if isinstance(node, ast.Return) and node.value]
        names = {name for value in returned for name in _keys(value, constants)}
        if names:
            promises[kind] = tuple(sorted(names))
    return promises


def _keys(node: ast.expr, constants: Mapping[str, ast.expr]) -> list[str]:
    """The names that are keys of a mapping as written."""
    if isinstance(node, ast.Name) and node.id in constants:
        rest = {name: value for name, value in constants.items() if name != node.id}  # `A = A` ends
        return _keys(constants[node.id], rest)
    if isinstance(node, ast.Dict):
        own = [key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
        pairs = zip(node.keys, node.values, strict=True)
        return own + [name for key, value in pairs if key is None for name in _keys(value, constants)]
    if isinstance(node, ast.BinOp):  # one | another
        return _keys(node.left, constants) + _keys(node.right, constants)
    if isinstance(node, ast.DictComp) and isinstance(node.key, ast.Name):
        return _elements(node.generators[0].iter, constants)
    return []


def _elements(node: ast.expr, constants: Mapping[str, ast.expr]) -> list[str]:
    """The names in a tuple, list or set as written."""
    if isinstance(node, ast.Name):
        node = constants.get(node.id, node)
    parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else []
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def _source_of(module: str) -> Path | None:
    """The file of a module, found without importing its parent packages."""
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)  # of a top-level name it executes nothing
    except Exception:  # a stranger's finder may raise anything
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *rest)
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file
    return None
