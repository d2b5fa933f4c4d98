"""The few typed words on the wire between rooms, and the protocols a plugin implements.

`data` samples and batches, `models` backbones, `objectives` what pretraining minimises, `targets` what heads
predict, `heads` the heads and their batches. Import from here.
"""

from sslkit.contracts.data import (
    Batch,
    Content,
    Item,
    LabelledSource,
    Moment,
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
from sslkit.contracts.models import BackboneLike, FeatureInfo, FeatureMap
from sslkit.contracts.objectives import (
    Embeddings,
    Mined,
    Neighbours,
    Objective,
    Outcome,
    Samples,
)
from sslkit.contracts.targets import (
    IGNORE,
    ClassLabel,
    FlowField,
    Objects,
    SemanticMap,
    Target,
    Warp,
)

__all__ = [
    "IGNORE",
    "BackboneLike",
    "Batch",
    "ClassLabel",
    "Content",
    "Embeddings",
    "Example",
    "FeatureInfo",
    "FeatureKind",
    "FeatureMap",
    "Figures",
    "FlowField",
    "Head",
    "HeadFeatures",
    "HeadSpec",
    "InputKind",
    "Item",
    "LabelledBatch",
    "LabelledSource",
    "Meta",
    "Metric",
    "Mined",
    "Moment",
    "Neighbours",
    "Objective",
    "Objects",
    "Outcome",
    "Refused",
    "Samples",
    "Score",
    "SemanticMap",
    "Skipped",
    "Source",
    "Target",
    "Task",
    "Views",
    "Warp",
    "seen_by",
]
