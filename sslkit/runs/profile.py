"""What a network costs here: time, memory, multiply-adds, parameters, energy."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sslkit.errors import ConfigError, ModelError
from sslkit.models.backbone import Backbone
from sslkit.models.memory_layout import lay_out
from sslkit.models.task_model import TaskModel, offered
from sslkit.registry import build, resolve
from sslkit.runs.embedder import open_embedder
from sslkit.runs.profile_figures import Profile, Setting, Streamed
from sslkit.runs.profile_plan import HeadPlan, Shape, fitted, head_plan, shape_of, transforms_alone
from sslkit.runs.profile_work import (
    Work,
    embedding_step,
    embedding_work,
    example_batch,
    example_task,
    head_step,
    head_work,
    streaming_work,
)
from sslkit.training.energy import energy_counter
from sslkit.training.passes import Clock, timed
from sslkit.training.peak_memory import peak_of
from sslkit.training.precision import Layout, choose_layout

PRECISIONS = ("auto", "fp32", "bf16")
WARM_UP = 3


def profile(
    model: str | Path,
    *,
    head: str | None = None,
    protocol: str | Path | None = None,
    settings: Sequence[str] = (),
    size: int | tuple[int, int] | None = None,
    frames: int | None = None,
    batch: int | None = None,
    classes: int | None = None,
    precision: str = "auto",
    train: bool = False,
    stream: bool = False,
    passes: int = 20,
    clock: Clock = time.perf_counter,
) -> Profile:
    """Time passes of a run, or of a network by name at random weights, alone or under a head.

    Alone it makes embeddings of normalised pixels; under a head it makes predictions of uint8 pixels, which
    are samples of the head's own example. head: the protocol's where None. settings: changes of the protocol,
    such as "mode=finetune"; without a head transforms alone, such as "backbone.inflate.kernel=3".
    size: side, or (height, width); the protocol's where None, else the model's own. frames: of a clip; the
    protocol's where None, else those the run was trained on. batch: samples of a pass; 1 where None, of
    training the protocol's or 8. classes: of the head; its example's where None. precision: "auto", "fp32" or
    "bf16". train: forward, backward and step. stream: clips frame by frame, beside the same clips whole.

    Raises ConfigError for unknown names and for what does not go together, ModelError for a size that the
    network refuses and for streaming a network that is not causal.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision '{precision}' is not one of {', '.join(PRECISIONS)}")
    counts = {"passes": passes, "frames": frames, "batch": batch}
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ConfigError(f"{name}={count}: there must be at least 1")
    plan = head_plan(head, protocol, settings)
    if stream and (train or plan is not None):
        raise ConfigError("--stream is of a backbone that predicts; leave out --head, --protocol and --train")
    if plan is None and classes is not None:
        raise ConfigError(f"--classes {classes} is of a head; name one with --head")
    transforms = transforms_alone(settings) if plan is None else ()
    embedder = open_embedder(model, pretrained=False)
    wanted = (size, size) if isinstance(size, int) else size
    shape = shape_of(embedder, plan, wanted, frames, batch, train=train, stream=stream)
    backbone = fitted(embedder, plan, transforms, shape)
    device = embedder.device
    with _refusals(backbone, plan, shape):
        torch.manual_seed(0)
        layout = _layout(backbone, precision, shape, device)
        whole: Work | None = None
        if plan is not None:
            work = _under_head(backbone, plan, layout, shape, device, classes, train=train)
        else:
            work, whole = _alone(backbone, layout, shape, device, train=train, stream=stream)
        for _ in range(WARM_UP):
            work.run()
    setting = Setting(
        model=backbone.architecture.described,
        head=plan.protocol.head if plan else "",
        protocol=str(plan.protocol) if plan else "",
        work="streaming" if stream else "training" if train else "inference",
        sample=shape.sample,
        batch=shape.batch,
        frames=shape.frames,
        size=shape.size,
        precision=layout.precision,
        channels_last=layout.channels_last,
        device=_device_name(device),
        threads=torch.get_num_threads(),
    )
    return _profiled(work, whole, setting, device, passes, clock)


