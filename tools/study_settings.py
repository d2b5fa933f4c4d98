"""The settings that tools/study.py compares: what each study changes in its recipe, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Study:
    """A recipe, the overrides of each setting, and the columns of the table.

    "knn", and "knn_of_clips" for video, need test classes that are those of training; "recall_at_1" does not,
    but it means nothing where samples of one video are each other's neighbours.
    """

    recipe: str
    settings: dict[str, tuple[str, ...]]
    columns: tuple[str, ...]


WARM = "mining.start_epoch=2"
HCL = ("objective.temperature=0.2", "objective.beta=2.0", "objective.prior=0.1")
COLD = ("objective.temperature=0.05",)
NEGATIVES = (WARM, "mining.negatives=64", "mining.candidates=500", "mining.skip_nearest=50")
BROAD = (
    WARM,
    "mining.negatives=128",
    "mining.candidates=2000",
    "mining.skip_nearest=100",
    "mining.weights.hardness=0.0",
)
NONE = (WARM, "mining.negatives=0", "mining.skip_nearest=0")
HARD_BATCHES = (*NONE, "mining.hard_batches.cluster=8", "mining.hard_batches.start_epoch=2")
ATTRACT = (
    *NONE,
    "mining.candidates=16",
    "mining.positives=1",
    "mining.bands=[{ranks: [0, 0], action: attract, weight: 0.5}]",
)
ATTRACT_4 = (
    *NONE,
    "mining.candidates=16",
    "mining.positives=4",
    "mining.bands=[{ranks: [0, 3], action: attract, weight: 0.5}]",
)


def triplet(negatives: str, *, labels: bool = False) -> tuple[str, ...]:
    """A triplet objective with an in-batch miner."""
    used = ", labels: true" if labels else ""
    return (f"objective={{name: triplet, projector_hidden: 512, negatives: {negatives}{used}}}",)


def mined_triplet(strategy: str) -> tuple[str, ...]:
    """A triplet objective whose negatives come from the whole corpus."""
    return (
        *triplet("random"),
        WARM,
        "mining.negatives=8",
        "mining.candidates=500",
        "mining.skip_nearest=20",
        f"mining.strategy={strategy}",
    )


CIFAR10 = {
    "plain T=.05": COLD,
    "plain T=.1": ("objective.temperature=0.1",),
    "plain T=.2": ("objective.temperature=0.2",),
    "debiased T=.05": (*COLD, "objective.prior=0.1"),
    "hard T=.1 beta=1": ("objective.temperature=0.1", "objective.beta=1.0", "objective.prior=0.1"),
    "hard T=.2 beta=2": HCL,
    "T=.05 + mined": (*COLD, *NEGATIVES),
    "T=.05 + raw mined": (*COLD, *NEGATIVES, "mining.weights.hardness=0.0", "mining.weights.prior=0.0"),
    "T=.05 + hard batches": (*COLD, *HARD_BATCHES),
    "T=.05 + attract": (*COLD, *ATTRACT),
    "hard T=.2 beta=2 + mined": (*HCL, *BROAD),
    "hard T=.2 beta=2 + hard batches": (*HCL, *HARD_BATCHES),
    "hard T=.2 beta=2 + attract": (*HCL, *ATTRACT),
    "hard T=.2 beta=2 + attract 4": (*HCL, *ATTRACT_4),
    "hard T=.2 beta=2 + hard batches + attract": (*HCL, *HARD_BATCHES, *ATTRACT),
    "triplet random": triplet("random"),
    "triplet semi-hard": triplet("semi_hard"),
    "triplet distance-weighted": triplet("distance_weighted"),
    "triplet hard": triplet("hard"),
    "triplet mined random": mined_triplet("random"),
    "triplet mined semi-hard": mined_triplet("semi_hard"),
}
RETRIEVAL = {
    **{name: setting for name, setting in CIFAR10.items() if name.startswith("triplet")},
    "triplet mined distance-weighted": mined_triplet("distance_weighted"),
    "triplet mined hard": mined_triplet("hard"),
    "labelled triplet semi-hard": triplet("semi_hard", labels=True),
    "labelled triplet hard": triplet("hard", labels=True),
    "plain T=.1": ("objective.temperature=0.1",),
    "T=.1 + mined": ("objective.temperature=0.1", *NEGATIVES),
    "T=.1 + hard batches": ("objective.temperature=0.1", *HARD_BATCHES),
}
VIDEO = {
    "crop": ("data.clip.positives=crop",),
    "temporal": ("data.clip.positives=temporal",),
    "both": ("data.clip.positives=both",),
}
ENGINES = {engine: (f"views.engine={engine}",) for engine in ("exact", "fused", "kornia")}
STUDIES = {
    "cifar10": Study("cifar10-cpu", CIFAR10, ("knn", "recall_at_1")),
    "retrieval": Study("cifar10-cpu", RETRIEVAL, ("recall_at_1",)),
    "video": Study("video-cpu", VIDEO, ("knn", "knn_of_clips")),
    "engines": Study("cifar10-cpu", ENGINES, ("knn", "recall_at_1")),
}
