"""The built-in view policies under the names the registry knows; a plugin's policy is called the same way.

All take `engine` (what computes the views) and `shared` (one draw for all views of a sample), as ViewPolicy
explains them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sslkit.data.views.policy import ViewPolicy, build_views
from sslkit.data.views.specs import Spec, multi_crop_spec
from sslkit.errors import ConfigError


def simclr(
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    engine: str = "exact",
    shared: bool = False,
    **options: Mapping[str, Any],
) -> ViewPolicy:
    """Two views as in SimCLR (Chen et al., 2020, appendix A); options change its operations by name."""
    return build_views("simclr", size=size, mean=mean, std=std, engine=engine, shared=shared, **options)


def simclr_small(
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    engine: str = "exact",
    shared: bool = False,
    **options: Mapping[str, Any],
) -> ViewPolicy:
    """SimCLR's views for small pictures: weaker colour, no blur (Chen et al., 2020, appendix B.9)."""
    return build_views("simclr_small", size=size, mean=mean, std=std, engine=engine, shared=shared, **options)


def byol(
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    engine: str = "exact",
    shared: bool = False,
    **options: Mapping[str, Any],
) -> ViewPolicy:
    """The two unlike views of BYOL (Grill et al., 2020, appendix B)."""
    return build_views("byol", size=size, mean=mean, std=std, engine=engine, shared=shared, **options)


def multi_channel(
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    engine: str = "exact",
    shared: bool = False,
    **options: Mapping[str, Any],
) -> ViewPolicy:
    """Two views of images with any number of channels: crop, intensity, blur, noise; no colours."""
    return build_views(
        "multi_channel", size=size, mean=mean, std=std, engine=engine, shared=shared, **options
    )


def multi_crop(
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    local_size: int | None = None,
    local_crops: int = 6,
    global_scale: Sequence[float] = (0.4, 1.0),
    local_scale: Sequence[float] = (0.05, 0.4),
    engine: str = "exact",
    shared: bool = False,
    **options: Mapping[str, Any],
) -> ViewPolicy:
    """DINO's two global and several smaller local views (Caron et al., 2021, section 3; SwAV's multi-crop).

    local_size: side of a local view in pixels; by default 3/7 of size, as 96 is of 224, in multiples of 16.
    local_crops: number of local views. global_scale, local_scale: share of the picture's area that a view
    shows. options: changes to an operation wherever it stands. A network built for one side, such as a ViT,
    takes smaller views with backbone.options.dynamic_img_size=true.
    """
    if not isinstance(local_crops, int) or local_crops < 0:
        raise ConfigError(f"local_crops is {local_crops!r}; it counts local views: 0 or more, 6 by default.")
    if local_size is None:
        local_size = min(size, max(1, round(size * 3 / 7 / 16)) * 16)
    spec = multi_crop_spec(
        local_size=local_size, local_crops=local_crops, global_scale=global_scale, local_scale=local_scale
    )
    return build_views(spec, size=size, mean=mean, std=std, engine=engine, shared=shared, **options)


def custom(
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    policy: Spec,
    engine: str = "exact",
    shared: bool = False,
) -> ViewPolicy:
    """A policy of one's own as data: a list of operations, each `{op: NAME, ...}`, for every view.

    A view smaller than size is written `{size: 96, operations: [...]}`.
    """
    return build_views(policy, size=size, mean=mean, std=std, engine=engine, shared=shared)
