"""What clips, correlation and streaming cost, each beside what one would use without sslkit.

Sides take turns in one process, every ratio is of medians of the rounds, with the smallest and largest round.
A part whose package is not installed says so.

clips: one training step (forward, backward, SGD) of `TaskModel` with a linear head on an inflated ResNet-18
and on a SlowFast one, against torchvision's r3d_18 in a plain loop; multiply-adds of one forward, and the
ratio of speeds per equal multiply-adds. correlation: sslkit_flow's cost volume against one product for each
displacement, and against torchvision's CorrBlock (all pairs, then a look-up with bilinear weights) on one
level. streaming: a causal inflated ResNet-18 on `batch` videos frame by frame, against their whole clips.

    OMP_NUM_THREADS=1 python tools/bench_motion.py clips --frames 16 --size 112 --batch 2 --rounds 5
    OMP_NUM_THREADS=1 python tools/bench_motion.py correlation --size 48 --channels 128 --reach 4 --rounds 9
    OMP_NUM_THREADS=1 python tools/bench_motion.py streaming --frames 16 --size 112 --rounds 5 --batch 8
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.optical_flow.raft import CorrBlock
from torchvision.models.video import r3d_18

from sslkit.contracts import ClassLabel, Meta, Task
from sslkit.models.architecture import Transform
from sslkit.models.backbone import Backbone
from sslkit.models.creation import create_backbone
from sslkit.models.streaming import Stream
from sslkit.models.task_model import TaskModel

CLASSES = 10
Side = Callable[[], object]


def main() -> None:
    """Measure one part and print one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=112, help="of pixels, or of maps to correlate")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--channels", type=int, default=128, help="of maps to correlate")
    parser.add_argument("--reach", type=int, default=4, help="largest displacement, in cells")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.manual_seed(0)
    package, measure = PARTS[given.part]
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        print(json.dumps({"part": given.part, "skipped": f"{package} cannot be imported: {error}"}))
        return
    told = measure(given)
    print(json.dumps({**told, "settings": vars(given), "threads": torch.get_num_threads()}))


def take_turns(sides: Mapping[str, Side], rounds: int) -> dict[str, list[float]]:
    """Seconds of every round; each side has run once before."""
    for side in sides.values():
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(upper: Sequence[float], lower: Sequence[float], factor: float = 1.0) -> dict[str, float]:
    """Of medians, with the smallest and largest of the rounds."""
    each = [a / b * factor for a, b in zip(upper, lower, strict=True)]
    middle = statistics.median(upper) / statistics.median(lower) * factor
    return {"median": round(middle, 3), "least": round(min(each), 3), "most": round(max(each), 3)}


def clips(given: argparse.Namespace) -> dict[str, Any]:
    """Training steps of networks of video, each alone and per equal multiply-adds."""
    shape = (given.batch, given.frames, 3, given.size, given.size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    labels = torch.arange(given.batch) % CLASSES
    reference = r3d_18(num_classes=CLASSES)
    models: dict[str, nn.Module] = {"r3d_18": reference}
    sides: dict[str, Side] = {"r3d_18": plain_step(reference, pixels, labels)}
    for name in ("inflate", "slowfast"):
        backbone = built(name, {})
        if backbone is not None:
            models[name] = TaskModel(backbone, linear_head(backbone, given), mode="finetune")
            sides[name] = head_step(models[name], pixels, labels)
    work = {"r3d_18": multiply_adds(lambda: reference(normalised(pixels)))}
    work |= {
        name: multiply_adds(lambda model=model: model(pixels, metas(given), targets(labels)))  # type: ignore[misc]
        for name, model in models.items()
        if name != "r3d_18"
    }
    seconds = take_turns(sides, given.rounds)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    others = [name for name in seconds if name != "r3d_18"]
    return {
        "clips_per_second": {name: round(given.batch / value, 3) for name, value in medians.items()},
        "gigamultiply_adds_of_a_clip": {
            name: round(value / 1e9 / given.batch, 2) for name, value in work.items()
        },
        "speed / r3d_18": {name: ratio(seconds["r3d_18"], seconds[name]) for name in others},
        "speed / r3d_18 per equal multiply-adds": {
            name: ratio(seconds["r3d_18"], seconds[name], work[name] / work["r3d_18"]) for name in others
        },
    }


def built(transform: str, options: Mapping[str, Any]) -> Backbone | None:
    """ResNet-18 with one transform; None where its package is not installed."""
    module = {"inflate": "sslkit_inflation.inflate", "slowfast": "sslkit_action.transforms.slowfast"}
    try:
        function = getattr(importlib.import_module(module[transform]), transform)
    except ModuleNotFoundError:
        return None
    return create_backbone("resnet18", transforms=(Transform(transform, options, function),))


def linear_head(backbone: Backbone, given: argparse.Namespace) -> nn.Module:
    """The action plugin's mean of frames under a linear layer."""
    head = importlib.import_module("sslkit_action.heads.frame_pool").FramePool
    names = tuple(str(number) for number in range(CLASSES))
    task = Task("label", names, (given.size, given.size), frames=given.frames)
    made: nn.Module = head(backbone.info, task)
    return made


def metas(given: argparse.Namespace) -> list[Meta]:
    """Clips that fill their canvas."""
    size = (given.size, given.size)
    return [Meta(id, "", size, size, size) for id in range(given.batch)]


def targets(labels: Tensor) -> list[ClassLabel]:
    """One class a clip."""
    return [ClassLabel(int(label)) for label in labels]


def normalised(pixels: Tensor) -> Tensor:
    """uint8 (N, T, C, H, W) as torchvision's networks take it, float (N, C, T, H, W)."""
    return ((pixels.float() / 255 - 0.45) / 0.225).transpose(1, 2)


def plain_step(network: nn.Module, pixels: Tensor, labels: Tensor) -> Side:
    """A training step as one writes it by hand."""
    optimizer = torch.optim.SGD(network.train().parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(normalised(pixels)), labels).backward()
        optimizer.step()

    return step


def head_step(model: nn.Module, pixels: Tensor, labels: Tensor) -> Side:
    """A training step of backbone and head through `TaskModel`."""
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=1e-3)
    count, _, _, side, _ = pixels.shape
    described = metas(argparse.Namespace(size=side, batch=count))
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        losses: dict[str, Tensor] = model(pixels, described, targets(labels))
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()

    return step


