"""The names this package adds to sslkit; light, so that listing plugins loads no torch."""

from __future__ import annotations

from sslkit.hookspecs import hookimpl

SSLKIT_API = 1


@hookimpl
def sslkit_heads() -> dict[str, str]:
    """One file per head in `heads/`."""
    return {
        "deeplab": "sslkit_segmentation.heads.deeplab:DeepLab",
        "fcn": "sslkit_segmentation.heads.fcn:FCN",
        "linear_seg": "sslkit_segmentation.heads.linear_seg:LinearSeg",
        "mask_rcnn": "sslkit_segmentation.heads.mask_rcnn:MaskRCNN",
        "unet": "sslkit_segmentation.heads.unet:UNet",
    }


@hookimpl
def sslkit_sources() -> dict[str, str]:
    """One file per place where maps of labels live in `sources/`."""
    return {"masks": "sslkit_segmentation.sources.mask_folder:MaskFolderSource"}


@hookimpl
def sslkit_protocols() -> dict[str, str]:
    """One file per way of measuring in `protocols/`."""
    return {
        "ade-linear-dinov3": "sslkit_segmentation:protocols/ade-linear-dinov3.yaml",
        "coco-mask-fpn-1x": "sslkit_segmentation:protocols/coco-mask-fpn-1x.yaml",
        "deeplab-finetune": "sslkit_segmentation:protocols/deeplab-finetune.yaml",
        "fcn-finetune": "sslkit_segmentation:protocols/fcn-finetune.yaml",
        "linear-seg-frozen": "sslkit_segmentation:protocols/linear-seg-frozen.yaml",
        "mask-rcnn-finetune": "sslkit_segmentation:protocols/mask-rcnn-finetune.yaml",
        "segmentation-procedural": "sslkit_segmentation:protocols/segmentation-procedural.yaml",
        "unet-finetune": "sslkit_segmentation:protocols/unet-finetune.yaml",
        "voc-linear-seg": "sslkit_segmentation:protocols/voc-linear-seg.yaml",
    }


@hookimpl
def sslkit_tasks() -> dict[str, str]:
    """Tasks of every transfer matrix."""
    return {"segmentation": "sslkit_segmentation.tasks:SEGMENTATION"}
