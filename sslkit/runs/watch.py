"""The online monitor: what the backbone knows at the end of an epoch, on a fixed part of the data."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch

from sslkit.data.loader import Loader
from sslkit.data.subset import Subset
from sslkit.data.views.plain import evaluation_view
from sslkit.evaluation.features import extract
from sslkit.evaluation.knn import knn_leave_one_out
from sslkit.evaluation.metrics import top_share
from sslkit.keyed_random import permutation
from sslkit.runs.assembly import Parts
from sslkit.runs.reading import clips_of
from sslkit.training.health import embedding_std, rankme


class Watch:
    """Embeds the same samples each time and measures them; labels, where there are any, serve k-NN only."""

    def __init__(self, parts: Parts) -> None:
        recipe = parts.recipe
        count = min(recipe.monitor.samples, len(parts.source))
        ids = permutation(len(parts.source), seed=recipe.seed, epoch=0)[:count].sort().values
        self._k = min(recipe.monitor.k, count - 1)
        self._classes = len(parts.source.classes)
        self._loader = Loader(
            Subset(parts.source, ids.numpy()),
            batch_size=min(count, 256),
            canvas=cast(int, recipe.data.canvas),
            channels=recipe.data.channels,
            seed=0,
            workers=0,
            threads=torch.get_num_threads(),
            clips=clips_of(recipe),
            still=True,
            shuffle=False,
            drop_last=False,
        )
        size, backbone = recipe.views.size, parts.backbone
        self._view = partial(evaluation_view, size=size, mean=backbone.mean, std=backbone.std)

    def look(self, parts: Parts) -> dict[str, float]:
        """embedding_std, rankme, and knn (leave-one-out top-1, 0..1) where at least two classes are known."""
        features = extract(parts.backbone, self._loader.epoch(0), self._view, parts.accelerator.device)
        figures = {
            "embedding_std": embedding_std(features.embeddings),
            "rankme": rankme(features.embeddings),
        }
        known = features.labels >= 0
        if self._classes > 1 and int(known.sum()) > self._k:
            votes = knn_leave_one_out(
                features.embeddings[known],
                features.labels[known],
                k=self._k,
                temperature=0.07,
                classes=self._classes,
            )
            figures["knn"] = top_share(votes.ranking, features.labels[known], 1)
        return figures

    def close(self) -> None:
        """Release the loader."""
        self._loader.close()
