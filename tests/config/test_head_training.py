"""What a protocol says of a head's training, and which heads it fits."""

from __future__ import annotations

from typing import Any

import pytest

from sslkit.config.head_training import check_input, read_training
from sslkit.contracts import HeadSpec
from sslkit.errors import ConfigError

TRAINING: dict[str, Any] = {
    "size": [32, 32], "steps": 10, "batch": 8, "optimizer": "adamw", "lr": 0.01, "weight_decay": 0,
    "layer_decay": 1.0, "warmup_steps": 2, "clip_gradient": None, "ema": 0.0,
    "augment": {"flip": 0, "scale": [1, 1], "elastic": None, "colour": 0}, "oversample": 0, "cache": True,
    "held_out": 0, "evaluate_every": 4,
}  # fmt: skip
CLIP = {"frames": 8, "stride": 2, "views": 3, "crops": 1, "short": "refuse"}


def spec(input: Any, target: str = "label") -> HeadSpec:
    return HeadSpec("mine", input, "vector", target, "accuracy")


def test_clips_are_read_and_absent_where_nothing_is_said() -> None:
    plan = read_training({**TRAINING, "clip": CLIP}, "x")
    assert plan.clip is not None
    assert plan.clip.model_dump() == {**CLIP, "stride": 2.0}
    assert read_training(TRAINING, "x").clip is None
    assert read_training({**TRAINING, "clip": None}, "x").clip is None


@pytest.mark.parametrize("key", CLIP)
def test_every_key_of_clips_is_given(key: str) -> None:
    left = {name: value for name, value in CLIP.items() if name != key}
    with pytest.raises(ConfigError, match=rf"clip\.{key}: .*required"):
        read_training({**TRAINING, "clip": left}, "x")


@pytest.mark.parametrize(
    ("key", "value"), [("frames", 0), ("stride", 0), ("views", 0), ("crops", 2), ("short", "loop")]
)
def test_what_clips_cannot_be_is_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"clip\.{key}: .*got {value!r}"):
        read_training({**TRAINING, "clip": {**CLIP, key: value}}, "x")


def test_a_head_may_be_judged_as_it_is_built() -> None:
    assert read_training({**TRAINING, "steps": 0, "warmup_steps": 0}, "x").steps == 0
    with pytest.raises(ConfigError, match=r"steps: .*got -1"):
        read_training({**TRAINING, "steps": -1}, "x")
    with pytest.raises(ConfigError, match=r"warmup_steps \(2\) may be at most steps \(0\)"):
        read_training({**TRAINING, "steps": 0}, "x")


def test_clips_go_with_heads_of_clips_alone() -> None:
    plain, clips = read_training(TRAINING, "x"), read_training({**TRAINING, "clip": CLIP}, "x")
    check_input(spec("image"), plain)
    check_input(spec("pair"), plain)
    check_input(spec("clip"), clips)
    with pytest.raises(ConfigError, match=r"'mine' takes clips.*add training\.clip, such as {frames: 16"):
        check_input(spec("clip"), plain)
    with pytest.raises(ConfigError, match=r"'mine' takes images.*leave it out"):
        check_input(spec("image"), clips)
    with pytest.raises(ConfigError, match=r"'mine' takes pairs"):
        check_input(spec("pair"), clips)


def test_crops_are_for_what_is_not_tied_to_places() -> None:
    crops = read_training({**TRAINING, "clip": {**CLIP, "crops": 3}}, "x")
    check_input(spec("clip"), crops)
    with pytest.raises(ConfigError, match=r"crops=3: .*predicts semantic of the whole; use crops: 1"):
        check_input(spec("clip", "semantic"), crops)
