"""The visible list of what comes with sslkit, registered through the same hooks as any plugin."""

from __future__ import annotations

from sslkit.hookspecs import API_VERSION, hookimpl

SSLKIT_API = API_VERSION


@hookimpl
def sslkit_objectives() -> dict[str, str]:
    """One file per method in `objectives/`."""
    return {
        "barlow_twins": "sslkit.objectives.barlow_twins:BarlowTwins",
        "byol": "sslkit.objectives.byol:BYOL",
        "contrastive": "sslkit.objectives.contrastive:Contrastive",
        "dino": "sslkit.objectives.dino:DINO",
        "margin": "sslkit.objectives.margin:Margin",
        "moco": "sslkit.objectives.moco:MoCo",
        "sigreg": "sslkit.objectives.sigreg:SIGReg",
        "simclr": "sslkit.objectives.simclr:SimCLR",
        "simsiam": "sslkit.objectives.simsiam:SimSiam",
        "supcon": "sslkit.objectives.supcon:SupCon",
        "triplet": "sslkit.objectives.triplet:Triplet",
        "vicreg": "sslkit.objectives.vicreg:VICReg",
    }


@hookimpl
def sslkit_sources() -> dict[str, str]:
    """One file per place where samples live in `data/sources/`."""
    return {
        "folder": "sslkit.data.sources.folder:ImageFolderSource",
        "hf": "sslkit.data.sources.hf:HFSource",
        "list": "sslkit.data.sources.list_file:ListFileSource",
        "moving-shapes": "sslkit.data.sources.moving_shapes:MovingShapesSource",
        "npz": "sslkit.data.sources.arrays:ArraysSource",
        "shapes": "sslkit.data.sources.shapes:ShapesSource",
        "shards": "sslkit.data.sources.shards:ShardsSource",
        "video": "sslkit.data.sources.video:VideoSource",
        "video-list": "sslkit.data.sources.video_list:VideoListSource",
    }


@hookimpl
def sslkit_view_policies() -> dict[str, str]:
    """The random views of each method."""
    return {
        "byol": "sslkit.data.views.named:byol",
        "custom": "sslkit.data.views.named:custom",
        "multi_channel": "sslkit.data.views.named:multi_channel",
        "multi_crop": "sslkit.data.views.named:multi_crop",
        "simclr": "sslkit.data.views.named:simclr",
        "simclr_small": "sslkit.data.views.named:simclr_small",
    }


@hookimpl
def sslkit_probes() -> dict[str, str]:
    """The two probes every representation is judged by."""
    return {
        "knn": "sslkit.evaluation.measure:knn",
        "linear": "sslkit.evaluation.measure:linear",
    }


@hookimpl
def sslkit_protocols() -> dict[str, str]:
    """Ways of measuring that come with sslkit."""
    return {
        "knn-20": "sslkit.evaluation:protocol_files/knn-20.yaml",
        "knn-200": "sslkit.evaluation:protocol_files/knn-200.yaml",
        "linear-lbfgs": "sslkit.evaluation:protocol_files/linear-lbfgs.yaml",
    }
