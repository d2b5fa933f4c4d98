"""From a recipe's `data` section to an open source and the loader that reads it."""

from __future__ import annotations

import os
from typing import cast

import torch
from accelerate import PartialState

from sslkit.config import Recipe
from sslkit.config.data import ClipPlan
from sslkit.contracts import Source, Views
from sslkit.data.cache_folder import cache_folder
from sslkit.data.clips import Clips
from sslkit.data.decoded_cache import CacheChoice, DecodedCache, choose_cache
from sslkit.data.loader import Loader, choose_canvas, choose_workers
from sslkit.data.mixed import MixedSource
from sslkit.data.reader import BatchReader, holds_video
from sslkit.errors import ConfigError
from sslkit.registry import open_source


def open_data(recipe: Recipe) -> Source:
    """The source of a recipe, or the mixture of several; raises ConfigError when it names none."""
    if recipe.data.mix:
        sources = [open_source(place.path, split=place.split) for place in recipe.data.mix]
        return MixedSource(sources, [place.weight for place in recipe.data.mix])
    if recipe.data.path is None:
        raise ConfigError("no data given: name a folder, e.g. `sslkit pretrain PHOTOS`, or set data.path")
    return open_source(recipe.data.path, split=recipe.data.split)


def resolve(recipe: Recipe, source: Source) -> Recipe:
    """Fix what "auto" means for this data, so that the run's config.yaml repeats it anywhere.

    Raises ConfigError for clips of data without video.
    """
    canvas = recipe.data.canvas if recipe.data.canvas != "auto" else choose_canvas(source, recipe.views.size)
    clip = recipe.data.clip
    if holds_video(source):
        clip = clip or ClipPlan()
    elif clip is not None:
        raise ConfigError(
            f"data.clip is for video, and {recipe.data.address} holds none; leave it out, or name a folder "
            "of videos"
        )
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"canvas": canvas, "clip": clip})})


def clips_of(recipe: Recipe) -> Clips | None:
    """How a resolved recipe looks at videos; None where its data is still images."""
    return Clips(**recipe.data.clip.model_dump()) if recipe.data.clip is not None else None


def reader_of(recipe: Recipe, source: Source) -> BatchReader:
    """Reads samples as a resolved recipe's training does, in this process."""
    return BatchReader(
        source,
        cast(int, recipe.data.canvas),
        recipe.data.channels,
        clips=clips_of(recipe),
        seed=recipe.seed,
        threads=torch.get_num_threads(),
    )


def training_loader(
    recipe: Recipe, source: Source, views: Views, state: PartialState, cache: DecodedCache | None
) -> Loader:
    """The loader of a resolved recipe on this process; it makes the views where the engine is "workers"."""
    by_workers = recipe.views.engine == "workers"
    return Loader(
        source,
        batch_size=recipe.batch.size,
        canvas=cast(int, recipe.data.canvas),
        channels=recipe.data.channels,
        seed=recipe.seed,
        workers=_workers(recipe, source, state),
        threads=torch.get_num_threads(),
        clips=clips_of(recipe),
        cache=cache,
        views=views if by_workers else None,
        rank=state.process_index,
        world=state.num_processes,
        pin_memory=state.device.type == "cuda",
    )


def cores_of_a_rank() -> int:
    """The cores of this machine, shared by the processes that the launcher started on it."""
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _workers(recipe: Recipe, source: Source, state: PartialState) -> int:
    if recipe.data.workers != "auto":
        return recipe.data.workers
    if recipe.views.engine == "workers":
        return cores_of_a_rank()
    return choose_workers(source, cores_of_a_rank(), state.device.type)


def decoded_cache(recipe: Recipe, source: Source) -> CacheChoice:
    """Where a resolved recipe keeps decoded images, or why it does not."""
    return choose_cache(
        source,
        canvas=cast(int, recipe.data.canvas),
        channels=recipe.data.channels,
        epochs=recipe.schedule.epochs,
        folder=cache_folder() / "decoded",
        setting=recipe.data.cache,
    )
