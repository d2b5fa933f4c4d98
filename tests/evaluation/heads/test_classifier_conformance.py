"""The classifier holds what heads promise, on networks of every family."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sslkit.testing.head_checks import head_checks


@pytest.mark.parametrize("check", head_checks("sslkit.evaluation.heads.classifier:Classifier"))
def test_classifier(check: Callable[[], None]) -> None:
    check()
