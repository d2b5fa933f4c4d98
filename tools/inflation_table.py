"""Every family of timm, inflated: a small member of each, and how far still videos are from the image.

Random weights, float32, kernel 3, T = 4. The error is the largest of the embedding and of every feature map,
relative to the largest value of each, over the ways in which a still video must give what the image gave:
tile + replicate, centre + zero, tile + causal. A family that cannot be inflated gives the reason.

    python tools/inflation_table.py docs/inflation.md
    python tools/inflation_table.py /tmp/some.md --family resnet convnext
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from torch import nn

from sslkit.errors import SslkitError
from sslkit_inflation.stages import probe, spatial_convolutions
from sslkit_inflation.still_video import still_video_error

WAYS = (("tile", "replicate"), ("centre", "zero"), ("tile", "causal"))
BOUND = 1e-5
SIZES = (
    *(
        "test",
        "zepto",
        "atto",
        "femto",
        "pico",
        "xxt",
        "xxs",
        "xxtiny",
        "nano",
        "xtiny",
        "xt",
        "xs",
        "xsmall",
    ),
    *("t0", "tiny", "ti", "t", "s0", "b0", "a0", "m0", "s1", "s", "small"),
)
"""Words of size in names, small to large."""
CANDIDATES = 5
LARGEST = 200  # million parameters
SIDE = 64
HEADER = """# Inflation of timm's families

Written by `python tools/inflation_table.py docs/inflation.md`, timm {version}. A small member of every family
with random weights: how many of its convolutions look along time, and how far a video of one still image
(T = 4) is from the image: the largest relative error of the embedding and of every feature map, float32, over
tile + replicate, centre + zero and tile + causal, which must be at most 1e-5. Where a reason stands, it is
refused with that reason.

| family | member | inflated convolutions | worst error |
|---|---|---:|---|
"""


def main() -> None:
    """Walk the families and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--family", nargs="*", default=[])
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    text = HEADER.format(version=timm.__version__)
    counts = {"inflated": 0, "refused": 0, "wrong": 0, "untried": 0}
    for line, kind in rows(given.family or timm.list_modules()):
        text += line + "\n"
        counts[kind] += 1
        print(line, flush=True)
    text += (
        f"\n{counts['inflated']} families are inflated within the bound, {counts['wrong']} are not; "
        f"{counts['refused']} are refused, {counts['untried']} not tried.\n"
    )
    given.file.write_text(text, encoding="utf-8")


def rows(families: list[str]) -> Iterator[tuple[str, str]]:
    """A line of the table for each family, and whether it was inflated, wrong, refused or not tried."""
    for family in families:
        member = small(family)
        if member is None:
            yield f"| {family} | | | no member can be built here |", "refused"
            continue
        millions = _parameters(member) / 1e6
        if LARGEST < millions < float("inf"):
            yield (
                f"| {family} | {member} | | not tried: it has {millions:.0f} million parameters |",
                "untried",
            )
            continue
        network = _built(member)
        try:
            errors = [still_video_error(network, init=init, padding=padding) for init, padding in WAYS]
        except SslkitError as error:
            yield f"| {family} | {member} | | {error} |", "refused"
            continue
        layers = len(spatial_convolutions(network))
        kind = "inflated" if max(errors) <= BOUND else "wrong"
        yield f"| {family} | {member} | {layers} | {max(errors):.1e} |", kind


def _built(member: str) -> nn.Module:
    """At 64 pixels where its positions and windows can be made for so few, in a tenth of the time."""
    torch.manual_seed(0)
    try:
        network: nn.Module = timm.create_model(member, num_classes=0, img_size=SIDE).eval()
        probe(network)
    except Exception:  # another one for each family
        network = timm.create_model(member, num_classes=0).eval()
    return network


def small(family: str) -> str | None:
    """The member with the fewest parameters among those whose names sound smallest."""
    names = sorted(timm.list_models(module=family), key=_sounds)[:CANDIDATES]
    return min(names, key=lambda name: (_parameters(name), names.index(name)), default=None)


def _sounds(name: str) -> tuple[int, list[int], str]:
    """A name's place by the word of size in it, then by its numbers."""
    parts = re.split(r"[_\W]+", name)
    place = next((place for place, word in enumerate(SIZES) if word in parts), len(SIZES))
    return place, [int(number) for number in re.findall(r"\d+", name)], name


def _parameters(name: str) -> float:
    try:
        with torch.device("meta"):
            network: nn.Module = timm.create_model(name, num_classes=0)
    except Exception:  # some look at values while they build, of which this device has none
        return float("inf")
    return float(sum(parameter.numel() for parameter in network.parameters()))


if __name__ == "__main__":
    main()
