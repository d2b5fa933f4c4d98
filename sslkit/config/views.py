"""The `views` section of a recipe: the policy, how large, by which engine, and how hard."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sslkit.config.section import Component, Count, Positive, Section, Share


class RandomisePlan(Section):
    """Automatic domain randomisation: ranges of the policy widen and narrow by measured difficulty.

    start, most: strengths of the ranges at first and at most, 1 being the policy's own. step: one change.
    widen_above, narrow_below: shares of positives retrieved past which a range moves. window: how many are
    counted for a verdict. boundary: share of samples whose view is pinned to the end of one range.
    """

    start: Share = 0.3
    step: Positive = 0.05
    widen_above: Share = 0.8
    narrow_below: Share = 0.4
    window: Count = 256
    boundary: Share = 0.25
    most: Annotated[float, Field(gt=0, le=2)] = 1.0
    ranges: Annotated[tuple[str, ...], Field(strict=False)] | None = None


class ViewsChoice(Component):
    """The view policy, the side of a view in pixels, and the keyword arguments of the policy.

    engine: what makes the views. "exact" follows torchvision to the digit, "fused" is written for speed,
    "kornia" and "kornia_compiled" are kornia's own, "workers" is fused in the processes that read. "auto" is
    settled at the start of a run, by timing them.
    """

    name: Annotated[str, Field(min_length=1)] = "auto"
    size: Annotated[int, Field(ge=8)] = 224
    engine: Literal["auto", "exact", "fused", "kornia", "kornia_compiled", "workers"] = "auto"
    randomise: RandomisePlan | None = None
