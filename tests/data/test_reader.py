"""Ids become canvases, the same by either way of reading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from sslkit.contracts import Item
from sslkit.data.decode.image import decode_image
from sslkit.data.reader import BatchReader


class Pictures:
    """Random arrays; `read_many` can be taken away."""

    classes: Sequence[str] = ("even", "odd")
    fingerprint = "pictures"
    native_side: int | None = 9

    def __init__(self, channels: int) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (6, 9, 7, channels), dtype=np.uint8)
        self.labels: np.ndarray | None = np.arange(6) % 2
        self.many_reads = 0

    def __len__(self) -> int:
        return 6

    def __getitem__(self, id: int) -> Item:
        return Item(self.images[id], f"picture {id}", id % 2)

    def read_many(self, ids: np.ndarray) -> np.ndarray:
        self.many_reads += 1
        many: np.ndarray = self.images[ids]
        return many


@pytest.mark.parametrize(("channels", "depth"), [(3, 3), (3, 1), (1, 1), (1, 3)])
@pytest.mark.parametrize("canvas", [9, 12, 6])
def test_reading_many_equals_decoding_each(channels: int, depth: int, canvas: int) -> None:
    source = Pictures(depth)
    ids = torch.tensor([4, 1, 5])
    batch = BatchReader(source, canvas, channels).read(ids)
    for row, id in enumerate(ids.tolist()):
        pixels, rectangle = decode_image(source.images[id], canvas=canvas, channels=channels)
        assert np.array_equal(batch.pixels[row].numpy(), pixels)
        assert tuple(batch.rectangles[row].tolist()) == rectangle
    assert batch.ids.tolist() == [4, 1, 5]
    assert batch.labels.tolist() == [0, 1, 1]
    assert source.many_reads == int(canvas >= 9)


def test_unknown_labels_are_minus_one() -> None:
    source = Pictures(3)
    source.labels = None
    assert BatchReader(source, 9).read(torch.tensor([0, 3])).labels.tolist() == [-1, -1]


def test_what_cannot_be_decoded_has_a_reason_and_no_row() -> None:
    class Damaged(Pictures):
        native_side: int | None = None

        def __getitem__(self, id: int) -> Item:
            return Item(b"no image" if id in (0, 2) else self.images[id], f"picture {id}", id % 2)

    batch = BatchReader(Damaged(3), 9).read(torch.tensor([0, 1, 2, 3]))
    assert batch.ids.tolist() == [1, 3]
    assert batch.labels.tolist() == [1, 1]
    assert len(batch.pixels) == len(batch.rectangles) == 2
    assert [(one.id, one.name) for one in batch.skipped] == [(0, "picture 0"), (2, "picture 2")]
    assert all("not an image" in one.reason for one in batch.skipped)
