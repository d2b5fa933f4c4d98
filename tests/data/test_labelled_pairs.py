"""Batches of pairs: both frames and the flow between them change alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sslkit.contracts import FlowField, Frames
from sslkit.data.augment import Augment, Elastic
from sslkit.data.labelled import LabelledLoader
from sslkit.data.warp import fit
from tests.data.painted import Contents, video

SIZE = (64, 80)
PLACED = [
    None,
    Augment(flip=1.0),
    Augment(scale=(0.6, 2.0)),
    Augment(flip=0.5, scale=(0.7, 1.6), elastic=Elastic(2.0, 16.0)),
]


def texture(height: int, width: int, seed: int) -> Tensor:
    """Smooth noise (3, height, width)."""
    coarse = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))
    fine = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)[0]
    return (fine.clamp(0, 1) * 235 + 10).to(torch.uint8)


def moving(count: int = 6, height: int = 72, width: int = 96) -> Contents:
    """Windows on textures that move by some pixels, and how the picture in them does."""
    contents, targets = [], []
    for seed in range(count):
        x, y = torch.randint(-6, 7, (2,), generator=torch.Generator().manual_seed(seed + 50)).tolist()
        x = x or 5
        whole = texture(height + 16, width + 16, seed)
        first = whole[:, 8 : 8 + height, 8 : 8 + width]
        second = whole[:, 8 + y : 8 + y + height, 8 + x : 8 + x + width]
        contents.append(Frames(tuple(one.permute(1, 2, 0).contiguous().numpy() for one in (first, second))))
        vectors = torch.tensor([-x, -y]).view(2, 1, 1).expand(2, height, width).float().contiguous()
        valid = torch.ones(height, width, dtype=torch.bool)
        valid[:10, :10] = False  # not known there
        targets.append(FlowField(vectors, valid))
    return Contents(*contents, targets=targets)


def loader(source: Any, **given: Any) -> LabelledLoader:
    return LabelledLoader(source, **{"size": SIZE, "batch_size": 6, "pairs": True, **given})


def errors(pixels: Tensor, flow: FlowField, sign: float = 1.0) -> Tensor:
    """How far each pixel of the first frame is from where the flow says that it lies in the second."""
    first, second = pixels.float()
    height, width = first.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ends = torch.stack([x, y]) + sign * flow.vectors
    inside = (ends >= 1).all(0) & (ends[0] <= width - 2) & (ends[1] <= height - 2)
    grid = (2 * ends + 1) / torch.tensor([width, height]).view(2, 1, 1) - 1
    found = F.grid_sample(second[None], grid.permute(1, 2, 0)[None], align_corners=False)[0]
    assert flow.valid is not None
    # Where the second frame is padding nothing is found.
    seen = second.sum(0) > 0
    shown = F.grid_sample(seen[None, None].float(), grid.permute(1, 2, 0)[None], align_corners=False)[0, 0]
    return (found - first).abs().mean(0)[flow.valid & inside & (shown > 0.999)]


@pytest.mark.parametrize("augment", PLACED, ids=["none", "flip", "scale", "all"])
def test_the_flow_still_leads_from_the_first_frame_to_the_second(augment: Augment | None) -> None:
    right, wrong = [], []
    for epoch in range(2):
        (batch,) = loader(moving(), augment=augment).epoch(epoch)
        assert batch.pixels.shape == (6, 2, 3, *SIZE)
        for pixels, meta, flow in zip(batch.pixels, batch.metas, batch.targets, strict=True):
            assert isinstance(flow, FlowField)
            assert flow.vectors.shape == (2, *SIZE)
            assert flow.valid is not None
            assert not flow.valid[meta.valid[0] :].any()
            assert not flow.valid[:, meta.valid[1] :].any()
            assert not pixels[..., meta.valid[0] :, :].any()
            right.append(errors(pixels, flow))
            wrong.append(errors(pixels, flow, sign=-1.0))
    assert sum(map(len, right)) > 12_000
    assert float(torch.cat(right).mean()) < 3
    assert float(torch.cat(wrong).mean()) > 20


def test_what_is_fitted_comes_back_at_its_original_size() -> None:
    vectors = torch.tensor([8.0, -4.0]).view(2, 1, 1).expand(2, 64, 96).contiguous()
    images = (np.zeros((64, 96, 3), np.uint8),) * 2
    (batch,) = loader(
        Contents(Frames(images), targets=[FlowField(vectors)]), size=(32, 48), batch_size=1
    ).epoch(0)
    (flow,), (meta,) = batch.targets, batch.metas
    assert isinstance(flow, FlowField)
    assert torch.equal(flow.vectors, vectors[:, :32, :48] / 2)
    grown = meta.map_to_original(flow.vectors) * torch.tensor([96 / 48, 64 / 32]).view(2, 1, 1)
    assert torch.allclose(grown, vectors)
    assert meta.valid == fit((64, 96), (32, 48)).valid


def test_frames_mostly_change_their_colours_alike_and_sometimes_apart() -> None:
    image = texture(24, 32, 0).permute(1, 2, 0).contiguous().numpy()
    flow = FlowField(torch.zeros(2, 24, 32))
    source = Contents(*[Frames((image, image))] * 300, targets=[flow] * 300)
    apart = 0
    pixels = torch.cat(
        [batch.pixels for batch in loader(source, size=(24, 32), augment=Augment(colour=0.4)).epoch(0)]
    )
    for first, second in pixels:
        apart += not torch.equal(first, second)
        assert not torch.equal(first, torch.from_numpy(image).permute(2, 0, 1))
    assert 0.13 < apart / 300 < 0.27


def test_rows_are_the_same_whatever_the_batch_rank_or_thread() -> None:
    augment = Augment(flip=0.5, scale=(0.7, 1.6), elastic=Elastic(2.0, 16.0), colour=0.4)
    given: dict[str, Any] = {"augment": augment, "drop_last": False, "seed": 3}

    def seen(*loaders: LabelledLoader) -> dict[int, tuple[Tensor, Tensor]]:
        rows = {}
        for batch in (batch for one in loaders for batch in one.epoch(1)):
            for id, pixels, target in zip(batch.ids.tolist(), batch.pixels, batch.targets, strict=True):
                rows[id] = (pixels, target.vectors)  # type: ignore[attr-defined]
        return rows

    source = moving()
    whole = seen(loader(source, **given))
    for other in (
        seen(loader(source, **given, batch_size=2, threads=3, ahead=True)),
        seen(*(loader(source, **given, rank=rank, world=3) for rank in range(3))),
        seen(loader(source, **given, kept_bytes=0)),
    ):
        assert other.keys() == whole.keys()
        assert all(torch.equal(a, b) for id in whole for a, b in zip(whole[id], other[id], strict=True))


def test_large_pairs_are_decoded_once_and_kept_small(tmp_path: Path) -> None:
    paths = []
    for number in range(2):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(np.full((240, 320, 3), 90 + number, np.uint8)).save(paths[-1])
    source = Contents(Frames(tuple(paths)), targets=[FlowField(torch.zeros(2, 240, 320))])
    kept = loader(source, batch_size=1, augment=Augment(scale=(0.5, 2.0)))
    (batch,) = kept.epoch(0)
    (sample,) = kept._samples.kept.samples.values()
    assert tuple(sample.pixels.shape) == (2, 3, 120, 160)
    for path in paths:
        path.unlink()
    assert len(next(kept.epoch(1))) == len(batch) == 1


def test_pairs_that_are_none_are_named(tmp_path: Path) -> None:
    small, large = np.zeros((24, 32, 3), np.uint8), np.zeros((24, 40, 3), np.uint8)
    Image.fromarray(large).save(tmp_path / "second.png")
    source = Contents(
        Frames((small, tmp_path / "second.png")), Frames((small,) * 3), small, video(9),
        targets=[FlowField(torch.zeros(2, 24, 32))] * 4,
    )  # fmt: skip
    (batch,) = loader(source, shuffle=False, drop_last=False).epoch(0)
    assert batch.pixels.shape == (0, 2, 3, *SIZE)
    reasons = [one.reason for one in batch.skipped]
    assert "second.png has 40x24 pixels, and image 1 32x24; what belongs together has one size" in reasons[0]
    assert "3 images where a head of pairs takes two" in reasons[1]
    assert "1 images where a head of pairs takes two" in reasons[2]
    assert "a video where a head of pairs takes two images" in reasons[3]
    (batch,) = loader(moving(1), pairs=False, batch_size=1, drop_last=False).epoch(0)
    assert "2 images where a head of images takes one" in batch.skipped[0].reason
