"""What a transfer starts from and goes to: domains, tasks, and the parameters that came along.

Transfer learning reuses what was learnt of a source domain and task for those of a target (Pan and Yang 2010,
"A Survey on Transfer Learning", section 2.2); both are written beside every figure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from sslkit.contracts import Measurement
from sslkit.errors import SslkitError
from sslkit.models.modes import layers
from sslkit.models.task_model import TaskModel
from sslkit.registry import names, resolve
from sslkit.registry.lookup import loaded
from sslkit.runs.backbones import load_backbone
from sslkit.runs.embedder import UNTRAINED, Embedder
from sslkit.runs.run_folder import RunFolder

_FILES = (".csv", ".json", ".lst", ".npz", ".tar", ".txt")
_DATA_OF_TAGS = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-21k",
    "in22ft1k": "ImageNet-21k + ImageNet-1k",
    "laion": "LAION",
    "openai": "OpenAI's pairs of images and texts",
    "webli": "WebLI",
    "datacomp": "DataComp",
    "dfn": "DFN",
    "lvd142m": "LVD-142M",
    "lvd1689m": "LVD-1689M",
    "jft": "JFT",
    "ig1b": "Instagram-1B",
    "kinetics400": "Kinetics-400",
}
"""What the parts of timm's tags say of the data, where they begin so."""
_LABELLED = ("in1k", "in12k", "in21k", "in22k", "in22ft1k", "kinetics400")


def counts(model: TaskModel, embedder: Embedder) -> dict[str, int]:
    """Parameters of a model, in numbers: where the backbone's came from, and what trains.

    loaded: of the backbone, came with weights. fresh: all others of it, at random or made by a transform; of
    a kernel that was inflated along time as many are loaded as the flat one had. frozen, trained: of the
    backbone. head: of the head. frozen_layers, trained_layers: of the backbone, as a mode counts them.
    """
    backbone = dict(model.backbone.named_parameters())
    total = sum(p.numel() for p in backbone.values())
    trained = {name for name, p in backbone.items() if p.requires_grad}
    came = 0
    if embedder.backbone.weights != "random":
        given = dict(embedder.backbone.named_parameters())
        came = sum(_came(given, backbone).values())
    groups = layers(model.backbone)
    moving = sum(any(name in trained for name in group) for group in groups)
    return {
        "loaded": came,
        "fresh": total - came,
        "frozen": sum(p.numel() for name, p in backbone.items() if name not in trained),
        "trained": sum(backbone[name].numel() for name in trained),
        "head": sum(p.numel() for p in model.head.parameters()),
        "frozen_layers": len(groups) - moving,
        "trained_layers": moving,
    }


def counts_frozen(embedder: Embedder) -> dict[str, int]:
    """The same of a backbone that a probe sees frozen."""
    total = sum(p.numel() for p in embedder.backbone.parameters())
    came = 0 if embedder.backbone.weights == "random" else total
    return {"loaded": came, "fresh": total - came, "frozen": total, "trained": 0, "head": 0}


