"""`sslkit views`: a contact sheet of what a recipe's augmentations do to the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from sslkit.config import Recipe, load_recipe
from sslkit.contracts import Source
from sslkit.data.reader import BatchReader
from sslkit.data.views.contact_sheet import views_sheet, write_sheet
from sslkit.data.views.policy import ViewPolicy
from sslkit.errors import ConfigError
from sslkit.keyed_random import Keys, permutation
from sslkit.models.backbone import create_backbone
from sslkit.registry import open_source
from sslkit.runs.assembly import make_views, network_options, resolve

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
    network = create_backbone(
        recipe.backbone.name, size=recipe.views.size, stem="standard", options=network_options(recipe)
    )
    views = make_views(recipe, network)
    if not isinstance(views, ViewPolicy):
        raise ConfigError(f"view policy '{recipe.views.name}' cannot be drawn: it is no ViewPolicy")
    ids = permutation(len(source), seed=recipe.seed, epoch=0)[:SHOWN]
    reader = BatchReader(source, cast(int, recipe.data.canvas), recipe.data.channels)
    batch = reader.read(ids)
    names = [source[int(id)].name for id in batch.ids]
    return views_sheet(views, batch.pixels, batch.rectangles, Keys(recipe.seed, 0, batch.ids), names)
