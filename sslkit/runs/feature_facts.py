"""Everything that shapes the features of a frozen network, as facts in JSON terms that name them in a store.

A number format, a memory layout or a batch of another size changes the last bits of a convolution, so these
are facts as well: what is read from a store is what would be computed here and now, to the bit.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from sslkit.contracts import Content, Frames, Item, Moment, Refused, Source
from sslkit.data.decode.image import DECODER
from sslkit.data.decoded_cache import stamp_of
from sslkit.models.weights import weights_hash
from sslkit.version import __version__

LIBRARIES = ("torch", "timm", "numpy", "av", "torchcodec", "tifffile")
"""Besides the decoder of images: what computes, and what reads videos and other files."""

PROBED = 16
"""Contents of a source that are looked at first; all of them are where one is a file."""

_BLOCK = 256
_PLACE = re.compile(r" at 0x[0-9a-f]+")  # in memory: another in each process

_stamps: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def network_facts(network: nn.Module) -> dict[str, Any]:
    """Weights, architecture, normalisation and memory layout of a backbone."""
    architecture = getattr(network, "architecture", None)
    described: dict[str, Any] = {}
    if architecture is not None:
        described = {
            "name": architecture.name,
            "stem": architecture.stem,
            "options": _plain(architecture.options),
            "transforms": [[one.name, _plain(one.options)] for one in architecture.transforms],
        }
    # Strides, dilations and activations are in no weight; modules tell them when they are printed.
    structure = hashlib.sha256(_PLACE.sub("", repr(network)).encode()).hexdigest()[:32]
    wide = [one for one in network.parameters() if one.dim() in (4, 5) and min(one.shape[1:3]) > 1]
    last = {4: torch.channels_last, 5: torch.channels_last_3d}
    return {
        "weights": weights_hash(network),
        "architecture": described,
        "structure": structure,
        "mean": _numbers(getattr(network, "mean", None)),
        "std": _numbers(getattr(network, "std", None)),
        "channels": getattr(network, "channels", 3),
        "channels_last": any(one.is_contiguous(memory_format=last[one.dim()]) for one in wide),
    }


def machine_facts(device: torch.device) -> dict[str, Any]:
    """What computes and decodes here: the device and the versions of the libraries."""
    cuda = device.type == "cuda"
    return {
        "device": device.type,
        "kind": torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability(),
        "matmul": torch.get_float32_matmul_precision(),
        "tf32": bool(torch.backends.cudnn.allow_tf32) if cuda else None,
        "decoder": DECODER,
        "libraries": {name: _version(name) for name in LIBRARIES},
        "sslkit": __version__,
    }


def source_facts(source: Source) -> dict[str, Any]:
    """What a source holds: its fingerprint, how much, the labels, and a stamp of its contents."""
    labels = source.labels
    return {
        "fingerprint": source.fingerprint,
        "count": len(source),
        "labels": None
        if labels is None
        else hashlib.sha256(np.asarray(labels, np.int64).tobytes()).hexdigest()[:32],
        "contents": contents_stamp(source),
    }


def contents_stamp(source: Source) -> str:
    """Changes with what the samples are made of, which a fingerprint of names does not.

    Of a file its path, size and times. Where the first and some other samples are no files, these alone are
    looked at: the fingerprint says what is in an archive and what a program draws. Looked at once in a
    process for each object.
    """
    try:
        known = _stamps.get(source)
    except TypeError:  # a source that cannot be a key
        return _stamp(source)
    if known is None:
        known = _stamps[source] = _stamp(source)
    return known


def _stamp(source: Source) -> str:
    digest = hashlib.sha256()
    some = np.unique(np.linspace(0, len(source) - 1, PROBED).astype(np.int64))
    probed = list(_items(source, some.tolist()))
    files = any(_is_file(item.content) for item in probed)
    for item in _items(source, range(len(source))) if files else probed:
        digest.update(_stamp_of(item.content).encode())
    return digest.hexdigest()[:32]


def _items(source: Source, ids: Sequence[int]) -> Iterator[Item]:
    many = getattr(source, "items", None)
    if many is None:
        yield from (source[id] for id in ids)
        return
    for start in range(0, len(ids), _BLOCK):
        yield from many(np.asarray(ids[start : start + _BLOCK], np.int64))


def _is_file(content: Content) -> bool:
    if isinstance(content, Frames):
        return any(_is_file(image) for image in content.images)
    return isinstance(content.path if isinstance(content, Moment) else content, Path)


def _stamp_of(content: Content) -> str:
    if isinstance(content, Refused):
        return f"refused {content.reason}\n"
    if isinstance(content, Frames):
        return f"frames {[_stamp_of(image) for image in content.images]}\n"
    if not isinstance(content, Moment):
        return f"{stamp_of(content)}\n"
    when = f"{content.start!r} {content.length!r} {content.duration!r} {content.rate!r}"
    if not isinstance(content.path, Path):
        return f"painted {_PLACE.sub('', repr(content.path))} {when}\n"
    inside = _pictures(content.path) if content.path.is_dir() else stamp_of(content.path)
    return f"moment {inside} {when}\n"


def _pictures(folder: Path) -> str:
    """The files of a folder of frames, with sizes and times."""
    with os.scandir(folder) as entries:
        status = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    return repr(sorted((os.fsencode(name), one.st_size, one.st_mtime_ns) for name, one in status))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(values: Any) -> list[float] | None:
    return None if values is None else [float(value) for value in values]


def _plain(value: Any) -> Any:
    """In JSON terms; what has none by how it is printed."""
    if hasattr(value, "items"):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else _PLACE.sub("", repr(value))
