"""The few typed words on the wire between rooms, and the protocols a plugin implements.

`data` samples and batches, `models` backbones, `objectives` what pretraining minimises, `targets` what heads
predict, `heads` the heads and their batches, `probes` cheap tests of embeddings, `tasks` what is measured on
which data. Import from here.
"""

from sslkit.contracts.data import (
    Batch,
    Content,
    Frames,
    Item,
    LabelledSource,
    Moment,
    Painter,
    Refused,
    Skipped,
    Source,
    Views,
)
from sslkit.contracts.heads import (
    Example,
    FeatureKind,
    Figures,
    Head,
    HeadFeatures,
    HeadSpec,
    InputKind,
    LabelledBatch,
    Meta,
    Metric,
    Score,
    Task,
    seen_by,
)
from sslkit.contracts.models import BackboneLike, ClipRows, FeatureInfo, FeatureMap, VideoNetwork
from sslkit.contracts.objectives import (
    Embeddings,
    Mined,
    Neighbours,
    Objective,
    Outcome,
    Samples,
)
from sslkit.contracts.probes import Curve, Features, Judged, Probe
from sslkit.contracts.targets import (
    IGNORE,
    ClassLabel,
    ClassSet,
    FlowField,
    Objects,
    SemanticMap,
    Target,
    Warp,
)
from sslkit.contracts.tasks import Measurement, TransferTask

__all__ = [
    "IGNORE",
    "BackboneLike",
    "Batch",
    "ClassLabel",
    "ClassSet",
    "ClipRows",
    "Content",
    "Curve",
    "Embeddings",
    "Example",
    "FeatureInfo",
    "FeatureKind",
    "FeatureMap",
    "Features",
    "Figures",
    "FlowField",
    "Frames",
    "Head",
    "HeadFeatures",
    "HeadSpec",
    "InputKind",
    "Item",
    "Judged",
    "LabelledBatch",
    "LabelledSource",
    "Measurement",
    "Meta",
    "Metric",
    "Mined",
    "Moment",
    "Neighbours",
    "Objective",
    "Objects",
    "Outcome",
    "Painter",
    "Probe",
    "Refused",
    "Samples",
    "Score",
    "SemanticMap",
    "Skipped",
    "Source",
    "Target",
    "Task",
    "TransferTask",
    "VideoNetwork",
    "Views",
    "Warp",
    "seen_by",
]
