"""The checks of a head as parameters of a pytest test.

@pytest.mark.parametrize("check", head_checks(MyHead))
def test_conformance(check):
    check()
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from sslkit.errors import ConfigError, UnknownNameError
from sslkit.testing.head_kit import checks


def head_checks(head: type[Any] | str, *, expected_failures: Mapping[str, str] | None = None) -> list[Any]:
    """One `pytest.param` a check of `head_kit.checks`, a callable without arguments, under the check's id.

    head: the class, or "module:object". expected_failures: id of a check to the reason why the head does not
    hold it; such a check must fail, or the test does. Raises UnknownNameError for ids nobody knows.
    """
    cls = _loaded(head) if isinstance(head, str) else head
    known, declared = checks(), dict(expected_failures or {})
    for id in declared:
        if id not in known:
            raise UnknownNameError("check", id, known)
    return [
        pytest.param(
            partial(check, cls),
            id=id,
            marks=[pytest.mark.xfail(reason=declared[id], strict=True)] if id in declared else [],
        )
        for id, check in known.items()
    ]


def _loaded(name: str) -> type[Any]:
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ConfigError(
            f"head '{name}' is no class and no 'module:object'; give one, such as 'my_head:MyHead'"
        )
    found = getattr(importlib.import_module(module), attribute, None)
    if not inspect.isclass(found):
        raise ConfigError(f"'{name}' is not a class but {found!r}; give the class of a head")
    return found
