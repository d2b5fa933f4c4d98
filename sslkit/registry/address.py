"""The DATA argument: a folder, a file of a known form, or `NAME:key=value,key=value` for any source."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslkit.data.decode.suffixes import EXTENSIONS, VIDEO_EXTENSIONS
from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit.registry.lookup import absence, build, find, loaded, plugins
from sslkit.registry.plugins import BUILTIN
from sslkit.yaml_text import parse_value

if TYPE_CHECKING:
    from sslkit.contracts import Source

_BY_SUFFIX = {
    ".csv": "list",
    ".json": "coco",
    ".lst": "list",
    ".npz": "npz",
    ".tar": "shards",
    ".txt": "list",
}
_FROM_PLUGINS = {"coco": "sslkit-detection"}
"""Sources a file may need that do not come with sslkit, and the package that has them."""
_FORMS = (
    "a folder of images, videos or .tar shards, a video, an .npz file, a .txt, .csv or .lst list, shards as "
    "PLACE-{000..012}.tar or by URL, hf:NAME, a .json file of annotations (with sslkit-detection), or "
    "SOURCE:key=value,..."
)
_LOOKED_AT = 2000
"""Files of a folder looked at to tell what it holds."""


def open_source(data: str, *, split: str | None = None, whole_videos: bool = False) -> Source:
    """Open what a DATA argument names; a path that exists always wins over a source's name.

    `shapes:count=6000,size=32` gives options to a registered source; a first part without `=` is its address,
    as in `folder:photos,split=train`. A source may be written as PLUGIN:NAME, as in `detection:coco:a.json`.
    split: wins over one in the text. whole_videos: a video is one sample, unless the text says otherwise.
    Raises DataError for a path that is missing or of no known form, UnknownNameError for an unknown source,
    ConfigError for one that is not clear and for an option the source does not take.
    """
    path = Path(data).expanduser()
    options: dict[str, Any] = {} if split is None else {"split": split}
    if data and path.exists():
        found = _source_of(path)
        whole = {"every": "video"} if whole_videos and found == "video" else {}
        source: Source = build("source", found, path, **whole, **options)
        return source
    name, rest = _split(data)
    if not name and ("://" in data or ("{" in data and data.endswith(".tar"))):
        shards: Source = build("source", "shards", data, **options)
        return shards
    if not name:
        _check_no_source_is_meant(data)
        raise _missing(data, path)
    whole = {"every": "video"} if whole_videos and name == "video" else {}
    return _named_source(data, name, rest, whole, options)


def _split(data: str) -> tuple[str, str]:
    """The source DATA names and what follows its colon; ("", DATA) where it names none.

    A built-in's name is never read as a plugin's.
    """
    first, _, rest = data.partition(":")
    second, _, last = rest.partition(":")
    known = loaded().targets["source"]
    if first in known and known[first].plugin == BUILTIN:
        return first, rest
    if f"{first}:{second}" in known:
        return f"{first}:{second}", last
    return (first, rest) if first in known else ("", data)


def _check_no_source_is_meant(data: str) -> None:
    """Raise UnknownNameError or ConfigError for what can be nothing but the name of a source."""
    first, colon, rest = data.partition(":")
    if rest and any(plugin.name == first for plugin in plugins()):
        find("source", f"{first}:{rest.partition(':')[0]}")
    if colon and len(first) > 1 and first.replace("-", "_").isidentifier():  # one letter is a Windows drive
        find("source", first)


def _named_source(
    data: str, name: str, rest: str, defaults: dict[str, Any], settled: dict[str, Any]
) -> Source:
    options = dict(defaults)
    parts = [part.strip() for part in rest.split(",") if part.strip()]
    address = [parts.pop(0)] if parts and "=" not in parts[0] else []
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"cannot read '{part}' in '{data}'; write {name}:key=value,key=value")
        options[key.strip()] = parse_value(value, data)
    source: Source = build("source", name, *address, **{**options, **settled})
    return source


def _source_of(path: Path) -> str:
    if path.is_dir():
        return _folder_of(path)
    if path.suffix.lower() in VIDEO_EXTENSIONS:
        return "video"
    if path.suffix.lower() not in _BY_SUFFIX:
        raise DataError(f"'{path}' is a single file of no known form; DATA is {_FORMS}")
    name = _BY_SUFFIX[path.suffix.lower()]
    if name in _FROM_PLUGINS:
        try:
            find("source", name)
        except UnknownNameError as error:
            reason = absence("source", name) or f"Install it with `pip install {_FROM_PLUGINS[name]}`."
            raise DataError(
                f"'{path}' is read by the source '{name}', which is not here. {reason}"
            ) from error
    return name


def _folder_of(path: Path) -> str:
    """What a folder is read as: images wherever there is one, else videos, else shards."""
    if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
        return "hf"
    suffixes = {Path(name).suffix.lower() for name in islice(_files(path), _LOOKED_AT)}
    if not suffixes & EXTENSIONS:
        if suffixes & VIDEO_EXTENSIONS:
            return "video"
        if ".tar" in suffixes:
            return "shards"
    return "folder"


def _files(path: Path) -> Iterator[str]:
    return (name for _, _, names in os.walk(path) for name in names)


def _missing(data: str, path: Path) -> DataError:
    """Say how far the path exists, and the nearest name there."""
    if not data:
        return DataError(f"DATA is empty; it is {_FORMS}")
    parent = next((folder for folder in path.parents if folder.is_dir()), Path())
    lost = path.relative_to(parent).parts[0] if path.is_relative_to(parent) else path.name
    try:
        entries = [entry.name for entry in parent.iterdir()]
    except OSError:
        entries = []
    near = difflib.get_close_matches(lost, entries, n=1)
    if near:
        return DataError(f"there is no '{data}'; did you mean '{parent / near[0]}'?")
    reached = f" ('{parent}' has no '{lost}')" if lost != data else ""
    return DataError(f"there is no '{data}'{reached}; DATA is {_FORMS}")
