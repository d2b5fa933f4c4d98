"""One pass of what is profiled: a backbone or a task model, predicting or training."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from sslkit.config.head_training import HeadTraining
from sslkit.contracts import Example, LabelledBatch, Meta, Task
from sslkit.data.warp import Placed
from sslkit.errors import ConfigError
from sslkit.models.backbone import Backbone
from sslkit.models.streaming import Stream
from sslkit.models.task_model import TaskModel
from sslkit.runs.head_parts import SGD_MOMENTUM
from sslkit.training.optim import build_optimizer
from sslkit.training.precision import PRECISIONS

LEARNING_RATE = 1e-6
"""What a step costs does not depend on it; weights stay where they are."""


@dataclass(frozen=True)
class Work:
    """A pass over the same batch each time; optimizer: where it trains."""

    module: nn.Module
    run: Callable[[], object]
    optimizer: torch.optim.Optimizer | None = None

    @property
    def parameters(self) -> dict[str, int]:
        """How many there are of the backbone, and of the head where there is one."""
        parts = {"backbone": self.module}
        if isinstance(self.module, TaskModel):
            parts = {"backbone": self.module.backbone, "head": self.module.head}
        return {
            name: sum(parameter.numel() for parameter in part.parameters()) for name, part in parts.items()
        }

    @property
    def weights_bytes(self) -> int:
        """Parameters and buffers."""
        return sum(tensor.nbytes for tensor in (*self.module.parameters(), *self.module.buffers()))

    @property
    def optimizer_bytes(self) -> int:
        """What the optimiser keeps of past steps."""
        states: Mapping[Any, Any] = self.optimizer.state if self.optimizer is not None else {}
        kept = [value for state in states.values() for value in state.values() if isinstance(value, Tensor)]
        return sum(value.nbytes for value in kept)


def embedding_work(backbone: Backbone, pixels: Tensor, precision: str) -> Work:
    """Normalised pixels (N, C, H, W) or (N, T, C, H, W) to embeddings."""

    def run() -> object:
        with torch.no_grad(), _autocast(pixels.device, precision):
            return backbone(pixels)

    return Work(backbone.eval(), run)


def streaming_work(backbone: Backbone, clips: Tensor, precision: str) -> Work:
    """The next frame of clips (N, T, C, H, W) to embeddings, the first after the last, without end.

    Raises ModelError for a network that is not causal.
    """
    stream = Stream(backbone.eval())
    frames = itertools.cycle(clips[:, place : place + 1] for place in range(clips.shape[1]))

    def run() -> object:
        with torch.no_grad(), _autocast(clips.device, precision):
            return stream(next(frames))

    return Work(backbone, run)


def embedding_step(backbone: Backbone, pixels: Tensor, precision: str) -> Work:
    """Forward, backward and a step of AdamW for small embeddings; what pretraining adds is left out."""

    def loss() -> Tensor:
        with _autocast(pixels.device, precision):
            embeddings: Tensor = backbone(pixels)
        return embeddings.float().square().mean()

    optimizer = build_optimizer(backbone, name="adamw", lr=LEARNING_RATE, weight_decay=0.0, momentum=0.0)
    return _step(backbone, optimizer, loss, clip_gradient=None)


def head_work(model: TaskModel, batch: LabelledBatch, precision: str) -> Work:
    """uint8 pixels to predictions in pixels of the originals, as a trained head is used."""

    def run() -> object:
        with torch.no_grad(), _autocast(batch.pixels.device, precision):
            return model.predict(batch.pixels, batch.metas)

    return Work(model.eval(), run)


def head_step(model: TaskModel, batch: LabelledBatch, plan: HeadTraining, precision: str) -> Work:
    """One step of the protocol's training: what is frozen stays so; averaged weights are left out."""

    def loss() -> Tensor:
        with _autocast(batch.pixels.device, precision):
            losses = model(batch.pixels, batch.metas, batch.targets)
        return torch.stack([value.float() for value in losses.values()]).sum()

    optimizer = build_optimizer(
        model, name=plan.optimizer, lr=LEARNING_RATE, weight_decay=plan.weight_decay, momentum=SGD_MOMENTUM
    )
    return _step(model, optimizer, loss, clip_gradient=plan.clip_gradient)


def _step(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[], Tensor],
    *,
    clip_gradient: float | None,
) -> Work:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()  # type: ignore[no-untyped-call]
        if clip_gradient is not None:
            torch.nn.utils.clip_grad_norm_(trained, clip_gradient)
        optimizer.step()

    return Work(module.train(), run, optimizer)


def example_task(example: Example, size: tuple[int, int], frames: int, classes: int | None) -> Task:
    """What a head without data is built for: its own example's task, at another size.

    classes: how many; None is the example's number. Raises ConfigError where it has fewer.
    """
    task = replace(example.task, size=size, frames=frames)
    if classes is None or classes == len(task.classes):
        return task
    if classes < len(task.classes) or not task.classes:
        least = f"at least {len(task.classes)}" if task.classes else "none, since its target has no classes"
        raise ConfigError(f"--classes {classes}: this head's example has {least}")
    more = tuple(f"class {number}" for number in range(len(task.classes), classes))
    return replace(task, classes=(*task.classes, *more), counts=())


def example_batch(
    example: Example, size: tuple[int, int], *, batch: int, frames: int, channels: int
) -> LabelledBatch:
    """Samples of a head's own example, enlarged to a canvas, with so many rows, frames and channels."""
    pixels = example.batch.pixels
    given = len(pixels)
    height, width = pixels.shape[-2:]
    placed = Placed((height, width), size, size)
    flat = pixels.flatten(0, -4)
    large = torch.stack([placed.image(image) for image in flat]).view(*pixels.shape[:-2], *size)
    large = large[..., torch.arange(channels) % large.shape[-3], :, :]
    if large.dim() == 5:
        large = large[:, torch.arange(frames) * large.shape[1] // frames]
    rows = [number % given for number in range(batch)]
    targets = [cast(Any, example.batch.targets[row]).through(placed) for row in rows]
    metas = [Meta(number, f"example {number}", size, size, size) for number in range(batch)]
    return LabelledBatch(torch.arange(batch), large[rows], tuple(metas), tuple(targets))


def _autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=dtype) if dtype is not None else contextlib.nullcontext()
