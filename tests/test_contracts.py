"""The words on the wire that do something of their own."""

import pytest
import torch

from sslkit.contracts import Batch, Skipped


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_parts_of_a_batch_are_the_batch_in_order_and_what_was_skipped_is_told_once(count) -> None:
    ids = torch.arange(7)
    skipped = (Skipped(9, "9.jpg", "damaged"),)
    pixels = torch.randint(0, 256, (7, 3, 4, 4), dtype=torch.uint8)
    batch = Batch(ids, pixels, torch.zeros(7, 4, dtype=torch.int64), ids % 3, ids // 2, skipped)
    parts = batch.split(count)
    assert len(parts) == count
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for name in ("ids", "pixels", "rectangles", "labels", "groups"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    assert [part.skipped for part in parts] == [skipped, *[()] * (count - 1)]
