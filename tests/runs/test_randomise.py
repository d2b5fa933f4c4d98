"""Ranges of views that follow the network: in the diary, in the checkpoint, and the same after a resume."""

import json
import shutil

import pytest
import torch

from sslkit.errors import ConfigError
from sslkit.runs.pretrain import pretrain, resume
from sslkit.training.checkpoint import load_checkpoint

MOVING = (
    "views.randomise.start=0.5",
    "views.randomise.window=4",
    "views.randomise.boundary=1.0",
    "views.randomise.narrow_below=0.3",
    "views.randomise.widen_above=0.3",
    "checkpoint.every_steps=1",
    "checkpoint.keep=99",
)


def strengths(run) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "step"]
    return [{k: v for k, v in step.items() if k.startswith("strength_")} for step in steps]


def state(run):
    return load_checkpoint(run / "checkpoints")[1]


def test_ranges_move_and_an_interrupted_run_moves_them_alike(tmp_path, shapes, tiny) -> None:
    whole, part = (
        pretrain(shapes, out=tmp_path / name, overrides=[*tiny, *MOVING], progress=False)
        for name in ("whole", "part")
    )
    told = strengths(whole)
    assert "strength_color_jitter.hue" in told[0]
    assert told[0] != told[-1]
    for checkpoint in (part / "checkpoints").iterdir():
        if int(checkpoint.name.rpartition("-")[2]) > 3:
            shutil.rmtree(checkpoint)
    resume(part, progress=False)
    assert strengths(part) == told
    assert state(part)["randomisation"] == state(whole)["randomisation"]
    assert len(state(whole)["randomisation"]["history"]) > 0
    first, second = state(whole)["learner"], state(part)["learner"]
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_views_with_moving_ranges_cannot_be_made_ahead(tmp_path, shapes, tiny) -> None:
    with pytest.raises(ConfigError, match="cannot be made ahead by workers"):
        pretrain(
            shapes,
            out=tmp_path / "run",
            overrides=[*tiny, *MOVING, "views.engine=workers"],
            progress=False,
        )
