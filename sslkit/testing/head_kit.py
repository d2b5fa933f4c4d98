"""Conformance of a head: what every head, on any backbone, must hold, one check for each promise.

A check takes the class of the head, raises AssertionError that says what was expected and what came, and
unittest.SkipTest where the head's target leaves nothing to check. What a head learns of its example is kept
for the checks that follow in the same process. Checks run on the CPU, in a minute for a head that learns its
example in half of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, wraps
from unittest import SkipTest

from sslkit.testing import head_building, head_judging, head_learning
from sslkit.testing.head_trials import HeadClass

Check = Callable[[HeadClass], None]


def checks() -> Mapping[str, Check]:
    """Every check by its id, such as "overfits" or "builds[vit]"; quick ones first."""
    plain: dict[str, Check] = {
        "light_import": head_building.check_light_import,
        "spec": head_building.check_spec,
        "options": head_building.check_options,
        "example": head_building.check_example,
    }
    for network in head_building.BUILDS:
        plain[f"builds[{network}]"] = partial(head_building.check_builds, network=network)
    plain["builds_on_video"] = head_building.check_builds_on_video
    for kind in head_building.SIZES:
        plain[f"sizes[{kind}]"] = partial(head_building.check_size, kind=kind)
    plain |= {
        "gradients": head_learning.check_gradients,
        "frozen": head_learning.check_frozen,
        "empty_targets": head_learning.check_empty_targets,
        "ignored_targets": head_learning.check_ignored_targets,
        "one_pixel_object": head_learning.check_one_pixel_object,
        "deterministic": head_learning.check_deterministic,
        "bf16": head_learning.check_bf16,
        "no_global_state": head_judging.check_no_global_state,
        "loss_falls": head_learning.check_loss_falls,
        "overfits": head_learning.check_overfits,
        "sizes[padded]": head_learning.check_padded,
        "state_dict": head_learning.check_state_dict,
        "original_pixels": head_judging.check_original_pixels,
        "batch_independent": head_judging.check_batch_independent,
        "labels": head_judging.check_known_labels,
        "figures": head_judging.check_figures,
        "ranks": head_judging.check_ranks,
        "order": head_judging.check_order,
        "views": head_judging.check_views,
        "draw": head_judging.check_draw,
    }
    return {id: _asserting(id, check) for id, check in plain.items()}


def _asserting(id: str, check: Check) -> Check:
    """The check, with whatever else the head raises told as a failed assertion."""

    @wraps(check if not isinstance(check, partial) else check.func)
    def asserted(head: HeadClass) -> None:
        try:
            check(head)
        except (AssertionError, SkipTest):
            raise
        except Exception as error:
            raise AssertionError(
                f"{head.__name__} raised {type(error).__name__} in '{id}': {error}"
            ) from error

    return asserted
