"""Extraction: frozen inside, untouched after."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from sslkit.contracts import Batch, Skipped
from sslkit.errors import DataError, ModelError
from sslkit.evaluation.features import extract, stream

CPU = torch.device("cpu")


def backbone() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def batch(ids: list[int], skipped: tuple[Skipped, ...] = ()) -> Batch:
    pixels = (
        torch.stack([torch.full((3, 8, 8), id * 9 + 1, dtype=torch.uint8) for id in ids])
        if ids
        else torch.empty(0, 3, 8, 8, dtype=torch.uint8)
    )
    rectangles = torch.tensor([[0, 0, 8, 8]] * len(ids)).reshape(-1, 4)
    return Batch(
        torch.tensor(ids, dtype=torch.int64),
        pixels,
        rectangles,
        torch.tensor(ids, dtype=torch.int64) % 3,
        torch.tensor(ids, dtype=torch.int64),
        skipped,
    )


def view(pixels: Tensor, rectangles: Tensor) -> Tensor:
    assert rectangles.shape == (len(pixels), 4)
    return pixels.float() / 255


def test_rows_are_the_backbones_eval_output_in_batch_order() -> None:
    model = backbone()
    found = extract(model, [batch([3, 1]), batch([2])], view, CPU)
    assert found.ids.tolist() == [3, 1, 2]
    assert found.labels.tolist() == [0, 1, 2]
    model.eval()
    expected = model(torch.cat([view(b.pixels, b.rectangles) for b in (batch([3, 1]), batch([2]))]))
    torch.testing.assert_close(found.embeddings, expected.detach())
    assert not found.embeddings.requires_grad


def test_buffers_are_untouched_and_every_module_gets_its_mode_back() -> None:
    model = backbone().train()
    model[1].eval()  # frozen on purpose inside a training model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    extract(model, [batch([1, 2])], view, CPU)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model] == [True, False, True, True, True]
    assert model.training


def test_modes_come_back_after_an_error_and_after_stopping_early() -> None:
    model = backbone().train()

    def failing() -> Iterator[Batch]:
        yield batch([1])
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk"):
        extract(model, failing(), view, CPU)
    assert model[2].training
    rows = stream(model, [batch([1]), batch([2])], view, CPU)
    next(rows)
    assert not model[2].training
    rows.close()
    assert model[2].training


def test_a_module_that_stays_in_training_mode_is_named() -> None:
    class Stubborn(nn.Module):
        def train(self, mode: bool = True) -> Stubborn:
            self.training = True
            return self

    model = nn.Sequential(nn.Flatten(), Stubborn())
    with pytest.raises(ModelError, match=r"training mode after eval.*1"):
        extract(model, [batch([1])], view, CPU)


def test_embeddings_that_are_not_finite_are_refused_with_their_ids() -> None:
    class Breaking(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            flat = pixels.flatten(1)
            return torch.where(flat[:, :1] > 10 / 255, torch.nan, flat)

    with pytest.raises(ModelError, match="ids 5, 7; check the checkpoint"):
        extract(Breaking(), [batch([0, 5, 1, 7])], view, CPU)


def test_an_output_that_is_no_embedding_is_refused() -> None:
    with pytest.raises(ModelError, match=r"\(2, 4, 6, 6\) for 2 images"):
        extract(nn.Conv2d(3, 4, 3), [batch([1, 2])], view, CPU)


def test_autocast_computes_lower_and_returns_float32() -> None:
    model = backbone()
    exact = extract(model, [batch([5, 9])], view, CPU).embeddings
    rough = extract(model, [batch([5, 9])], view, CPU, autocast=torch.bfloat16).embeddings
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(exact, rough, atol=0.02, rtol=0.05)


def test_skipped_samples_are_reported_and_have_no_row() -> None:
    skip = Skipped(4, "broken.jpg", "cut short")
    found = extract(backbone(), [batch([1], (skip,)), batch([])], view, CPU)
    assert (len(found), found.skipped) == (1, (skip,))


def test_a_set_where_nothing_decodes_is_an_error_that_shows_the_first() -> None:
    skip = Skipped(4, "broken.jpg", "cut short")
    with pytest.raises(DataError, match=r"1 could not be decoded.*broken.jpg: cut short"):
        extract(backbone(), [batch([], (skip,))], view, CPU)