def _came(given: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> dict[str, int]:
    """Of the parameters of a changed network, how many numbers each has from one that was given."""
    found = {name: min(p.numel(), given[name].numel()) for name, p in changed.items() if name in given}
    left = {name.removeprefix("network."): p for name, p in given.items() if name not in found}
    for name, parameter in changed.items():
        if name in found:
            continue
        # A transform that wraps the network puts its own words before the name.
        parts = name.split(".")
        ends = (".".join(parts[place:]) for place in range(1, len(parts)))
        own = next((end for end in ends if end in left and _widened(left[end], parameter)), None)
        if own is not None:
            found[name] = left.pop(own).numel()
    return found


def _widened(before: Tensor, after: Tensor) -> bool:
    """Whether a shape is another's, or that with one more dimension: of time."""
    one, other = list(before.shape), list(after.shape)
    return one == other or any(one == other[:at] + other[at + 1 :] for at in range(len(other)))


def domains(model: str, untrained: bool, measurement: Measurement) -> tuple[dict[str, Any], dict[str, Any]]:
    """The domain and task that were learnt before, and those that are measured now, in JSON terms.

    model: a run folder or the name of a network; untrained: its weights are not loaded. Source: domain, task,
    data, objective, weights, synthetic. Target: domain, task, targets, data, test, synthetic. synthetic is
    whether the data were drawn by a program.
    """
    head = measurement.head
    kind = resolve("probe", head).target if head in names("probe") else resolve("head", head).spec.target
    target = {
        "domain": measurement.domain or data_name(measurement.data),
        "task": head,
        "targets": kind,
        "data": measurement.data,
        "test": measurement.test,
        "synthetic": measurement.synthetic or generated(measurement.data),
    }
    if untrained or model.startswith(UNTRAINED):
        return _source("none", "none", weights="random"), target
    folder = RunFolder(Path(model))
    if folder.path.is_dir():
        return _of_run(folder), target
    return _of_network(model), target


def generated(address: str) -> bool:
    """Whether a DATA argument names a source that draws its samples: no file or place stands in it."""
    name, rest = _parts(address)
    if not name:
        return False
    first = rest.partition(",")[0].strip()
    return not first or "=" in first or first.isdecimal()


def data_name(address: str) -> str:
    """What people call a DATA argument: the folder, the file without its suffix, or the source."""
    name, rest = _parts(address)
    if generated(address):
        return name.rpartition(":")[2]
    place = Path(rest.partition(",")[0].strip()) if name else Path(address)
    return (place.stem if place.suffix.lower() in _FILES else place.name) or address


def _parts(address: str) -> tuple[str, str]:
    """The registered source that an argument names, and what follows its colon; a path names none."""
    if Path(address).expanduser().exists():
        return "", address
    known, words = loaded().targets["source"], address.split(":")
    for count in (2, 1):  # PLUGIN:NAME, or NAME
        if (name := ":".join(words[:count])) in known:
            return name, ":".join(words[count:])
    return "", address


def _of_run(folder: RunFolder) -> dict[str, Any]:
    """What a run says of its pretraining; unknown where its recipe cannot be read."""
    try:
        recipe = folder.recipe()
    except SslkitError:
        return _source("unknown", "unknown", weights=f"run {folder.path.name}")
    places = [place.path for place in recipe.data.mix] or [str(recipe.data.path)]
    started = f", begun with the weights of {recipe.backbone.name}" if recipe.backbone.pretrained else ""
    return _source(
        " + ".join(data_name(place) for place in places),
        recipe.objective.name,
        data=recipe.data.address,
        objective=recipe.objective.name,
        weights=f"run {folder.path.name}{started}",
        synthetic=all(generated(place) for place in places) and not started,
    )


def _of_network(model: str) -> dict[str, Any]:
    """What the tag of a network's weights says of them."""
    tag = _tag(model)
    words = [word for part in re.split(r"[_.]", tag) for word in _DATA_OF_TAGS if part.startswith(word)]
    data = " + ".join(dict.fromkeys(_DATA_OF_TAGS[word] for word in words)) or "unknown"
    task = "classification" if any(word in _LABELLED for word in words) else "unknown"
    return _source(f"{data} (tag {tag})" if tag else data, task, data=data, weights=model)


@lru_cache(maxsize=8)
def _tag(model: str) -> str:
    """timm's word for where weights come from, such as "a1_in1k"."""
    return str(load_backbone(model, pretrained=False).network.pretrained_cfg.get("tag") or "")  # type: ignore[union-attr, operator]


def _source(
    domain: str,
    task: str,
    *,
    data: str | None = None,
    objective: str | None = None,
    weights: str,
    synthetic: bool = False,
) -> dict[str, Any]:
    return {
        "domain": domain,
        "task": task,
        "data": data,
        "objective": objective,
        "weights": weights,
        "synthetic": synthetic,
    }
