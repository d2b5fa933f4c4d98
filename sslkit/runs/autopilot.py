"""Which engine makes the views: timed on this machine, with this data, at the start of a run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from sslkit.config import Recipe
from sslkit.contracts import Batch, Source, Views
from sslkit.data.reader import holds_video
from sslkit.data.views.policy import ViewPolicy
from sslkit.data.views.randomisation import Randomisation, RandomisedViews
from sslkit.errors import ConfigError, SslkitError
from sslkit.keyed_random import Keys, permutation
from sslkit.models.backbone import Backbone
from sslkit.registry import build
from sslkit.runs.reading import cores_of_a_rank, reader_of

_TRIED = 32
"""Images that each engine is timed on; more would cost a short run more than they tell."""
_ROUNDS = 3
_GAIN = 1.5
"""Another engine must be this many times as fast as the fused path to be chosen, so that runs on one machine
choose alike whatever else it is doing."""
_COMPILING = 60.0
"""Seconds that compiling may take; it is tried where the views of the run would take ten times as long."""


def make_views(recipe: Recipe, backbone: Backbone, *, engine: str | None = None) -> Views:
    """The recipe's view policy, normalising as the backbone expects, by the recipe's engine or another."""
    views: Views = build(
        "view_policy",
        recipe.views.name,
        size=recipe.views.size,
        mean=backbone.mean,
        std=backbone.std,
        **recipe.views.options,
    )
    clip = recipe.data.clip
    engine = engine or recipe.views.engine
    if isinstance(views, ViewPolicy):
        name = "fused" if engine in ("auto", "workers") else engine
        views = views.with_engine(name, shared=clip is not None and clip.positives == "temporal")
    elif clip is not None and not getattr(views, "takes_clips", False):
        raise ConfigError(f"view policy '{recipe.views.name}' is for still images; video needs another")
    if recipe.views.randomise is None:
        return views
    if not isinstance(views, ViewPolicy):
        raise ConfigError(f"views.randomise: '{recipe.views.name}' has no operations whose ranges could move")
    if engine == "workers":
        raise ConfigError(
            "views.randomise moves ranges between steps, so views cannot be made ahead by workers; choose "
            "another views.engine"
        )
    return RandomisedViews(views, Randomisation(views.spec, **recipe.views.randomise.model_dump()))


def settle_engine(
    recipe: Recipe, source: Source, backbone: Backbone, state: PartialState
) -> tuple[Recipe, dict[str, float]]:
    """The recipe with the engine that "auto" stands for here, and milliseconds an image by engine tried.

    The main process times and chooses for all.
    """
    if recipe.views.engine != "auto":
        return recipe, {}
    found: list[object] = [None]
    if state.is_main_process:
        found[0] = _timed(recipe, source, backbone, state.device)
    milliseconds: dict[str, float] = broadcast_object_list(found)[0]
    views = recipe.views.model_copy(update={"engine": chosen(milliseconds)})
    return recipe.model_copy(update={"views": views}), milliseconds


def chosen(milliseconds: dict[str, float]) -> str:
    """The fastest engine, or "fused" unless another is much faster; "exact" where nothing could be timed."""
    if "fused" not in milliseconds:
        return "exact"
    best = min(milliseconds, key=lambda engine: milliseconds[engine])
    return best if milliseconds["fused"] > _GAIN * milliseconds[best] else "fused"


def told(engine: str, milliseconds: dict[str, float]) -> list[str]:
    """A line on what was timed and chosen, for people; none where nothing was timed."""
    if not milliseconds:
        return []
    tried = ", ".join(f"{name} {taken:.2g} ms" for name, taken in milliseconds.items())
    return [f"views by engine '{engine}'; an image took: {tried} (views.engine or --views-engine overrides)"]


def _timed(recipe: Recipe, source: Source, backbone: Backbone, device: torch.device) -> dict[str, float]:
    if not isinstance(make_views(recipe, backbone, engine="exact"), ViewPolicy):
        return {}  # a plugin's own views have no engines
    batch = _some(recipe, source)
    if not len(batch):
        return {}
    milliseconds: dict[str, float] = {}
    fused = _per_image(make_views(recipe, backbone, engine="fused"), batch, device)
    milliseconds["fused"] = fused
    if holds_video(source):
        return milliseconds
    milliseconds["kornia"] = _per_image(make_views(recipe, backbone, engine="kornia"), batch, device)
    whole_run = fused / 1000 * len(source) * recipe.schedule.epochs
    if device.type != "cpu" and whole_run > 10 * _COMPILING:  # on a CPU it takes minutes and gains nothing
        try:
            compiled = make_views(recipe, backbone, engine="kornia_compiled")
            milliseconds["kornia_compiled"] = _per_image(compiled, batch, device)
        except SslkitError:
            pass  # this machine cannot compile
    if device.type != "cpu" and recipe.views.randomise is None:
        # On a CPU the workers' cores are the step's own, so nothing is won.
        views = make_views(recipe, backbone, engine="fused")
        milliseconds["workers"] = _on_one_core(lambda: _per_image(views, batch, _CPU)) / cores_of_a_rank()
    return milliseconds


_CPU = torch.device("cpu")


def _some(recipe: Recipe, source: Source) -> Batch:
    count = min(_TRIED, len(source), recipe.batch.size)
    return reader_of(recipe, source).read(permutation(len(source), seed=recipe.seed, epoch=0)[:count])


def _per_image(views: Views, batch: Batch, device: torch.device) -> float:
    """Milliseconds an image; the first round, which compiles and allocates, is not counted."""
    batch = batch.to(device)
    taken = []
    for epoch in range(_ROUNDS + 1):
        _wait(device)
        began = time.perf_counter()
        views(batch.pixels, batch.rectangles, Keys(0, epoch, batch.ids))
        _wait(device)
        taken.append(time.perf_counter() - began)
    return round(1000 * statistics.median(taken[1:]) / len(batch), 4)


def _on_one_core(measure: Callable[[], float]) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measure()
    finally:
        torch.set_num_threads(threads)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
