"""Every head holds what heads promise, on networks of every family, and knows the order of frames or not.

What a head has learnt of its example by the checks serves the test of order that follows them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sslkit.testing.head_checks import head_checks
from sslkit.testing.head_trials import assemble, judged, learnt, train
from sslkit_action.examples import moving_squares
from sslkit_action.heads.attentive_pool import AttentivePool
from sslkit_action.heads.conv3d import Conv3d
from sslkit_action.heads.frame_pool import FramePool
from sslkit_action.heads.gru import GRU
from sslkit_action.heads.temporal_conv import TemporalConv


def both_ways(head: Any) -> tuple[list[Any], list[Any]]:
    """What is said of the clips that were learnt, and of the same ones played backwards."""
    trial = learnt(head)
    batch = trial.example.batch
    forwards = trial.model.predict(batch.pixels, batch.metas)
    return forwards, trial.model.predict(batch.pixels.flip(1), batch.metas)


def check_goes_the_other_way(head: Any) -> None:
    forwards, backwards = both_ways(head)
    assert [one.label for one in forwards] == [one.label for one in learnt(head).example.batch.targets]
    assert [one.label for one in backwards] == [one.label ^ 1 for one in forwards]  # left, right; up, down


@pytest.mark.parametrize("check", head_checks(AttentivePool))
def test_attentive_pool(check: Callable[[], None]) -> None:
    check()


def test_for_attentive_pool_a_clip_played_backwards_goes_the_other_way() -> None:
    check_goes_the_other_way(AttentivePool)


@pytest.mark.parametrize("check", head_checks(Conv3d))
def test_conv3d(check: Callable[[], None]) -> None:
    check()


def test_for_conv3d_a_clip_played_backwards_goes_the_other_way() -> None:
    check_goes_the_other_way(Conv3d)


@pytest.mark.parametrize("check", head_checks(GRU))
def test_gru(check: Callable[[], None]) -> None:
    check()


def test_for_gru_a_clip_played_backwards_goes_the_other_way() -> None:
    check_goes_the_other_way(GRU)


@pytest.mark.parametrize("check", head_checks(TemporalConv))
def test_temporal_conv(check: Callable[[], None]) -> None:
    check()


def test_for_temporal_conv_a_clip_played_backwards_goes_the_other_way() -> None:
    check_goes_the_other_way(TemporalConv)


@pytest.mark.parametrize("check", head_checks(FramePool))
def test_frame_pool(check: Callable[[], None]) -> None:
    check()


def test_frame_pool_knows_no_order() -> None:
    for one, other in zip(*both_ways(FramePool), strict=True):
        assert one.label == other.label
        torch.testing.assert_close(one.scores, other.scores, atol=1e-5, rtol=0)


def test_frame_pool_cannot_learn_what_order_alone_tells() -> None:
    example = moving_squares(0, reversible=True, steps=45, lr=3e-3)
    model = assemble(FramePool, example)
    train(model, example, example.steps)
    assert judged(model, example).figures["top1"] <= 0.5
