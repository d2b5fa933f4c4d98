"""Pictures of what probes say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sslkit.contracts import Features
from sslkit.data.sources.shapes import ShapesSource
from sslkit.evaluation.embedding_sheet import draw_embeddings
from sslkit.evaluation.judged import PerSample, Ranked

GREEN, RED = (42, 157, 124), (217, 102, 43)


def frames(path: Path) -> tuple[int, int]:
    """Pixels in the colour of what is right, and of what is wrong."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    right, wrong = (int((pixels == colour).all(axis=2).sum()) for colour in (GREEN, RED))
    return right, wrong


def features(source: ShapesSource) -> Features:
    assert source.labels is not None
    labels = torch.from_numpy(source.labels)
    return Features(torch.arange(len(source)), torch.eye(10)[labels] + 0.01, labels)


def test_right_and_wrong_classes_are_framed_as_such(tmp_path: Path) -> None:
    source = ShapesSource(count=24, size=32)
    test = features(source)
    for share, name in ((24, "right"), (0, "wrong"), (12, "half")):
        said = torch.where(torch.arange(24) < share, test.labels, (test.labels + 1) % 10)
        draw_embeddings(
            tmp_path / f"{name}.png", test, source, Ranked(said[:, None], test.labels, source.classes)
        )
    assert frames(tmp_path / "right.png")[1] == 0 == frames(tmp_path / "wrong.png")[0]
    right, wrong = frames(tmp_path / "half.png")
    assert right == wrong > 1000


def test_a_probe_without_classes_shows_each_query_with_its_neighbours(tmp_path: Path) -> None:
    source = ShapesSource(count=60, size=32)
    test = features(source)
    draw_embeddings(tmp_path / "near.png", test, source, PerSample({"recall@1": torch.ones(60)}))
    right, wrong = frames(tmp_path / "near.png")
    assert right > 1000  # embeddings tell the classes, so all neighbours are of the query's
    assert wrong == 0


def test_nothing_is_drawn_where_no_class_is_known(tmp_path: Path) -> None:
    source = ShapesSource(count=4, size=32)
    test = features(source)
    unknown = Features(test.ids, test.embeddings, torch.full((4,), -1))
    draw_embeddings(tmp_path / "none.png", unknown, source, PerSample({"x": torch.ones(4)}))
    assert not (tmp_path / "none.png").exists()
