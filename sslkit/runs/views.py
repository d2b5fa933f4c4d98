"""`sslkit views`: a contact sheet of what a recipe's augmentations do to the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from sslkit.config import Recipe, load_recipe
from sslkit.contracts import Batch, Item, Moment, Source
from sslkit.data.views.contact_sheet import views_sheet, write_sheet
from sslkit.data.views.policy import ViewPolicy
from sslkit.errors import ConfigError
from sslkit.keyed_random import Keys, permutation
from sslkit.registry import open_source
from sslkit.runs.assembly import network_options
from sslkit.runs.autopilot import make_views
from sslkit.runs.backbones import build_backbone
from sslkit.runs.reading import clips_of, reader_of, resolve

SHOWN = 8
"""Samples on a sheet."""


def draw_sheet(
    data: str | Path, *, recipe: str | Path | None = None, out: str | Path, overrides: Sequence[str] = ()
) -> Path:
    """Draw a few samples beside their views in the first epochs, exactly as training would see them."""
    source = open_source(str(data))
    settings = resolve(load_recipe(recipe, overrides), source)
    write_sheet(sheet_of(source, settings), Path(out))
    return Path(out)


def sheet_of(source: Source, recipe: Recipe) -> np.ndarray:
    """The same for an open source and a resolved recipe: uint8 RGB (height, width, 3)."""
    network = build_backbone(recipe.backbone, size=recipe.views.size, options=network_options(recipe))
    views = make_views(recipe, network)
    if not isinstance(views, ViewPolicy):
        raise ConfigError(f"view policy '{recipe.views.name}' cannot be drawn: it is no ViewPolicy")
    ids = permutation(len(source), seed=recipe.seed, epoch=0)[:SHOWN]
    batch = reader_of(recipe, source).read(ids)
    items = [source[id] for id in batch.ids.tolist()]
    return views_sheet(
        views,
        batch.pixels,
        batch.rectangles,
        Keys(recipe.seed, 0, batch.ids),
        [item.name for item in items],
        epochs=1 if batch.pixels.dim() == 6 and batch.pixels.shape[2] > 1 else 3,
        times=_begins(recipe, batch, items),
    )


def _begins(recipe: Recipe, batch: Batch, items: Sequence[Item]) -> Tensor | None:
    """The second at which each clip of each sample begins, (N, M); still images begin at none."""
    clips = clips_of(recipe)
    if clips is None or not all(isinstance(item.content, Moment) for item in items):
        return None
    times = [
        clips.times(cast(Moment, item.content), recipe.seed, 0, id)
        for id, item in zip(batch.ids.tolist(), items, strict=True)
    ]
    return torch.from_numpy(np.stack(times)[:, :, 0])
