"""Backbones on disk: `backbone.safetensors` with timm's own tensor names, `backbone.json` beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sslkit.errors import ConfigError, ModelError, WeightsError
from sslkit.models.architecture import Architecture, Transform
from sslkit.models.backbone import Backbone
from sslkit.models.creation import create_backbone, is_timms, rebuilt

Find = Callable[[str, str], Callable[..., nn.Module] | None]
"""From "network" or "backbone_transform" and a name to the function; None for a network of timm's."""

WEIGHTS_FILE = "backbone.safetensors"
CARD_FILE = "backbone.json"
FORMAT = 1


def weights_hash(module: nn.Module) -> str:
    """16 hex digits over names, types, shapes and bytes of every tensor: two equal hashes, one model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def save_backbone(
    backbone: Backbone, folder: Path, *, size: int, frames: int = 1, stride: float = 1.0
) -> str:
    """Write weights and card into `folder`; return their hash.

    size: the input side it was trained at; frames, stride: of the clips, one frame for still images.
    """
    network = backbone.network
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    fingerprint = weights_hash(network)
    architecture = backbone.architecture
    card = {
        "format": FORMAT,
        "timm": architecture.name,
        "stem": architecture.stem,
        "options": dict(architecture.options),
        "transforms": {one.name: dict(one.options) for one in architecture.transforms},
        "size": size,
        "frames": frames,
        "stride": stride,
        "mean": list(backbone.mean),
        "std": list(backbone.std),
        "embedding_dim": backbone.embedding_dim,
        "hash": fingerprint,
        "loading": _loading_hint(architecture),
    }
    _replace(folder / WEIGHTS_FILE, lambda path: save_file(tensors, path, metadata={"format": "pt"}))
    _replace(folder / CARD_FILE, lambda path: path.write_text(json.dumps(card, indent=2) + "\n"))
    return fingerprint


def load_backbone(
    model: str | Path, *, size: int | None = None, pretrained: bool = True, find: Find | None = None
) -> Backbone:
    """A backbone in eval mode, from a run folder (or its backbone.safetensors) or the name of a network.

    size: input side for families with fixed sizes; a run brings its own. pretrained: for names, whether to
    load the weights they come with or leave the network at random initialisation. find: where networks that
    are not timm's and transforms come from; without it a backbone that needs them is refused.
    Raises ConfigError when neither fits, WeightsError when weights do not match to the last tensor.
    """
    folder = Path(model)
    if folder.is_file() and folder.name in (WEIGHTS_FILE, CARD_FILE):
        folder = folder.parent
    if folder.is_dir():
        return _load_saved(folder, find or _nowhere).eval()
    if isinstance(model, Path) or "/" in model:
        raise ConfigError(f"'{model}' is neither a run folder nor a timm model name: no such folder")
    network = find("network", model) if find is not None else None
    return create_backbone(model, size=size, stem="auto", pretrained=pretrained, network=network).eval()


def saved_size(folder: Path) -> int:
    """The input side a saved backbone was trained at."""
    return int(_read_card(folder)["size"])


def saved_clip(folder: Path) -> tuple[int, float]:
    """Frames and stride of the clips a saved backbone was trained on."""
    card = _read_card(folder)
    return int(card.get("frames", 1)), float(card.get("stride", 1.0))


def load_weights(backbone: Backbone, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Fill every tensor of a backbone, or refuse with counts and leave it as it was.

    Loading with gaps would leave layers random without any error. Names may carry a prefix that all tensors
    of the network share ("network.", "backbone.", "module."); the source's classifier is left aside.
    """
    target = backbone.network.state_dict()
    given = _without_prefix(tensors, target)
    missing = [name for name in target if name not in given]
    wrong = [name for name in target if name in given and given[name].shape != target[name].shape]
    if missing or wrong:
        fitting = len(target) - len(missing) - len(wrong)
        examples = [f"missing {name}" for name in missing[:2]]
        examples += [
            f"{name} is {tuple(given[name].shape)}, needs {tuple(target[name].shape)}" for name in wrong[:2]
        ]
        raise WeightsError(
            f"{source}: {fitting} of {len(target)} tensors fit backbone '{backbone.architecture.name}' "
            f"(stem {backbone.architecture.stem}), all must; {'; '.join(examples)}"
        )
    backbone.network.load_state_dict({name: given[name] for name in target})
    backbone.weights, backbone.loaded_fraction = source, 1.0
    backbone.__dict__.pop("info", None)  # it names the weights


def _without_prefix(tensors: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    best = dict(tensors)
    for prefix in ("network.", "backbone.network.", "backbone.", "module."):
        stripped = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        if sum(n in target for n in stripped) > sum(n in target for n in best):
            best = stripped
    return best


def _load_saved(folder: Path, find: Find) -> Backbone:
    card = _read_card(folder)
    name = card["timm"]
    backbone = rebuilt(
        Architecture(
            name,
            card["stem"],
            card["options"],
            tuple(
                Transform(one, options, _needed(find, "backbone_transform", one))
                for one, options in card.get("transforms", {}).items()
            ),
            None if is_timms(name) else _needed(find, "network", name),
        )
    )
    path = folder / WEIGHTS_FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); run or resume the pretraining again") from error
    load_weights(backbone, tensors, source=str(path))
    if weights_hash(backbone.network) != card["hash"]:
        raise WeightsError(
            f"{path} does not match the hash {card['hash']} in {CARD_FILE}: one of them was changed"
        )
    backbone.weights = card["hash"]
    return backbone


def _needed(find: Find, kind: str, name: str) -> Callable[..., nn.Module]:
    found = find(kind, name)
    if found is None:
        raise ModelError(f"the backbone needs '{name}', which a plugin gives; use sslkit.load_backbone")
    return found


def _nowhere(kind: str, name: str) -> None:
    return None


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD_FILE
    if not path.is_file():
        raise ModelError(
            f"{folder} holds no {CARD_FILE}: it is not a finished run (`sslkit resume {folder}` finishes one)"
        )
    try:
        card: dict[str, Any] = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} is damaged ({error}); run or resume the pretraining again") from error
    if card.get("format") != FORMAT:
        raise WeightsError(f"{path} has format {card.get('format')!r}; this sslkit reads format {FORMAT}")
    return card


def _replace(path: Path, write: Any) -> None:
    aside = path.with_name(f".{path.name}.partial")
    write(aside)
    aside.replace(path)


def _loading_hint(architecture: Architecture) -> str:
    arguments = "".join(f", {key}={value!r}" for key, value in architecture.options.items())
    if architecture.transforms or architecture.network is not None:
        return "sslkit.load_backbone(this folder), because it is not timm's own network"
    if architecture.stem == "small":
        return "sslkit.load_backbone(this folder), because timm has no name for the small stem"
    name = architecture.name
    return f"timm.create_model({name!r}, num_classes=0{arguments}, checkpoint_path={WEIGHTS_FILE!r})"
