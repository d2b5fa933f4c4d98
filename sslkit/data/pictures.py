"""What a person sees of a sample: a small RGB picture, whatever it is stored as."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sslkit.contracts import Item, Moment
from sslkit.data.clips import Clips
from sslkit.data.decode.image import decode_image
from sslkit.data.decode.moment import decode_moment


def picture(item: Item, *, side: int, channels: int = 3) -> NDArray[np.uint8]:
    """The whole image of an item, uint8 (H, W, 3), at most `side` pixels a side; raises DecodeError.

    Of video, the frame in the middle. channels: of the data; of images with more than three, the first three
    are shown, others as grey.
    """
    if isinstance(item.content, Moment):
        moment = item.content
        clip, rectangle = decode_moment(moment, Clips().still(moment), canvas=side)
        canvas = clip[0, 0]
    else:
        canvas, rectangle = decode_image(item.content, canvas=side, channels=channels)
    shown = canvas[:3] if canvas.shape[0] >= 3 else canvas[:1].repeat(3, axis=0)
    top, left, height, width = rectangle
    return np.ascontiguousarray(shown[:, top : top + height, left : left + width].transpose(1, 2, 0))
