"""A model ready to embed: a run or a timm network with the plain view it expects, on this device."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.contracts import Features, Skipped, Source
from sslkit.data.clips import Clips
from sslkit.data.loader import Loader, choose_canvas, choose_workers
from sslkit.data.reader import holds_video
from sslkit.data.subset import Subset
from sslkit.data.views.plain import evaluation_view
from sslkit.evaluation.features import joined, stream
from sslkit.models.backbone import Backbone
from sslkit.models.creation import rebuilt
from sslkit.models.memory_layout import lay_out
from sslkit.models.weights import saved_clip, saved_size, weights_hash
from sslkit.runs.backbones import load_backbone
from sslkit.runs.reading import cores_of_a_rank
from sslkit.training.progress import ProgressLine

CROP = 0.875
"""Share of the shorter side that the plain view keeps; images of exactly the input side are kept whole."""


UNTRAINED = "random:"
"""What stands before the name of a network to be taken at random initialisation."""


@dataclass(frozen=True)
class Embedder:
    """A frozen backbone, its input side, and the hash that names its weights."""

    backbone: Backbone
    size: int
    model: str
    device: torch.device
    clips: Clips = field(default_factory=Clips)
    """What is seen of videos; the network embeds still images all the same."""

    @property
    def model_hash(self) -> str:
        """Names the weights: two equal hashes, one model."""
        return weights_hash(self.backbone.network)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How pixels become input, in JSON terms."""
        return {
            "size": self.size,
            "crop": CROP,
            "mean": list(self.backbone.mean),
            "std": list(self.backbone.std),
        }

    def stream(self, source: Source, *, batch_size: int = 128, progress: bool = True) -> Iterator[Features]:
        """Embeddings of a whole source in order, batch by batch; undecodable samples are in `skipped`."""
        batches = math.ceil(len(source) / max(1, min(batch_size, len(source))))
        with ProgressLine(total=batches, shown=progress, label="embed") as line:
            skipped: list[Skipped] = []
            for done, part in enumerate(self.batches(source, batch_size=batch_size), start=1):
                line.update(done, {})
                skipped += part.skipped
                yield part
            if skipped:
                line.say(left_out(skipped, len(source)))

    def batches(
        self, source: Source, *, batch_size: int = 128, only: NDArray[np.int64] | None = None
    ) -> Generator[Features]:
        """Embeddings of the batches that a source is cut into in order, or of those numbered `only`.

        What a batch gives does not depend on which others are asked for.
        """
        batch_size = min(batch_size, len(source))
        ids = torch.arange(len(source)) if only is None else _samples_of(only, batch_size, len(source))
        view = partial(
            evaluation_view, size=self.size, mean=self.backbone.mean, std=self.backbone.std, crop=CROP
        )
        loader = Loader(
            source if only is None else Subset(source, ids.numpy()),
            batch_size=batch_size,
            canvas=choose_canvas(source, self.size),
            channels=self.backbone.channels,
            workers=self._workers(source) if len(ids) > batch_size else 0,
            threads=torch.get_num_threads(),
            clips=self.clips if holds_video(source) else None,
            still=True,
            shuffle=False,
            drop_last=False,
        )
        with loader:
            for part in stream(self.backbone, loader.epoch(0), view, self.device):
                skipped = tuple(replace(skip, id=int(ids[skip.id])) for skip in part.skipped)
                yield replace(part, ids=ids[part.ids], skipped=skipped)

    def _workers(self, source: Source) -> int:
        return choose_workers(source, cores_of_a_rank(), self.device.type)

    def features(self, source: Source, *, progress: bool = True) -> Features:
        """All embeddings in one piece; raises DataError when nothing decodes."""
        return joined(self.stream(source, progress=progress))


def open_embedder(model: str | Path, *, pretrained: bool = True) -> Embedder:
    """Load a run folder or a network by name, with its weights, or as random:NAME without any.

    Raises ConfigError, ModelError or WeightsError.
    """
    if str(model).startswith(UNTRAINED):
        model, pretrained = str(model).removeprefix(UNTRAINED), False
    backbone = load_backbone(model, pretrained=pretrained)
    folder = Path(model)
    size = saved_size(folder) if folder.is_dir() else _own_size(backbone)
    name = str(folder.resolve()) if folder.is_dir() else str(model)
    frames, stride = saved_clip(folder) if folder.is_dir() else (1, 1.0)
    clips = Clips(frames=frames, stride=stride)
    return Embedder(on_device(backbone), size, name, default_device(), clips)


def untrained_like(embedder: Embedder, seed: int) -> Embedder:
    """The same architecture at random initialisation, looking at the same size and clips."""
    torch.manual_seed(seed)
    backbone = rebuilt(embedder.backbone.architecture)
    model = f"random:{backbone.architecture.described}"
    return replace(embedder, backbone=on_device(backbone), model=model)


def on_device(backbone: Backbone) -> Backbone:
    """The backbone where it computes fastest on this machine, ready for evaluation."""
    return lay_out(backbone.to(default_device()), channels_last=True).eval()


def default_device() -> torch.device:
    """The first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def left_out(skipped: Sequence[Skipped], of: int) -> str:
    """A line that counts the samples that could not be decoded and names the first."""
    first = skipped[0]
    return (
        f"{len(skipped)} of {of} images could not be decoded and are left out; "
        f"the first: {first.name}: {first.reason}"
    )


def _samples_of(batches: NDArray[np.int64], batch_size: int, count: int) -> Tensor:
    """Ids of the samples of some batches, int64 (M,)."""
    ids = torch.from_numpy(batches)[:, None] * batch_size + torch.arange(batch_size)
    return ids[ids < count]


def _own_size(backbone: Backbone) -> int:
    return int(backbone.network.pretrained_cfg["input_size"][-1])  # type: ignore[index]
