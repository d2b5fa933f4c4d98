"""The names this package adds to sslkit; light, so that listing plugins loads no torch."""

from __future__ import annotations

from sslkit.hookspecs import hookimpl

SSLKIT_API = 1


@hookimpl
def sslkit_heads() -> dict[str, str]:
    """One file per head in `heads/`."""
    return {
        "attentive_pool": "sslkit_action.heads.attentive_pool:AttentivePool",
        "conv3d": "sslkit_action.heads.conv3d:Conv3d",
        "frame_pool": "sslkit_action.heads.frame_pool:FramePool",
        "gru": "sslkit_action.heads.gru:GRU",
        "temporal_conv": "sslkit_action.heads.temporal_conv:TemporalConv",
    }


@hookimpl
def sslkit_networks() -> dict[str, str]:
    """Networks of video that timm has not."""
    return {
        "mvit_v1_b": "sslkit_action.networks.torchvision_video:mvit_v1_b",
        "mvit_v2_s": "sslkit_action.networks.torchvision_video:mvit_v2_s",
        "r2plus1d_18": "sslkit_action.networks.torchvision_video:r2plus1d_18",
        "r3d_18": "sslkit_action.networks.torchvision_video:r3d_18",
        "s3d": "sslkit_action.networks.torchvision_video:s3d",
    }


@hookimpl
def sslkit_backbone_transforms() -> dict[str, str]:
    """What makes a network of images one of video."""
    return {"slowfast": "sslkit_action.transforms.slowfast:slowfast"}


@hookimpl
def sslkit_protocols() -> dict[str, str]:
    """One file per way of measuring in `protocols/`."""
    return {
        "action-procedural": "sslkit_action:protocols/action-procedural.yaml",
        "attentive-pool-frozen": "sslkit_action:protocols/attentive-pool-frozen.yaml",
        "conv3d-inflated-finetune": "sslkit_action:protocols/conv3d-inflated-finetune.yaml",
        "conv3d-inflated-finetune-224": "sslkit_action:protocols/conv3d-inflated-finetune-224.yaml",
        "conv3d-inflated-frozen": "sslkit_action:protocols/conv3d-inflated-frozen.yaml",
        "frame-pool-frozen": "sslkit_action:protocols/frame-pool-frozen.yaml",
        "gru-frozen": "sslkit_action:protocols/gru-frozen.yaml",
        "slowfast-finetune": "sslkit_action:protocols/slowfast-finetune.yaml",
        "temporal-conv-frozen": "sslkit_action:protocols/temporal-conv-frozen.yaml",
        "ucf101-ft": "sslkit_action:protocols/ucf101-ft.yaml",
        "ucf101-linear": "sslkit_action:protocols/ucf101-linear.yaml",
    }


@hookimpl
def sslkit_tasks() -> dict[str, str]:
    """Tasks of every transfer matrix."""
    return {"action": "sslkit_action.tasks:ACTION"}
