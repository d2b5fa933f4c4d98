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
        "identities": "sslkit.data.sources.identities:IdentitiesSource",
        "list": "sslkit.data.sources.list_file:ListFileSource",
        "moving-shapes": "sslkit.data.sources.moving_shapes:MovingShapesSource",
        "npz": "sslkit.data.sources.arrays:ArraysSource",
        "scenes": "sslkit.data.sources.scenes:ScenesSource",
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
def sslkit_heads() -> dict[str, str]:
    """One file per head in `evaluation/heads/`."""
    return {
        "classifier": "sslkit.evaluation.heads.classifier:Classifier",
        "multi_label_classifier": "sslkit.evaluation.heads.multi_label_classifier:MultiLabelClassifier",
    }


@hookimpl
def sslkit_probes() -> dict[str, str]:
    """One file per probe in `evaluation/probes/`."""
    return {
        "few_shot": "sslkit.evaluation.probes.few_shot:FewShot",
        "identification": "sslkit.evaluation.probes.identification:Identification",
        "knn": "sslkit.evaluation.probes.knn:KNN",
        "label_efficiency": "sslkit.evaluation.probes.label_efficiency:LabelEfficiency",
        "linear": "sslkit.evaluation.probes.linear:Linear",
        "long_tail": "sslkit.evaluation.probes.long_tail:LongTail",
        "multi_label": "sslkit.evaluation.probes.multi_label:MultiLabel",
        "retrieval": "sslkit.evaluation.probes.retrieval:Retrieval",
        "verification": "sslkit.evaluation.probes.verification:Verification",
    }


@hookimpl
def sslkit_protocols() -> dict[str, str]:
    """Ways of measuring that come with sslkit."""
    return {
        "classifier-finetune": "sslkit.evaluation:protocol_files/classifier-finetune.yaml",
        "classifier-frozen": "sslkit.evaluation:protocol_files/classifier-frozen.yaml",
        "few-shot": "sslkit.evaluation:protocol_files/few-shot.yaml",
        "identification-1": "sslkit.evaluation:protocol_files/identification-1.yaml",
        "in1k-1pct": "sslkit.evaluation:protocol_files/in1k-1pct.yaml",
        "in1k-linear": "sslkit.evaluation:protocol_files/in1k-linear.yaml",
        "knn-20": "sslkit.evaluation:protocol_files/knn-20.yaml",
        "knn-200": "sslkit.evaluation:protocol_files/knn-200.yaml",
        "label-efficiency": "sslkit.evaluation:protocol_files/label-efficiency.yaml",
        "linear-lbfgs": "sslkit.evaluation:protocol_files/linear-lbfgs.yaml",
        "long-tail": "sslkit.evaluation:protocol_files/long-tail.yaml",
        "multi-label-frozen": "sslkit.evaluation:protocol_files/multi-label-frozen.yaml",
        "multi-label-lbfgs": "sslkit.evaluation:protocol_files/multi-label-lbfgs.yaml",
        "retrieval-cosine": "sslkit.evaluation:protocol_files/retrieval-cosine.yaml",
        "verification-cosine": "sslkit.evaluation:protocol_files/verification-cosine.yaml",
    }


@hookimpl
def sslkit_tasks() -> dict[str, str]:
    """Tasks of every transfer matrix, in its order; those of one kind in a file of `evaluation/tasks/`."""
    return {
        "knn": "sslkit.evaluation.tasks.of_classes:KNN",
        "linear": "sslkit.evaluation.tasks.of_classes:LINEAR",
        "few-shot": "sslkit.evaluation.tasks.of_classes:FEW_SHOT",
        "label-efficiency": "sslkit.evaluation.tasks.of_classes:LABEL_EFFICIENCY",
        "long-tail": "sslkit.evaluation.tasks.of_classes:LONG_TAIL",
        "multi-label": "sslkit.evaluation.tasks.of_classes:MULTI_LABEL",
        "verification": "sslkit.evaluation.tasks.of_identities:VERIFICATION",
        "identification": "sslkit.evaluation.tasks.of_identities:IDENTIFICATION",
        "retrieval": "sslkit.evaluation.tasks.of_identities:RETRIEVAL",
    }
