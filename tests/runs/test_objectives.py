"""Every registered objective in a real run: its loss is finite, and a resumed run ends at the same bits."""

import math
import shutil

import pytest
import torch

from sslkit.errors import ConfigError
from sslkit.registry import names
from sslkit.runs.pretrain import pretrain, resume
from sslkit.training.checkpoint import load_checkpoint
from sslkit.training.monitor import read_diary

SMALL = "projector_hidden: 16, projector_outputs: 8"
OPTIONS = {
    "barlow_twins": SMALL,
    "byol": f"{SMALL}, predictor_hidden: 16",
    "contrastive": f"{SMALL}, negatives: random",
    "dino": "projector_hidden: 16, projector_outputs: 8, prototypes: 32",
    "margin": SMALL,
    "moco": f"{SMALL}, queue: 40",
    "sigreg": f"{SMALL}",
    "simclr": f"{SMALL}, beta: 1.0, prior: 0.1",
    "simsiam": f"{SMALL}, predictor_hidden: 16",
    "supcon": SMALL,
    "triplet": f"{SMALL}, negatives: distance_weighted",
    "vicreg": SMALL,
}
BUILT_IN = sorted(OPTIONS)


def test_every_built_in_objective_is_tried_here() -> None:
    assert set(OPTIONS) <= set(names("objective"))
    assert [name for name in names("objective") if ":" not in name] == BUILT_IN


def test_an_objective_that_needs_labels_says_so_before_it_starts(tmp_path, photos, tiny) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photos.rglob("*.jpg"):
        path.rename(flat / path.name)
    settings = [*tiny, "batch.size=10", "objective={name: supcon, projector_hidden: 16}"]
    settings = [s for s in settings if not s.startswith("objective.")]
    with pytest.raises(ConfigError, match="trains on labels"):
        pretrain(flat, out=tmp_path / "run", overrides=settings, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_resumed_run_ends_at_the_same_bits(tmp_path, shapes, tiny, name) -> None:
    """Queues, centres, counters and teachers included: all that shapes the rest is in the checkpoint."""
    settings = [s for s in tiny if not s.startswith("objective.")]
    settings += [
        f"objective={{name: {name}, {OPTIONS[name]}}}",
        "checkpoint.every_steps=3",
        "checkpoint.keep=9",
    ]
    if name == "dino":
        settings += ["views={name: multi_crop, size: 32, local_size: 16, local_crops: 2}"]
    run = pretrain(shapes, out=tmp_path / "run", overrides=settings, progress=False)
    losses = [record["loss"] for record in read_diary(run / "metrics.jsonl") if record["kind"] == "step"]
    assert len(losses) == 8
    assert all(math.isfinite(loss) for loss in losses)
    end = load_checkpoint(run / "checkpoints")[1]
    for newer in ("step-00000004", "step-00000006", "step-00000008"):
        shutil.rmtree(run / "checkpoints" / newer)
    resume(run, progress=False)
    again = load_checkpoint(run / "checkpoints")[1]
    assert end["learner"].keys() == again["learner"].keys()
    for key, value in end["learner"].items():
        assert torch.equal(value, again["learner"][key]), key
