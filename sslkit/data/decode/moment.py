"""A part of a video, wherever its frames lie."""

from __future__ import annotations

import numpy as np

from sslkit.contracts import Moment
from sslkit.data.decode.frames_folder import decode_frames_folder
from sslkit.data.decode.image import Rectangle
from sslkit.data.decode.video import Decoder, decode_clips


def decode_moment(
    moment: Moment, times: np.ndarray, *, canvas: int, channels: int = 3, decoder: Decoder = "pyav"
) -> tuple[np.ndarray, Rectangle]:
    """Frames of the moment's video at seconds (M, T): uint8 (M, T, channels, canvas, canvas), and rectangle.

    The path is a video file, which `decoder` reads, or a folder of frames. Raises DecodeError.
    """
    if moment.path.is_dir():
        return decode_frames_folder(moment.path, times, moment.rate, canvas=canvas, channels=channels)
    return decode_clips(moment.path, times, canvas=canvas, channels=channels, decoder=decoder)
