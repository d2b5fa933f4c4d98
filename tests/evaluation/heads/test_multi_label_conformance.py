"""The classifier of many labels holds what heads promise, on networks of every family."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sslkit.testing.head_checks import head_checks

HEAD = "sslkit.evaluation.heads.multi_label_classifier:MultiLabelClassifier"


@pytest.mark.parametrize("check", head_checks(HEAD))
def test_multi_label_classifier(check: Callable[[], None]) -> None:
    check()
