"""Every head holds what heads promise, on networks of every family."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sslkit.testing.head_checks import head_checks


@pytest.mark.parametrize("check", head_checks("sslkit_flow.heads.flownet_c:FlowNetC"))
def test_flownet_c(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("check", head_checks("sslkit_flow.heads.flownet_s:FlowNetS"))
def test_flownet_s(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("check", head_checks("sslkit_flow.heads.flownet_s_stacked:StackedFlowNetS"))
def test_flownet_s_stacked(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("check", head_checks("sslkit_flow.heads.matching:Matching"))
def test_matching(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("check", head_checks("sslkit_flow.heads.raft:RAFT"))
def test_raft(check: Callable[[], None]) -> None:
    check()
