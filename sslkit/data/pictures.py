"""What a person sees of a sample: a small RGB picture, whatever it is stored as."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sslkit.contracts import Content, Frames, Item, Moment
from sslkit.data.clip_sampling import ClipSampling, seconds
from sslkit.data.clips import Clips
from sslkit.data.decode.image import Rectangle, decode_image
from sslkit.data.decode.moment import decode_moment


def picture(item: Item, *, side: int, channels: int = 3) -> NDArray[np.uint8]:
    """The whole image of an item, uint8 (H, W, 3), at most `side` pixels a side; raises DecodeError.

    Of video, the frame in the middle; of several images the first. channels: of the data; of images with more
    than three, the first three are shown, others as grey.
    """
    content = item.content
    if isinstance(content, Moment):
        clip, rectangle = decode_moment(content, Clips().still(content), canvas=side)
        return _shown(clip[0, 0], rectangle)
    still = content.images[0] if isinstance(content, Frames) else content
    return _shown(*decode_image(still, canvas=side, channels=channels))


def pictures(item: Item, clip: ClipSampling | None, *, side: int, channels: int = 3) -> NDArray[np.uint8]:
    """The images of an item, uint8 (T, H, W, 3): both of a pair, or those of the first clip taken of a video.

    At most `side` pixels a side; raises DecodeError.
    """
    content = item.content
    if isinstance(content, Moment):
        numbers = (clip or ClipSampling(1)).numbers(content)[0]
        frames, rectangle = decode_moment(content, seconds(content, numbers)[None], canvas=side)
        return np.stack([_shown(frame, rectangle) for frame in frames[0]])
    images: tuple[Content, ...] = content.images if isinstance(content, Frames) else (content,)
    if clip is not None:
        images = tuple(images[number] for number in clip.numbers(content)[0])
    return np.stack([_shown(*decode_image(image, canvas=side, channels=channels)) for image in images])


def _shown(canvas: np.ndarray, rectangle: Rectangle) -> NDArray[np.uint8]:
    colour = canvas[:3] if canvas.shape[0] >= 3 else canvas[:1].repeat(3, axis=0)
    top, left, height, width = rectangle
    return np.ascontiguousarray(colour[:, top : top + height, left : left + width].transpose(1, 2, 0))
