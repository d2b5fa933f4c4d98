"""Attention written out, and what it must not look at."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import FeatureInfo, FeatureMap, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError
from sslkit_action.heads.attentive_pool import AttentivePool, times

INFO = FeatureInfo(("last",), (6,), (8,), 8, 8, (0.5,) * 3, (0.5,) * 3)
TASK = Task("label", ("sit", "stand", "walk"), (32, 32), frames=8)
SIZES = ((24, 16), (20, 9))  # of the pictures; cells are 8 pixels


def given(*, frames: int = 3, padding: int = 0, loud: float = 0.0, stride: int = 1) -> HeadFeatures:
    """Maps of 3 x 2 cells, with rows and columns of padding that say something loud."""
    values = torch.randn(2, frames, 6, 3, 2, generator=torch.Generator().manual_seed(frames))
    canvas = (8 * (3 + padding), 8 * (2 + padding))
    last = FeatureMap(F.pad(values, (0, padding, 0, padding), value=loud), 8, stride)
    return HeadFeatures(None, (last,), canvas, tuple(Meta(0, "", size, size, canvas) for size in SIZES))


def share(cell: int, pixels: int) -> float:
    return min(1.0, max(0.0, pixels / 8 - cell))


def slow(head: AttentivePool, values: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """One clip (T', C, h, w) to logits (K,), token by token and head by head."""
    width = len(head.query)
    each = width // head.heads
    query = head.ask(head.query)
    keys, answers, votes = [], [], []
    for time, frame in enumerate(values):
        clock = torch.tensor(
            [math.sin(time * stride / 10_000 ** (2 * place / width)) for place in range(width // 2)]
            + [math.cos(time * stride / 10_000 ** (2 * place / width)) for place in range(width // 2)]
        )
        for row in range(frame.shape[1]):
            for column in range(frame.shape[2]):
                pair = head.answer(head.embed(frame[:, row, column]) + clock)
                keys.append(pair[:width])
                answers.append(pair[width:])
                votes.append(share(row, size[0]) * share(column, size[1]))
    pooled = []
    for part in range(head.heads):
        of = slice(part * each, (part + 1) * each)
        weights = [
            vote * ((query[of] * key[of]).sum() / math.sqrt(each)).exp()
            for key, vote in zip(keys, votes, strict=True)
        ]
        total = sum(weights)
        pooled.append(
            sum(weight / total * answer[of] for weight, answer in zip(weights, answers, strict=True))
        )
    seen = head.query + head.mix(torch.cat(pooled))  # type: ignore[arg-type]
    logits: Tensor = head.classify(head.normalise(seen + head.refine(seen)))
    return logits


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_it_is_attention_written_out(heads: int, stride: int) -> None:
    head, features = AttentivePool(INFO, TASK, heads=heads, width=8), given(stride=stride)
    head.query.data.normal_()
    expected = torch.stack(
        [slow(head, clip, size, stride) for clip, size in zip(features.maps[0].values, SIZES, strict=True)]
    )
    torch.testing.assert_close(head(features), expected, atol=1e-5, rtol=1e-4)


def test_tokens_of_frames_are_the_means_of_their_cells() -> None:
    head, features = AttentivePool(INFO, TASK, heads=2, width=8, tokens="frames"), given()
    values = features.maps[0].values
    whole = tuple(Meta(0, "", (8, 8), (8, 8), (8, 8)) for _ in SIZES)
    shares = torch.tensor(
        [[[share(r, s[0]) * share(c, s[1]) for c in range(2)] for r in range(3)] for s in SIZES]
    )
    weights = shares[:, None, None]
    means = (values * weights).sum(dim=(3, 4), keepdim=True) / weights.sum(dim=(3, 4), keepdim=True)
    expected = head(HeadFeatures(None, (FeatureMap(means, 8),), (8, 8), whole))
    torch.testing.assert_close(head(features), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tokens", ["cells", "frames"])
def test_padding_changes_nothing(tokens: str) -> None:
    head = AttentivePool(INFO, TASK, heads=2, width=8, tokens=tokens)
    torch.testing.assert_close(head(given(padding=2, loud=9.0)), head(given()), atol=1e-5, rtol=1e-5)


def test_a_network_of_half_the_frames_has_the_clock_of_the_frames_it_stands_for() -> None:
    like = torch.zeros(8)
    torch.testing.assert_close(times(3, 2, like), times(6, 1, like)[::2])


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="width is 100 with 8 heads; it is a multiple of 16, such as 256"):
        AttentivePool(INFO, TASK, width=100)
    with pytest.raises(
        ConfigError, match="tokens is 'cell'; it is one of frames, cells; did you mean 'cells'"
    ):
        AttentivePool(INFO, TASK, tokens="cell")
