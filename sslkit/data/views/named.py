"""The built-in view policies under the names the registry knows; a plugin's policy is called the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sslkit.data.views.policy import ViewPolicy, build_views


def simclr(
    *, size: int, mean: Sequence[float], std: Sequence[float], **options: Mapping[str, Any]
) -> ViewPolicy:
    """Two views as in SimCLR (Chen et al., 2020, appendix A); options change its operations by name."""
    return build_views("simclr", size=size, mean=mean, std=std, **options)


def simclr_small(
    *, size: int, mean: Sequence[float], std: Sequence[float], **options: Mapping[str, Any]
) -> ViewPolicy:
    """SimCLR's views for small pictures: weaker colour, no blur (Chen et al., 2020, appendix B.9)."""
    return build_views("simclr_small", size=size, mean=mean, std=std, **options)


def byol(
    *, size: int, mean: Sequence[float], std: Sequence[float], **options: Mapping[str, Any]
) -> ViewPolicy:
    """The two unlike views of BYOL (Grill et al., 2020, appendix B)."""
    return build_views("byol", size=size, mean=mean, std=std, **options)


def custom(
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    policy: Sequence[Sequence[Mapping[str, Any]]],
) -> ViewPolicy:
    """A policy of one's own as data: a list of operations, each `{op: NAME, ...}`, for every view."""
    return build_views(policy, size=size, mean=mean, std=std)
