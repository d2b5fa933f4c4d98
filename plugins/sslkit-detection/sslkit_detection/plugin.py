"""The names this plugin gives to sslkit; imports no torch."""

from __future__ import annotations

from sslkit.hookspecs import hookimpl

SSLKIT_API = 1

_PROTOCOLS = (
    "coco-fpn-1x",
    "detection-procedural",
    "faster-rcnn-frozen",
    "faster-rcnn-finetune",
    "fcos-frozen",
    "fcos-finetune",
    "localisation-frozen",
    "localisation-finetune",
    "retinanet-frozen",
    "retinanet-finetune",
    "retinanet-voc",
    "voc0712-c4-24k",
    "voc0712-fpn-12k",
)


@hookimpl
def sslkit_heads() -> dict[str, str]:
    """Detectors."""
    return {
        "faster_rcnn": "sslkit_detection.heads.faster_rcnn:FasterRCNN",
        "faster_rcnn_c4": "sslkit_detection.heads.faster_rcnn_c4:FasterRCNNC4",
        "fcos": "sslkit_detection.heads.fcos:FCOS",
        "localisation": "sslkit_detection.heads.localisation:Localisation",
        "retinanet": "sslkit_detection.heads.retinanet:RetinaNet",
    }


@hookimpl
def sslkit_sources() -> dict[str, str]:
    """Annotated data sets, by the format of their annotations."""
    return {
        "coco": "sslkit_detection.sources.coco:CocoSource",
        "voc": "sslkit_detection.sources.voc:VocSource",
        "yolo": "sslkit_detection.sources.yolo:YoloSource",
    }


@hookimpl
def sslkit_protocols() -> dict[str, str]:
    """Ways of measuring, one file each."""
    return {name: f"sslkit_detection:protocols/{name}.yaml" for name in _PROTOCOLS}


@hookimpl
def sslkit_tasks() -> dict[str, str]:
    """Tasks of every transfer matrix."""
    return {"detection": "sslkit_detection.tasks:DETECTION"}
