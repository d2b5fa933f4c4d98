"""Numbered frames, in a folder or one by one, read as a video; nothing but DecodeError when that fails."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sslkit.contracts import Content
from sslkit.data.decode.image import Rectangle, decode_image, read_header
from sslkit.data.decode.packets import ROUNDING
from sslkit.data.decode.suffixes import EXTENSIONS
from sslkit.errors import ConfigError, DecodeError


def list_frames(path: Path) -> list[Path]:
    """The images of a folder in natural order, so that 10 follows 9; raises DecodeError."""
    try:
        frames = [file for file in path.iterdir() if _is_frame(file.name)]
    except OSError as error:
        raise DecodeError(f"{path}: not a folder that can be read ({error.strerror})") from error
    if not frames:
        raise DecodeError(f"{path}: no frames in it; a folder of images named by number is expected")
    return sorted(frames, key=_natural)


def _is_frame(name: str) -> bool:
    return Path(name).suffix.lower() in EXTENSIONS and not name.startswith(".")


def decode_frames_folder(
    path: Path, times: np.ndarray, rate: float, *, canvas: int, channels: int = 3
) -> tuple[np.ndarray, Rectangle]:
    """Decode M clips of T frames: uint8 (M, T, channels, canvas, canvas), and the valid rectangle in all.

    times: float64 (M, T), seconds from the first frame; frame k is shown from k / rate on, the last one for
    ever. Each file is decoded once. Raises DecodeError.
    """
    if not rate > 0:
        raise ConfigError(f"rate={rate}: use the frames a second that the folder was made with, such as 25")
    return decode_frames(list_frames(path), times, rate, canvas=canvas, channels=channels)


def decode_frames(
    frames: Sequence[Content], times: np.ndarray, rate: float, *, canvas: int, channels: int = 3
) -> tuple[np.ndarray, Rectangle]:
    """The same of still images in this order, such as those of `Frames`."""
    if times.ndim != 2 or times.size == 0 or not np.isfinite(times).all():
        raise ConfigError(f"times of shape {times.shape}: use finite seconds (M, T) with M, T >= 1")
    shown = np.clip(np.floor((times + ROUNDING) * rate), 0, len(frames) - 1).astype(np.int64)
    wanted, places = np.unique(shown, return_inverse=True)
    decoded = [decode_image(frames[index], canvas=canvas, channels=channels) for index in wanted]
    rectangle = decoded[0][1]
    for index, (_, other) in zip(wanted, decoded, strict=True):
        if other != rectangle:
            (name, sides), (first, whole) = (_sized(frames, one, channels) for one in (index, wanted[0]))
            raise DecodeError(
                f"{name}: {sides} where {Path(first).name} is {whole}; frames of one video have one shape"
            )
    return np.stack([pixels for pixels, _ in decoded])[places.reshape(times.shape)], rectangle


def _sized(frames: Sequence[Content], index: int, channels: int) -> tuple[str, str]:
    frame, header = frames[index], read_header(frames[index], channels=channels)
    return str(frame) if isinstance(frame, Path) else f"frame {index}", f"{header.width}x{header.height}"


def _natural(file: Path) -> list[tuple[int, str]]:
    """Digits compare as numbers: ["frame", 9] < ["frame", 10]."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file.name)]
