"""Every head holds what heads promise, on networks of every family."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sslkit.testing.head_checks import head_checks


@pytest.mark.parametrize("check", head_checks("sslkit_segmentation.heads.linear_seg:LinearSeg"))
def test_linear_seg(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("check", head_checks("sslkit_segmentation.heads.fcn:FCN"))
def test_fcn(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("check", head_checks("sslkit_segmentation.heads.unet:UNet"))
def test_unet(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("check", head_checks("sslkit_segmentation.heads.deeplab:DeepLab"))
def test_deeplab(check: Callable[[], None]) -> None:
    check()
