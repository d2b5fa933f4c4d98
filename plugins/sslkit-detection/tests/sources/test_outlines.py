"""Masks as polygons and run lengths, against pycocotools."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from sslkit.errors import DataError
from sslkit_detection.sources.coco import CocoSource

MakeCoco = Callable[..., Path]
TRIANGLE = [2.0, 3.0, 30.0, 5.0, 12.5, 25.0]


def test_target_equals_the_official_reader(make_coco: MakeCoco) -> None:
    """Boxes and masks of polygons, of several polygons, and of run lengths with and without compression."""
    rng = np.random.default_rng(0)
    pixels = rng.random((30, 40)) < 0.4
    runs = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    compressed = {"size": [30, 40], "counts": runs["counts"].decode()}
    flat = pixels.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    plain = {"size": [30, 40], "counts": [0, *counts] if flat[0] else counts}
    outlines = [[TRIANGLE], [TRIANGLE, [20, 20, 39, 20, 39, 29.5]], compressed, plain]
    path = make_coco(*({"segmentation": outline} for outline in outlines))
    target = CocoSource(path, masks=True).target(0)
    official = COCO(path)
    assert target.masks is not None
    assert target.masks.dtype == torch.bool
    for mask, entry in zip(target.masks, official.loadAnns(official.getAnnIds(imgIds=[10])), strict=True):
        np.testing.assert_array_equal(mask.numpy(), official.annToMask(entry).astype(bool))
    np.testing.assert_array_equal(target.masks[2].numpy(), pixels)
    np.testing.assert_array_equal(target.masks[3].numpy(), pixels)
    assert 0 < int(target.masks[0].sum()) < int(target.masks[1].sum())


@pytest.mark.parametrize(
    ("outline", "fault"),
    [
        (None, "no outline"),
        ([], "no outline"),
        ([[1, 1, 5, 5]], "at least three points"),
        ([[1, 1, 5, 5, 9, 1, 3]], "at least three points"),
        ([[1, 1, 5, "x", 9, 1]], "something else than numbers"),
        ([[1, 1, 5, math.nan, 9, 1]], "not finite"),
        ([[1, 1, 1e9, 1, 1e9, 9]], "a polygon leaves the image"),
        (
            {"size": [40, 30], "counts": [1200]},
            r"mask of size \[40, 30\] \(height, width\) in an image of \[30, 40\]",
        ),
        ({"size": [30, 40], "counts": [100, 5]}, "run lengths cover 105 pixels, the image has 1200"),
        ({"size": [30, 40], "counts": [1300, -100]}, "whole numbers >= 0"),
        ({"size": [30, 40], "counts": 7}, "neither text nor a list"),
        ({"size": [30, 40], "counts": "XXXX"}, "run lengths are damaged"),
        ({"size": [30, 40], "counts": "é"}, "letters that no encoder writes"),
        ({"size": [30, 40], "counts": ""}, "cover 0 pixels"),
    ],
)
def test_each_fault_of_a_mask_is_named_and_leaves_no_target(
    make_coco: MakeCoco, outline: Any, fault: str
) -> None:
    source = CocoSource(make_coco({"segmentation": outline}), masks=True)
    (line,) = source.problems()
    with pytest.raises(DataError, match=fault) as raised:
        source.target(0)
    assert str(raised.value) == line
    assert "image 'a.jpg', annotation 101" in line
    assert CocoSource(source.path).problems() == []
