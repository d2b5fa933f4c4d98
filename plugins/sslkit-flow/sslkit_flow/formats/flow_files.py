"""Any file of flow, by its ending."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from sslkit.contracts import FlowField
from sslkit.errors import DataError
from sslkit_flow.formats.flo import flo_size, read_flo
from sslkit_flow.formats.kitti_png import kitti_size, read_kitti
from sslkit_flow.formats.pfm import pfm_size, read_pfm

Told = TypeVar("Told")

_READERS: Mapping[str, Callable[[Path], FlowField]] = {
    ".flo": read_flo,
    ".pfm": read_pfm,
    ".png": read_kitti,
}
_SIZES: Mapping[str, Callable[[Path], tuple[int, int]]] = {
    ".flo": flo_size,
    ".pfm": pfm_size,
    ".png": kitti_size,
}


def read_flow(path: str | Path) -> FlowField:
    """Flow of a .flo, .pfm or KITTI's .png file: vectors float32 (2, H, W) in pixels, valid bool (H, W).

    Raises DataError that names the file and says what is wrong: another magic number, a length unlike the
    size, damage, vectors that are NaN or infinite.
    """
    return _asked(Path(path), _READERS)


def flow_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a file of flow, from its header; raises DataError as `read_flow` does."""
    return _asked(Path(path), _SIZES)


def _asked(path: Path, readers: Mapping[str, Callable[[Path], Told]]) -> Told:
    read = readers.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path}: is no file of flow; they end in {', '.join(readers)}")
    try:
        return read(path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
