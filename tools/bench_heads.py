"""Head training through sslkit against torchvision's own detector in a loop like torchvision's reference.

Both train RetinaNet on the same backbone, pictures, canvas, batch, number format and memory layout. The peer
is torchvision's whole model (its transform, its FPN, its losses), fed by a torch DataLoader that decodes with
Pillow, and stepped as its references/detection/engine.py does: warm-up aside, one forward, one backward, one
step of SGD. Rounds alternate in one process, and the ratio is of medians of the rounds.

With --frozen the backbone is frozen on both sides, and sslkit's cache of features is measured too: its first
pass, which fills it, and the epochs after. The dense linear probe of the segmentation plugin stands beside,
where nearly all of the work is the backbone's.

    python tools/bench_heads.py --backbone resnet18 --size 256 --batch 8 --rounds 5
    python tools/bench_heads.py --backbone resnet18 --size 256 --batch 8 --rounds 5 --frozen
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.transforms.v2.functional import pil_to_tensor

from sslkit.config.head_training import read_training
from sslkit.evaluation.protocols import Protocol
from sslkit.models.memory_layout import lay_out
from sslkit.registry import open_source, resolve
from sslkit.registry.protocols import changed, load_protocol
from sslkit.runs.embedder import open_embedder
from sslkit.runs.head_evaluation import head_parts
from sslkit.runs.head_parts import HeadParts, HeadRun
from sslkit.runs.head_training import feed_of, take_step
from sslkit.runs.splits import HeadSplits
from sslkit.training.precision import PRECISIONS, Layout

PICTURES = 64
SHAPES = 4
WARM_UP = 2


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, default=256, help="of the pyramid and the head")
    parser.add_argument("--steps", type=int, default=8, help="steps of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="bf16", choices=sorted(PRECISIONS))
    parser.add_argument("--frozen", action="store_true")
    given = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        write_pictures(Path(folder), PICTURES, given.size)
        layout = Layout(given.precision, given.precision == "bf16")
        sides = {"torchvision": peer(given, Path(folder), layout)}
        for name, cache in (("sslkit", False), ("sslkit cached", True)):
            if given.frozen or not cache:
                sides[name] = retinanet(given, Path(folder), layout, stack, cache=cache)
        if given.frozen:
            for name, cache in (("linear", False), ("linear cached", True)):
                sides[name] = dense_linear(given, Path(folder), layout, stack, cache=cache)
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for step in sides.values():
            for _ in range(WARM_UP):
                step()
        for _ in range(given.rounds):
            for name, step in sides.items():
                start = time.perf_counter()
                for _ in range(given.steps):
                    step()
                speeds[name].append(given.steps * given.batch / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    pairs = [("sslkit", "torchvision"), ("sslkit cached", "torchvision"), ("sslkit cached", "sslkit")]
    pairs += [("linear cached", "linear")]
    print(
        json.dumps(
            {
                "images_per_second": {name: round(value, 1) for name, value in medians.items()},
                "ratios": {
                    f"{a} / {b}": {
                        "median": round(medians[a] / medians[b], 3),
                        "rounds": [round(x / y, 3) for x, y in zip(speeds[a], speeds[b], strict=True)],
                    }
                    for a, b in pairs
                    if a in medians and b in medians
                },
                "settings": vars(given),
                "threads": torch.get_num_threads(),
            }
        )
    )


def write_pictures(folder: Path, number: int, side: int) -> None:
    """Bright rectangles on noise: JPEG files of 4:3, COCO boxes, and a map of labels each."""
    generator = np.random.default_rng(0)
    height, width = side * 3 // 4, side
    for name in ("images", "labels"):
        (folder / name).mkdir()
    images, annotations = [], []
    for number_of in range(number):
        pixels = generator.integers(0, 90, (height, width, 3), dtype=np.uint8)
        labels = np.zeros((height, width), np.uint8)
        for _ in range(SHAPES):
            w, h = generator.integers(side // 10, side // 3, 2)
            x, y = generator.integers(0, width - w), generator.integers(0, height - h)
            kind = int(generator.integers(1, 4))
            pixels[y : y + h, x : x + w] = 60
            pixels[y : y + h, x : x + w, kind - 1] = 230
            labels[y : y + h, x : x + w] = kind
            box = [int(x), int(y), int(w), int(h)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number_of,
                    "category_id": kind,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
        name = f"{number_of:04d}"
        Image.fromarray(pixels).save(folder / "images" / f"{name}.jpg", quality=90)
        Image.fromarray(labels).save(folder / "labels" / f"{name}.png")
        images.append({"id": number_of, "file_name": f"{name}.jpg", "width": width, "height": height})
    categories = [{"id": place, "name": name} for place, name in enumerate("rgb", start=1)]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (folder / "boxes.json").write_text(text)
    (folder / "classes.txt").write_text("ground\nr\ng\nb\n")


def retinanet(
    given: argparse.Namespace, folder: Path, layout: Layout, stack: ExitStack, *, cache: bool
) -> Callable[[], None]:
    """A step of sslkit's loop."""
    settings = [f"options.channels={given.channels}", "training.optimizer=sgd", "training.lr=0.0001"]
    return stepper(given, "retinanet", f"coco:{folder}/boxes.json", settings, layout, stack, folder, cache)


