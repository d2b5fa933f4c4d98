"""What is every pixel of? Segmentation as a task of the transfer matrix, and the masks of a user's folder."""

from __future__ import annotations

from pathlib import Path

from sslkit.contracts import Measurement, TransferTask
from sslkit.errors import SslkitError
from sslkit_segmentation.sources.mask_files import read_ids
from sslkit_segmentation.sources.pairing import IMAGES, MASKS, leaves, paired

_SPLITS = {"train", "training", "test", "val", "valid", "validation"}


def recognise_segmentation(folder: Path) -> Measurement | None:
    """Masks: folders such as images and masks (labels), with files of the same stem, of 8-bit class ids."""
    try:
        # `paired` also looks into any other folder, and would join what does not belong together.
        inside = {one.name.casefold() for one in folder.iterdir() if one.is_dir()}
        if not (inside & set(IMAGES) and inside & set(MASKS)) and not inside & _SPLITS:
            return None
        found = paired(folder, split=None, images=None, masks=None)
        masks = [name for pair in found.pairs for name in pair.masks]
        if not masks or leaves(folder, masks[0]):
            return None
        read_ids(folder / masks[0])
    except (SslkitError, OSError, ValueError):
        return None
    return Measurement("linear_seg", f"masks:{folder}")


SEGMENTATION = TransferTask(
    Measurement(
        head="linear_seg",
        data="scenes:count=300,size=96,targets=semantic",
        test="scenes:count=150,size=96,targets=semantic,split=test",
        protocol="segmentation-procedural",
        domain="drawn scenes",
        synthetic=True,
    ),
    recognise_segmentation,
)