def multiply_adds(run: Side) -> float:
    """Of one forward, as torch counts them (two operations each)."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        run()
    return counter.get_total_flops() / 2


def correlation(given: argparse.Namespace) -> dict[str, Any]:
    """The cost volume of two maps, three ways."""
    cost_volume = importlib.import_module("sslkit_flow.correlation").cost_volume
    reach, side = given.reach, given.size
    first, second = torch.randn(2, given.batch, given.channels, side, side).unbind()
    block = CorrBlock(num_levels=1, radius=reach)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([columns, rows]).float().expand(given.batch, -1, -1, -1)

    def naive() -> Tensor:
        padded = F.pad(second, (reach,) * 4)
        steps = range(2 * reach + 1)
        return torch.stack(
            [
                (first * padded[..., down : down + side, right : right + side]).sum(dim=1)
                for down in steps
                for right in steps
            ],
            dim=1,
        )

    def all_pairs() -> Tensor:
        block.build_pyramid(first, second)
        found: Tensor = block.index_pyramid(places)
        return found * given.channels**0.5

    def ours() -> Tensor:
        found: Tensor = cost_volume(first, second, reach)
        return found

    # CorrBlock counts displacements along x first.
    turned = all_pairs().unflatten(1, (2 * reach + 1, -1)).transpose(1, 2).flatten(1, 2)  # type: ignore[no-untyped-call]
    apart = {
        "loop": float((ours() - naive()).abs().max()),
        "CorrBlock": float((ours() - turned).abs().max()),
    }
    with torch.no_grad():
        seconds = take_turns({"sslkit": ours, "loop": naive, "CorrBlock": all_pairs}, given.rounds)
    return {
        "milliseconds": {name: round(1e3 * statistics.median(value), 2) for name, value in seconds.items()},
        "speed of sslkit": {name: ratio(seconds[name], seconds["sslkit"]) for name in ("loop", "CorrBlock")},
        "largest_difference": {name: float(f"{value:.2g}") for name, value in apart.items()},
    }


def streaming(given: argparse.Namespace) -> dict[str, Any]:
    """A causal network, frame by frame in a stream that goes on and on, and the whole clip at once."""
    backbone = built("inflate", {"padding": "causal"})
    assert backbone is not None
    backbone.eval()
    clips = torch.randn(given.batch, given.frames, 3, given.size, given.size)
    stream = Stream(backbone)

    @torch.no_grad()
    def whole() -> Tensor:
        return backbone.embed_frames(clips)

    def frame_by_frame() -> Tensor:
        return torch.cat([stream(clips[:, place, None]) for place in range(given.frames)], dim=1)

    difference = float((whole() - frame_by_frame()).abs().max())
    seconds = take_turns({"whole": whole, "stream": frame_by_frame}, given.rounds)
    return {
        "milliseconds_of_a_frame": {
            name: round(1e3 * statistics.median(value) / given.frames, 2) for name, value in seconds.items()
        },
        "time of stream / whole": ratio(seconds["stream"], seconds["whole"]),
        "largest_difference": float(f"{difference:.2g}"),
    }


PARTS: dict[str, tuple[str, Callable[[argparse.Namespace], dict[str, Any]]]] = {
    "clips": ("sslkit_action.heads.frame_pool", clips),
    "correlation": ("sslkit_flow.correlation", correlation),
    "streaming": ("sslkit_inflation.inflate", streaming),
}

if __name__ == "__main__":
    main()
