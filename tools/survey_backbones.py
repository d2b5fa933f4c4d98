"""Which timm families a head can stand on: maps on two odd canvases, a pyramid of them, finite gradients.

One variant of each family, the smallest by parameters, untrained. Families that need more than two minutes,
or that sslkit refuses, are told with the reason.

    python tools/survey_backbones.py --out survey.json
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import timm
import torch

from sslkit.models.backbone import create_backbone
from sslkit.models.canvas import for_canvas
from sslkit.models.pyramid import Pyramid
from sslkit.models.reassembly import Reassembly

CANVASES = ((64, 96), (65, 97))
STRIDES = (4, 8, 16, 32)
PATIENCE = 120
TRIED = 25
"""Variants of a family whose parameters are counted."""


def main() -> None:
    """Survey and print counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file of every family's result")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    signal.signal(signal.SIGALRM, _give_up)
    found: dict[str, dict[str, Any]] = {}
    for family, name in smallest().items():
        signal.alarm(PATIENCE)
        try:
            result = tried(name)
        except Exception as error:  # whatever a network raises is its family's result
            result = f"{type(error).__name__}: {str(error)[:300]}"
        signal.alarm(0)
        found[family] = {"variant": name, "result": result}
        print(family, name, result, flush=True)
        given.out.write_text(json.dumps(found, indent=2) + "\n")
        gc.collect()
    print(Counter(one["result"].partition(":")[0] for one in found.values()))


def smallest() -> dict[str, str]:
    """The smallest variant of each family, by the module it is written in."""
    families: dict[str, list[str]] = defaultdict(list)
    for name in timm.list_models():
        families[timm.models.model_entrypoint(name).__module__.rpartition(".")[2]].append(name)
    chosen = {}
    for family, names in sorted(families.items()):
        sizes = {}
        for name in sorted(names, key=len)[:TRIED]:
            with torch.device("meta"):
                network = timm.create_model(name, num_classes=0)
            sizes[name] = sum(parameter.numel() for parameter in network.parameters())
        chosen[family] = min(sizes, key=lambda name: sizes[name])
    return chosen


def tried(name: str) -> str:
    """ "ok", or an error; how the canvas came about is told after a colon."""
    backbone = create_backbone(name).eval()
    for canvas in CANVASES:
        fitted = for_canvas(backbone, canvas)
        maps = tuple(fitted.feature_maps(torch.randn(1, 3, *canvas)).values())
        assert all(bool(one.values.isfinite().all()) for one in maps), "maps are not finite"
        pyramid = Pyramid(fitted.info, channels=16, strides=STRIDES)
        levels = pyramid(maps, canvas)
        shapes = [tuple(level.values.shape[-2:]) for level in levels]
        wanted = [(-(-canvas[0] // stride), -(-canvas[1] // stride)) for stride in STRIDES]
        assert shapes == wanted, f"levels have {shapes}, not {wanted}"
        whole = Reassembly(fitted.info, channels=16)(maps, canvas)
        total = torch.stack([one.values.square().sum() for one in (*levels, whole)]).sum()
        torch.autograd.backward(total)
        slopes = [p.grad for p in [*pyramid.parameters(), *fitted.parameters()] if p.grad is not None]
        assert slopes, "no gradient reaches anything"
        assert all(bool(slope.isfinite().all()) for slope in slopes), "gradients are not finite"
    return "ok: as it is" if fitted is backbone else "ok: fitted to the canvas"


def _give_up(*_: Any) -> None:
    raise TimeoutError(f"more than {PATIENCE} s")


if __name__ == "__main__":
    main()
