"""One pair of frames with its flow, as files of their own or in one .npz file."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image

from sslkit.contracts import FlowField, Frames, Refused
from sslkit.errors import DataError
from sslkit_flow.formats.flow_files import flow_size, read_flow
from sslkit_flow.formats.known import known

Size = tuple[int, int]
Told = TypeVar("Told")

# The content decides which decoder looks at a file; none of these starts another program.
_IMAGES = ("PNG", "PPM", "JPEG", "BMP", "TIFF", "WEBP")
_LINK = "is a link that leaves the folder of the data; put the file itself there"
_FRAMES = ("frame1", "frame2")


class Pair(Protocol):
    """Two frames and where each pixel of the first went; paths are inside the root."""

    @property
    def name(self) -> str: ...

    @property
    def files(self) -> tuple[str, ...]: ...

    def frames(self, root: Path) -> Frames | Refused:
        """Both frames, still encoded where they are files; or why they are not given."""
        ...

    def check(self, root: Path) -> None:
        """Look at headers alone; raises DataError that names the file and what is wrong."""
        ...

    def flow(self, root: Path) -> FlowField:
        """The flow, of the frames' size; raises DataError as `check` does, and for what pixels show."""
        ...


@dataclass(frozen=True)
class FilePair:
    """Two images and a file of flow."""

    first: str
    second: str
    field: str

    @property
    def name(self) -> str:
        """That of the first frame."""
        return self.first

    @property
    def files(self) -> tuple[str, ...]:
        """All three."""
        return self.first, self.second, self.field

    def frames(self, root: Path) -> Frames | Refused:
        """Paths of both images; Refused where one is not there or lies elsewhere."""
        try:
            return Frames((_inside(root, self.first), _inside(root, self.second)))
        except DataError as error:
            return Refused(str(error))

    def check(self, root: Path) -> None:
        """Headers of all three files, and that their sizes agree."""
        first, second = (_image_size(_inside(root, name)) for name in (self.first, self.second))
        _check_sizes(first, second, flow_size(_inside(root, self.field)), *map(str, self._paths(root)))

    def flow(self, root: Path) -> FlowField:
        """Read after the headers were checked."""
        self.check(root)
        return read_flow(root / self.field)

    def _paths(self, root: Path) -> tuple[Path, Path, Path]:
        return root / self.first, root / self.second, root / self.field


@dataclass(frozen=True)
class NpzPair:
    """An .npz file: frame1, frame2 uint8 (H, W, 3), flow (H, W, 2) and, if not all is known, valid (H, W)."""

    file: str

    @property
    def name(self) -> str:
        """That of the file."""
        return self.file

    @property
    def files(self) -> tuple[str, ...]:
        """The one."""
        return (self.file,)

    def frames(self, root: Path) -> Frames | Refused:
        """Pixels of both frames; Refused where the file is damaged."""
        try:
            self.check(root)
            held = _opened(_inside(root, self.file), lambda path: _arrays(path, _FRAMES))
        except DataError as error:
            return Refused(str(error))
        return Frames(tuple(held[name] for name in _FRAMES))

    def check(self, root: Path) -> None:
        """Names, types and shapes of the arrays, from their headers."""
        path = _inside(root, self.file)
        heads = _opened(path, _array_headers)
        for name in (*_FRAMES, "flow"):
            if name not in heads:
                raise DataError(f"{path}: has no array '{name}', only {', '.join(sorted(heads)) or 'none'}")
        rules = dict.fromkeys(_FRAMES, (_is_frame, "uint8 (H, W, 3)"))
        rules |= {"flow": (_is_flow, "float (H, W, 2)"), "valid": (_is_mask, "bool (H, W)")}
        for name, (sound, wanted) in rules.items():
            if name in heads and not sound(*heads[name]):
                dtype, shape = heads[name]
                raise DataError(f"{path}: its array '{name}' is {dtype} {shape}; it must be {wanted}")
        sizes = [(shape[0], shape[1]) for _, shape in (heads[name] for name in (*_FRAMES, "flow"))]
        where = [f"{path}, '{name}'" for name in (*_FRAMES, "flow")]
        _check_sizes(sizes[0], sizes[1], sizes[2], *where)
        if "valid" in heads and heads["valid"][1] != sizes[2]:
            raise DataError(f"{path}: its array 'valid' is {heads['valid'][1]}, flow is of {sizes[2]} pixels")

    def flow(self, root: Path) -> FlowField:
        """Read after the headers were checked."""
        self.check(root)
        path = root / self.file
        held = _opened(path, lambda path: _arrays(path, ("flow", "valid")))
        valid = held.get("valid")
        try:
            return known(held["flow"], None if valid is None else valid.astype(bool))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def _inside(root: Path, name: str) -> Path:
    """The path of a file; raises DataError where it is missing or a link to somewhere outside the root."""
    path = root / name
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{path}: {_LINK}")
    return path


def _image_size(path: Path) -> Size:
    try:
        with Image.open(path, formats=_IMAGES) as image:
            return image.height, image.width
    except Exception as error:  # a decoder fed damaged bytes may raise anything
        raise DataError(f"{path}: not readable as an image ({type(error).__name__})") from error


def _check_sizes(first: Size, second: Size, flow: Size, *where: str) -> None:
    """Raise DataError unless all are of one (height, width); where: what messages call them."""
    if first != second:
        raise DataError(
            f"{where[1]}: has {second[1]} x {second[0]} pixels, the first frame {first[1]} x {first[0]}: "
            f"{where[0]}"
        )
    if flow != first:
        raise DataError(
            f"{where[2]}: has flow of {flow[1]} x {flow[0]} pixels, the frames have {first[1]} x {first[0]}: "
            f"{where[0]}"
        )


def _array_headers(path: Path) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Type and shape of the arrays of an .npz file by name; no pixel is read."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            with archive.open(entry) as file:
                read = _HEADERS[np.lib.format.read_magic(file)]
                shape, _, dtype = read(file)
            found[entry.removesuffix(".npy")] = (dtype, shape)
    return found


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _arrays(path: Path, names: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in names if name in archive.files}


def _opened(path: Path, read: Callable[[Path], Told]) -> Told:
    try:
        return read(path)
    except Exception as error:  # a damaged archive may raise anything
        raise DataError(f"{path}: not readable as .npz ({type(error).__name__}: {error})") from error


def _is_frame(dtype: np.dtype, shape: tuple[int, ...]) -> bool:
    return dtype == np.uint8 and len(shape) == 3 and shape[2] == 3 and min(shape) > 0


def _is_flow(dtype: np.dtype, shape: tuple[int, ...]) -> bool:
    return dtype.kind == "f" and len(shape) == 3 and shape[2] == 2


def _is_mask(dtype: np.dtype, shape: tuple[int, ...]) -> bool:
    return dtype in (np.bool_, np.uint8) and len(shape) == 2