def dense_linear(
    given: argparse.Namespace, folder: Path, layout: Layout, stack: ExitStack, *, cache: bool
) -> Callable[[], None]:
    """A step of the dense linear probe."""
    return stepper(given, "linear_seg", f"masks:{folder}", [], layout, stack, folder, cache)


def stepper(
    given: argparse.Namespace,
    head: str,
    data: str,
    settings: list[str],
    layout: Layout,
    stack: ExitStack,
    folder: Path,
    cache: bool,
) -> Callable[[], None]:
    """One step of the loop of heads, over epochs without end."""
    spec = resolve("head", head).spec
    plain = ["training.augment.flip=0", "training.augment.scale=[1,1]", "training.augment.elastic=null"]
    plain += ["training.augment.colour=0", "training.ema=0", "training.held_out=0"]
    protocol: Protocol = changed(
        load_protocol(spec.protocol),
        [
            *settings,
            *plain,
            f"mode={'frozen' if given.frozen else 'finetune'}",
            f"training.size=[{given.size},{given.size}]",
            f"training.batch={given.batch}",
            f"training.cache={'true' if cache else 'false'}",
        ],
    )
    plan = read_training(protocol.training, protocol.id)
    source: Any = open_source(data)
    run = HeadRun(protocol, plan, spec, HeadSplits(source, None, source, data), layout, folder / head, False)
    embedder = open_embedder(given.backbone, pretrained=False)
    parts: HeadParts = head_parts(run, embedder, 0, folder / f"{head}-{cache}")
    parts.wrapped.train()
    feed = feed_of(parts, stack)
    batches = chain.from_iterable(feed.epoch(number, 0) for number in count())

    def step() -> None:
        losses = take_step(parts, *next(batches))
        assert all(bool(value.isfinite()) for value in losses.values()), f"{head}, cache {cache}: {losses}"

    return step


class Pictures(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """What torchvision's reference loop reads: float images in 0..1 and their targets."""

    def __init__(self, folder: Path) -> None:
        read = json.loads((folder / "boxes.json").read_text())
        self.folder, self.images = folder / "images", read["images"]
        self.boxes: dict[int, list[Any]] = {}
        for one in read["annotations"]:
            self.boxes.setdefault(one["image_id"], []).append(one)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, dict[str, Tensor]]:
        image = Image.open(self.folder / self.images[place]["file_name"]).convert("RGB")
        found = self.boxes[self.images[place]["id"]]
        boxes = torch.tensor([one["bbox"] for one in found], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([one["category_id"] - 1 for one in found])
        return pil_to_tensor(image).float() / 255, {"boxes": boxes, "labels": labels}


class TorchvisionBackbone(nn.Module):
    """timm's maps under torchvision's FPN."""

    def __init__(self, name: str, channels: int, *, frozen: bool) -> None:
        super().__init__()
        self.body = timm.create_model(name, features_only=True, out_indices=(2, 3, 4))
        self.frozen, self.out_channels = frozen, channels
        self.body.requires_grad_(not frozen)
        self.fpn = FeaturePyramidNetwork(
            self.body.feature_info.channels(), channels, extra_blocks=LastLevelP6P7(channels, channels)
        )

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Five levels."""
        if self.frozen:
            self.body.eval()
        with torch.no_grad() if self.frozen else nullcontext():
            maps = self.body(pixels)
        levels: dict[str, Tensor] = self.fpn({str(place): part for place, part in enumerate(maps)})
        return levels


def peer(given: argparse.Namespace, folder: Path, layout: Layout) -> Callable[[], None]:
    """A step of torchvision's model in a reference-style loop."""
    anchors = AnchorGenerator(
        tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512)),
        ((0.5, 1.0, 2.0),) * 5,
    )
    backbone = TorchvisionBackbone(given.backbone, given.channels, frozen=given.frozen)
    model = RetinaNet(
        backbone,
        num_classes=3,
        anchor_generator=anchors,
        min_size=given.size * 3 // 4,
        max_size=given.size,
        fixed_size=(given.size, given.size),
    )
    model = lay_out(model, channels_last=layout.channels_last).train()
    loader = DataLoader(
        Pictures(folder),
        batch_size=given.batch,
        shuffle=True,
        collate_fn=lambda batch: tuple(zip(*batch, strict=True)),
    )
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, weight_decay=1e-4)
    dtype = PRECISIONS[layout.precision]
    batches: Iterator[Any] = chain.from_iterable(loader for _ in count())

    def step() -> None:
        images, targets = next(batches)
        with torch.autocast("cpu", dtype=dtype) if dtype else nullcontext():
            losses = model(list(images), list(targets))
            total = sum(losses.values())
        assert bool(total.isfinite())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