def _profiled(
    work: Work, whole: Work | None, setting: Setting, device: torch.device, passes: int, clock: Clock
) -> Profile:
    """Run, count, time and watch the work; whole: clips that come whole, where it is one frame of them."""
    parts = setting.frames if whole is not None else 1

    def one_pass() -> None:
        for _ in range(parts):
            work.run()

    with FlopCounterMode(display=False) as counter:
        one_pass()
    meter = energy_counter(device)
    before = meter.now()
    each = timed(work.run, passes=passes * parts, device=device, clock=clock)
    joules = meter.since(before)
    told = meter.what
    if meter.read is not None and joules is None:
        told += f", which did not move in {sum(each):.2g} s; more passes would show it"
    streamed = None
    if whole is not None:
        timed(whole.run, passes=WARM_UP, device=device)
        streamed = Streamed(tuple(each), tuple(timed(whole.run, passes=passes, device=device, clock=clock)))
    return Profile(
        setting,
        seconds=tuple(sum(each[start : start + parts]) for start in range(0, len(each), parts)),
        multiply_adds=counter.get_total_flops() / 2,
        parameters=work.parameters,
        weights_bytes=work.weights_bytes,
        optimizer_bytes=work.optimizer_bytes,
        peak=peak_of(one_pass, device),
        joules=joules,
        energy=told,
        stream=streamed,
    )


def _layout(backbone: Backbone, precision: str, shape: Shape, device: torch.device) -> Layout:
    """Of "auto" what a training here would choose, by timing it; else as asked, channels last."""
    return choose_layout(
        backbone,
        precision=precision,
        channels_last="auto" if precision == "auto" else True,
        size=min(shape.size),
        batch=shape.batch * shape.frames,
        device=device,
        frames=shape.frames,
    )


def _alone(
    backbone: Backbone, layout: Layout, shape: Shape, device: torch.device, *, train: bool, stream: bool
) -> tuple[Work, Work | None]:
    """The work, and where it streams the same clips whole."""
    lay_out(backbone, channels_last=layout.channels_last)
    many = (shape.batch, shape.frames) if shape.sample == "clip" else (shape.batch,)
    pixels = torch.randn(*many, backbone.channels, *shape.size, device=device)
    if stream:
        whole = embedding_work(backbone, pixels, layout.precision)
        return streaming_work(backbone, pixels, layout.precision), whole
    if train:
        return embedding_step(backbone, pixels, layout.precision), None
    return embedding_work(backbone, pixels, layout.precision), None


def _under_head(
    backbone: Backbone,
    plan: HeadPlan,
    layout: Layout,
    shape: Shape,
    device: torch.device,
    classes: int | None,
    *,
    train: bool,
) -> Work:
    example = resolve("head", plan.protocol.head).example_batch(0)
    task = example_task(example, shape.size, shape.frames, classes)
    head: nn.Module = build(
        "head", plan.protocol.head, offered(backbone, plan.spec), task, **plan.protocol.options
    )
    model = TaskModel(backbone, head, mode=plan.protocol.mode).to(device)
    lay_out(model, channels_last=layout.channels_last)
    batch = example_batch(
        example, shape.size, batch=shape.batch, frames=shape.frames, channels=backbone.channels
    ).to(device)
    if train:
        return head_step(model, batch, plan.training, layout.precision)
    return head_work(model, batch, layout.precision)


@contextmanager
def _refusals(backbone: Backbone, plan: HeadPlan | None, shape: Shape) -> Iterator[None]:
    """What torch and timm raise for an input they cannot take, as a ModelError that says what it was."""
    try:
        yield
    except (RuntimeError, AssertionError, ValueError) as error:
        who = f"backbone '{backbone.architecture.described}'" + (f" with {plan.spec.name}" if plan else "")
        frames = f" of {shape.frames} frames" if shape.frames > 1 else ""
        raise ModelError(
            f"{who} cannot take {shape.batch} samples{frames} of {shape.size[0]}x{shape.size[1]} pixels: "
            f"{str(error) or type(error).__name__}; try another --size, --frames or --batch"
        ) from error


def _device_name(device: torch.device, about: Path = Path("/proc/cpuinfo")) -> str:
    """What people call it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = about.read_text().splitlines() if about.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
