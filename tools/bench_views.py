"""Two views of SimCLR a sample, by each engine and by peers: milliseconds an image in one run.

Everybody starts from decoded pixels: ours and kornia from uint8 canvases of 1.5 times the view's side (of the
same side up to 32 pixels, SimCLR's setting for small pictures, without blur), lightly and torchvision from
PIL images of the same content. Ours and kornia take whole batches, the others images one by one, as in the
worker of a loader. Contenders take turns in every round, so that a drift of the machine's speed meets all;
medians are compared. Times are wall-clock; --cpu counts processor time, for machines that others use, too.

    python tools/bench_views.py
    python tools/bench_views.py PHOTOS --size 224 --images 64 --threads 1 --rounds 5
    python tools/bench_views.py --size 32 --images 512
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import kornia.augmentation as K
import torch
import torch.nn.functional as F
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from sslkit.data.views.policy import ENGINES, build_views
from sslkit.keyed_random import Keys

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL = 32
PEERS = ("kornia eager", "lightly", "torchvision v2")
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}

Contender = Callable[[], object]


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, nargs="?", help="a folder; generated pictures without")
    parser.add_argument("--size", type=int, default=224, help="side of a view in pixels")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[*ENGINES, *PEERS], help="contenders, by name")
    parser.add_argument("--cpu", action="store_true", help="processor time instead of wall-clock")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    side = given.size if given.size <= SMALL else given.size * 3 // 2
    pixels = read(given.photos, given.images, side) if given.photos else generated(given.images, side)
    clock = time.process_time if given.cpu else time.perf_counter
    contenders = {}
    for name in given.only:
        try:
            contenders[name] = contender(name, pixels, given.size)
            contenders[name]()  # it warms up and compiles
        except Exception as error:  # a peer that cannot run here is told, and left out
            contenders.pop(name, None)
            print(
                f"{name} is left out: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr
            )
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(given.rounds):
        for name, run in contenders.items():
            began = clock()
            run()
            spent[name].append((clock() - began) / given.images * 1e3)
    medians = {name: statistics.median(times) for name, times in spent.items()}
    told = f"{given.images} images, canvas {side}, threads {given.threads}, torch {torch.__version__}"
    print(f"two views of {given.size} px: {told}, {'processor' if given.cpu else 'wall-clock'} time")
    fused = medians.get("fused", float("nan"))
    print(f"{'':18}{'ms an image':>12}{'fastest':>9}{'fused is':>10}")
    for name, median in medians.items():
        print(f"{name:18}{median:>12.3f}{min(spent[name]):>9.3f}{fused / median:>8.2f} x")
    result = {"size": given.size, "threads": given.threads, "images": given.images, "ms": medians}
    print(json.dumps(result, sort_keys=True))


def contender(name: str, pixels: Tensor, size: int) -> Contender:
    """What makes two views of every image once."""
    if name in ENGINES:
        policy = "simclr_small" if size <= SMALL else "simclr"
        views = build_views(policy, size=size, mean=MEAN, std=STD, engine=name)
        count, side = pixels.shape[0], pixels.shape[-1]
        rectangles, keys = torch.tensor([[0, 0, side, side]] * count), Keys(0, 0, torch.arange(count))
        return lambda: views(pixels, rectangles, keys)
    if name == "kornia eager":
        return by_kornia(pixels, size)
    images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels]
    strength, blur = (0.5, 0.0) if size <= SMALL else (1.0, 0.5)
    transform: Callable[[Image.Image], object]
    if name == "lightly":
        transform = SimCLRTransform(
            input_size=size,
            cj_strength=strength,
            gaussian_blur=blur,
            normalize={"mean": list(MEAN), "std": list(STD)},
        )
    elif name == "torchvision v2":
        view = by_torchvision(size, strength, blur)
        transform = lambda image: (view(image), view(image))  # noqa: E731
    else:
        raise ValueError(f"unknown contender; known: {', '.join((*ENGINES, *PEERS))}")
    return lambda: [transform(image) for image in images]


def by_kornia(pixels: Tensor, size: int) -> Contender:
    """The same policy as kornia's documentation would have it: modules in a row, on the whole batch."""
    strength = 0.5 if size <= SMALL else 1.0
    radius = int(size * 0.1) // 2
    steps: list[nn.Module] = [
        K.RandomResizedCrop((size, size), scale=(0.08, 1.0)),
        K.RandomHorizontalFlip(),
        K.ColorJitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength, p=0.8),
        K.RandomGrayscale(p=0.2),
    ]
    if size > SMALL:
        steps.append(K.RandomGaussianBlur((2 * radius + 1, 2 * radius + 1), (0.1, 2.0), p=0.5))
    view = nn.Sequential(*steps, K.Normalize(torch.tensor(MEAN), torch.tensor(STD)))

    @torch.no_grad()
    def run() -> object:
        images = pixels.float().div_(255)
        return view(images), view(images)

    return run


def by_torchvision(size: int, strength: float, blur: float) -> Callable[[Image.Image], Tensor]:
    """The same policy in torchvision's transforms v2, on uint8 tensors as its documentation advises."""
    radius = max(1, int(size * 0.1) // 2)
    jitter = v2.ColorJitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength)
    view: Callable[[Image.Image], Tensor] = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomResizedCrop(size, scale=(0.08, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([jitter], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([v2.GaussianBlur(2 * radius + 1, (0.1, 2.0))], p=blur),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    return view


def generated(count: int, side: int) -> Tensor:
    """Smooth colours, shapes with edges and fine grain: uint8 (count, 3, side, side)."""
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(count, 3, side, side)
    for cells in (3, 9, max(2, side // 4)):
        layer = torch.rand(count, 3, cells, cells, generator=generator)
        image += F.interpolate(layer, size=side, mode="bicubic") / 3
    image += 0.2 * (image[:, :1] > 0.5)
    return image.sub_(0.5).mul_(1.5).add_(0.5).clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def read(folder: Path, count: int, side: int) -> Tensor:
    """The middle of the first photos, resized: uint8 (count, 3, side, side); repeated if there are fewer."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)[:count]
    if not paths:
        raise SystemExit(f"{folder} has no pictures; give a folder of {', '.join(sorted(PICTURES))} files.")
    square = v2.Compose([v2.PILToTensor(), v2.Resize(side, antialias=True), v2.CenterCrop(side)])
    images = [square(Image.open(path).convert("RGB")) for path in paths]
    return torch.stack([images[number % len(images)] for number in range(count)])


if __name__ == "__main__":
    main()
