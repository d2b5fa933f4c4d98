"""Gated recurrent units against the equations of the paper."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from sslkit.contracts import FeatureInfo, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError
from sslkit_action.heads.gru import GRU

INFO = FeatureInfo((), (), (), 8, 8, (0.5,) * 3, (0.5,) * 3, embedding_dim=6)
TASK = Task("label", ("sit", "stand", "walk"), (32, 32), frames=8)


def given(frames: int) -> HeadFeatures:
    vector = torch.randn(2, frames, 6, generator=torch.Generator().manual_seed(frames))
    return HeadFeatures(vector, (), (32, 32), (Meta(0, "", (32, 32), (32, 32), (32, 32)),) * 2)


def states(head: GRU, frames: list[Tensor], suffix: str) -> list[Tensor]:
    """The state after each frame: reset and update gates, candidate, mixture."""
    weight, recurrent, bias, other = (
        cast(Tensor, getattr(head.recur, f"{kind}_{suffix}"))
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    state, kept = torch.zeros(recurrent.shape[1]), []
    for frame in frames:
        seen = (weight @ frame + bias).chunk(3)
        known = (recurrent @ state + other).chunk(3)
        reset, update = (seen[0] + known[0]).sigmoid(), (seen[1] + known[1]).sigmoid()
        candidate = (seen[2] + reset * known[2]).tanh()
        state = update * state + (1 - update) * candidate
        kept.append(state)
    return kept


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, False), (1, True), (2, True)])
def test_the_last_states_tell_the_class(frames: int, layers: int, bidirectional: bool) -> None:
    head = GRU(INFO, TASK, layers=layers, bidirectional=bidirectional, width=4)
    features = given(frames)
    assert features.vector is not None
    found = head(features)
    for clip, logits in zip(features.vector, found, strict=True):
        seen = _inputs(head, clip, layers - 1)
        last = states(head, seen, f"l{layers - 1}")[-1]
        if bidirectional:
            last = torch.cat([last, states(head, seen[::-1], f"l{layers - 1}_reverse")[-1]])
        torch.testing.assert_close(logits, head.classify(last), atol=1e-5, rtol=1e-4)


def _inputs(head: GRU, clip: Tensor, layer: int) -> list[Tensor]:
    """What a layer reads: the states of the layer below, of both directions where there are two."""
    seen = [head.normalise(frame) for frame in clip]
    for below in range(layer):
        ahead = states(head, seen, f"l{below}")
        if head.directions == 1:
            seen = ahead
            continue
        back = states(head, seen[::-1], f"l{below}_reverse")[::-1]
        seen = [torch.cat(pair) for pair in zip(ahead, back, strict=True)]
    return seen


def test_features_of_half_precision_are_taken() -> None:
    head, features = GRU(INFO, TASK, width=4), given(3)
    assert features.vector is not None
    with torch.autocast("cpu", torch.bfloat16):
        half = head(HeadFeatures(features.vector.bfloat16(), (), features.canvas, features.metas))
    torch.testing.assert_close(half.float(), head(features), atol=3e-2, rtol=3e-2)


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="layers is 3; it is a whole number, 1 to 2"):
        GRU(INFO, TASK, layers=3)
