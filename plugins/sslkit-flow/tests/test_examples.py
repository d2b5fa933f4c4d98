"""Generated pairs: the flow is exact, and a function of the seed."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from sslkit.contracts import FlowField
from sslkit_flow.examples import learnt_by_heart


def test_the_second_frame_is_the_first_one_moved_by_the_flow() -> None:
    example = learnt_by_heart(0, side=48, goal=0.5, steps=1, lr=1e-3)
    assert (example.task.frames, example.task.size) == (2, (48, 48))
    for frames, target in zip(example.batch.pixels, example.batch.targets, strict=True):
        assert isinstance(target, FlowField)
        assert target.valid is not None
        first, second = frames.float()
        place = torch.from_numpy(np.stack(np.meshgrid(*[np.arange(48) + 0.5] * 2))).float() + target.vectors
        grid = (place / 24 - 1).permute(1, 2, 0)[None]
        back = F.grid_sample(second[None], grid, align_corners=False, padding_mode="border")[0]
        inside = target.valid & (place > 1).all(dim=0) & (place < 47).all(dim=0)
        still = (first - second).abs()[:, inside].mean()
        moved = (first - back).abs()[:, inside].mean()
        assert float(moved) < 4
        assert float(still) > 4 * float(moved)
        assert not bool(target.valid.all())


def test_another_seed_makes_other_pairs() -> None:
    one, again, other = (learnt_by_heart(seed, side=16, goal=1, steps=1, lr=1) for seed in (3, 3, 4))
    assert torch.equal(one.batch.pixels, again.batch.pixels)
    assert not torch.equal(one.batch.pixels, other.batch.pixels)
