"""A profile tells of what was run: counts by hand, arithmetic by a false clock, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from sslkit.contracts import Example, FlowField, HeadSpec, LabelledBatch, Task
from sslkit.errors import ConfigError, ModelError, UnknownNameError
from sslkit.models.creation import create_backbone
from sslkit.models.weights import save_backbone
from sslkit.registry.lookup import loaded
from sslkit.registry.plugins import Target
from sslkit.runs.profile import profile
from sslkit.runs.profile_work import example_batch, example_task
from sslkit.training.precision import Layout, choose_layout
from tests.runs import small_networks
from tests.testing.sound_heads import Labels

NETWORKS = ("narrow", "wide", "foreseeing", "picky")
PROTOCOL = """
id: measured
version: 1
head: {head}
mode: finetune
options: {{hidden: 5}}
source: nobody 2026
training:
  size: [48, 32]
  steps: 10
  batch: 3
  optimizer: adamw
  lr: 0.01
  weight_decay: 0.0
  layer_decay: 1.0
  warmup_steps: 2
  clip_gradient: 1.0
  ema: 0.0
  augment: {{flip: 0.0, scale: [1.0, 1.0], elastic: null, colour: 0.0}}
  oversample: 0.0
  cache: false
  held_out: 0.0
  evaluate_every: 4
{clip}
"""
CLIP = "  clip: {frames: 6, stride: 1, views: 1, crops: 1, short: refuse}"


class ClipLabels(Labels):
    """The same of clips, by the mean of their frames."""

    spec = HeadSpec("clip_labels", "clip", "vector", "label", "share")
    seen: tuple[int, ...] = ()

    def forward(self, features: Any) -> Any:
        ClipLabels.seen = tuple(features.vector.shape)
        return self.layers(features.vector.mean(dim=1))

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        example = super().example_batch(seed)
        pixels = example.batch.pixels[:, None].repeat(1, 2, 1, 1, 1)
        return replace(
            example, task=replace(example.task, frames=2), batch=replace(example.batch, pixels=pixels)
        )


class Ticks:
    """A clock that lets each pass take what it is told, in seconds."""

    def __init__(self, durations: Iterable[float]) -> None:
        times, now = [], 0.0
        for duration in durations:
            times.append((now, now + duration))
            now += 10
        self.times = chain.from_iterable(times)

    def __call__(self) -> float:
        return next(self.times)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small networks and heads by name, and the fastest layout not searched."""
    targets = loaded().targets
    for name in NETWORKS:
        monkeypatch.setitem(targets["network"], name, Target(f"tests.runs.small_networks:{name}", "test"))
    heads = {"labels": "tests.testing.sound_heads:Labels", "clip_labels": f"{__name__}:ClipLabels"}
    for name, address in heads.items():
        monkeypatch.setitem(targets["head"], name, Target(address, "test"))
    monkeypatch.setattr("sslkit.runs.profile.choose_layout", lambda *_, **__: Layout("fp32", False))
    monkeypatch.setattr(small_networks, "BUILT", [])


@pytest.fixture
def protocol(tmp_path: Path) -> Any:
    def write(head: str, clip: str = "") -> Path:
        path = tmp_path / f"{head}.yaml"
        path.write_text(PROTOCOL.format(head=head, clip=clip))
        return path

    return write


def by_hand(width: int, height: int, across: int) -> tuple[int, int]:
    """Multiply-adds of the two convolutions, each output by each tap of its kernel."""
    first = width * 3 * 9 * (height // 2) * (across // 2)
    second = 2 * width * width * 9 * (height // 4) * (across // 4)
    return first, second


@pytest.mark.parametrize(("name", "width"), [("narrow", 8), ("wide", 16)])
@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (3, 1), (2, 4)])
def test_multiply_adds_are_those_counted_by_hand(name: str, width: int, batch: int, frames: int) -> None:
    found = profile(name, size=(64, 32), batch=batch, frames=frames, passes=1)
    assert found.multiply_adds_per_frame == sum(by_hand(width, 64, 32))


def test_a_training_step_adds_the_gradients_of_weights_and_of_all_inputs_but_the_pixels() -> None:
    first, second = by_hand(8, 32, 32)
    found = profile("narrow", batch=2, train=True, passes=1)
    assert found.multiply_adds_per_frame == 2 * first + 3 * second


def test_parameters_weights_and_the_state_of_the_optimiser_are_counted() -> None:
    count = (3 * 9 + 1) * 8 + (8 * 9 + 1) * 16
    found = profile("narrow", train=True, passes=1)
    assert found.parameters == {"backbone": count}
    assert found.weights_bytes == 4 * count
    assert found.optimizer_bytes == 2 * 4 * count + 4 * 4  # AdamW: two moments, and a step for each tensor
    assert profile("narrow", passes=1).optimizer_bytes == 0


def test_twice_the_width_takes_twice_the_memory() -> None:
    peaks = {name: profile(name, size=1024, passes=1).peak.bytes for name in ("narrow", "wide")}
    if None in peaks.values():
        pytest.skip("this system does not tell the peak of a stretch of time")
    layer = 8 * 512 * 512 * 4
    assert layer <= peaks["narrow"] < peaks["wide"]
    assert 2 * layer <= peaks["wide"]


def test_times_are_shared_among_clips_and_frames() -> None:
    clock = Ticks([0.008, 0.016, 0.012])
    found = profile("narrow", batch=2, frames=4, passes=3, clock=clock)
    assert found.seconds == pytest.approx((0.008, 0.016, 0.012))
    spread = found.ms_per_clip
    assert (spread.low, spread.median, spread.high) == pytest.approx((5, 6, 7))
    assert found.ms_per_frame.median * 4 == pytest.approx(spread.median)
    assert found.clips_per_second == pytest.approx(2 / 0.012)
    assert found.frames_per_second == pytest.approx(8 / 0.012)


def test_a_stream_is_timed_frame_by_frame_beside_whole_clips() -> None:
    frames = [0.001, 0.002, 0.003, 0.004, 0.001, 0.002]
    found = profile("narrow", stream=True, frames=2, passes=3, clock=Ticks([*frames, 0.004, 0.006, 0.002]))
    assert found.seconds == pytest.approx((0.003, 0.007, 0.003))
    assert found.stream is not None
    assert found.stream.latencies == pytest.approx(frames)
    assert found.ratio_to_offline == pytest.approx(3 / 4)
    assert found.latency_ms == pytest.approx({"median": 2.0, "p95": 3.75})
    assert found.multiply_adds_per_frame == sum(by_hand(8, 32, 32))


def test_a_network_that_looks_ahead_cannot_be_streamed() -> None:
    profile("foreseeing", frames=2, passes=1)
    with pytest.raises(ModelError, match="later frames"):
        profile("foreseeing", stream=True, passes=1)


def test_no_weights_are_fetched() -> None:
    profile("narrow", passes=1)
    assert small_networks.BUILT == [False]


def test_a_run_is_seen_at_its_own_size(tmp_path: Path) -> None:
    save_backbone(
        create_backbone("test_resnet", size=48, stem="standard"), tmp_path, size=48, frames=3, stride=1.0
    )
    setting = profile(tmp_path, passes=1).setting
    assert (setting.model, setting.size, setting.frames, setting.sample) == (
        "test_resnet",
        (48, 48),
        3,
        "clip",
    )
    assert profile(tmp_path, frames=1, passes=1).setting.sample == "image"


def test_a_head_is_built_as_its_protocol_says(protocol: Any) -> None:
    found = profile("narrow", protocol=protocol("labels"), passes=1)
    assert found.parameters["head"] == (16 + 1) * 5 + (5 + 1) * 3
    assert found.setting.size == (48, 32)
    assert found.setting.batch == 1
    assert found.multiply_adds == sum(by_hand(8, 48, 32)) + 16 * 5 + 5 * 3
    more = profile("narrow", protocol=protocol("labels"), classes=7, passes=1)
    assert more.parameters["head"] == (16 + 1) * 5 + (5 + 1) * 7


def test_a_step_trains_what_the_protocol_trains(protocol: Any) -> None:
    first, second = by_hand(8, 48, 32)
    layers = 16 * 5 + 5 * 3
    given = {"protocol": protocol("labels"), "train": True, "passes": 1}
    whole = profile("narrow", **given)
    assert whole.setting.batch == 3
    assert whole.multiply_adds == 3 * (2 * first + 3 * second + 3 * layers)
    frozen = profile("narrow", settings=["mode=frozen"], **given)
    assert frozen.multiply_adds == 3 * (first + second + 3 * layers - 16 * 5)
    assert frozen.optimizer_bytes < whole.optimizer_bytes


def test_a_head_of_clips_sees_those_of_its_protocol(protocol: Any) -> None:
    found = profile("narrow", protocol=protocol("clip_labels", CLIP), batch=2, passes=1)
    assert ClipLabels.seen == (2, 6, 16)
    assert (found.setting.sample, found.setting.frames) == ("clip", 6)
    profile("narrow", protocol=protocol("clip_labels", CLIP), frames=3, train=True, passes=1)
    assert ClipLabels.seen == (3, 3, 16)


def test_the_number_format_asked_for_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslkit.runs.profile.choose_layout", choose_layout)
    assert profile("narrow", frames=2, precision="bf16", passes=1).setting.precision == "bf16"
    assert profile("narrow", precision="fp32", passes=1).setting.precision == "fp32"


def test_what_is_printed_for_programs_is_plain() -> None:
    described = json.loads(json.dumps(profile("narrow", batch=2, passes=2).to_dict()))
    assert set(described) == {
        *("model", "head", "protocol", "work", "sample", "batch", "frames", "size", "passes"),
        *("precision", "channels_last", "device", "threads", "ms_per_frame", "ms_per_clip"),
        *("frames_per_second", "clips_per_second", "multiply_adds_per_frame", "parameters"),
        *("memory", "energy", "latency_ms", "ratio_to_offline"),
    }
    assert set(described["ms_per_frame"]) == {"low", "median", "high"}
    assert set(described["memory"]) == {"peak_bytes", "method", "weights_bytes", "optimizer_bytes"}
    assert set(described["energy"]) == {"joules_per_frame", "method"}
    assert (described["work"], described["passes"], described["batch"]) == ("inference", 2, 2)


def test_what_is_printed_for_people_names_the_figures(protocol: Any) -> None:
    text = profile("narrow", batch=2, frames=4, passes=2, clock=Ticks([0.8, 0.8])).to_text()
    for part in (
        "narrow, inference",
        "2 clips of 4 frames, 32x32",
        "100 ms (100 to 100)",
        "400 ms (400 to 400)",
    ):
        assert part in text
    assert "10 frames/s, 2.5 clips/s" in text
    assert f"{sum(by_hand(8, 32, 32)) / 1000:.4g} k a frame" in text
    streamed = profile("narrow", stream=True, frames=2, passes=1, clock=Ticks([0.1, 0.1, 0.4])).to_text()
    assert "0.5 times the cost of a clip that comes whole" in streamed
    headed = profile("narrow", protocol=protocol("labels"), train=True, passes=1).to_text()
    assert "narrow with head labels (measured@" in headed
    assert "of the optimiser" in headed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "nothere"}, "unknown head 'nothere'"),
        ({"head": "knn"}, "is a probe"),
        ({"head": "labels"}, "no protocol of its own"),
        ({"protocol": "nothere"}, "unknown protocol"),
        ({"precision": "fp64"}, "auto, fp32, bf16"),
        ({"frames": 0}, "frames=0"),
        ({"batch": 0}, "batch=0"),
        ({"passes": 0}, "passes=0"),
        ({"stream": True, "train": True}, "leave out"),
        ({"stream": True, "head": "labels", "protocol": "{labels}"}, "leave out"),
        ({"classes": 3}, "--classes 3 is of a head"),
        ({"settings": ["training.steps=3"]}, "without a head"),
        ({"settings": ["backbone.nothere.kernel=3"]}, "nothere"),
        ({"protocol": "{labels}", "frames": 4}, "takes single images"),
        ({"protocol": "{labels}", "classes": 2}, "at least 3"),
        ({"protocol": "{clip_labels}"}, "training.clip"),
    ],
)
def test_what_does_not_go_together_is_refused(protocol: Any, options: dict[str, Any], message: str) -> None:
    named = options.get("protocol", "")
    if named.startswith("{"):
        options = {**options, "protocol": protocol(named.strip("{}"))}
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        profile("narrow", **{"passes": 1, **options})


def test_a_size_that_the_network_refuses_is_named() -> None:
    profile("picky", passes=1)
    with pytest.raises(
        ModelError, match=r"'picky' cannot take 2 samples of 64x48 .*only 32 .*another --size"
    ):
        profile("picky", size=(64, 48), batch=2, passes=1)


def test_a_network_of_one_size_is_made_ready_for_another() -> None:
    found = profile("test_vit", size=64, passes=1)
    assert found.setting.size == (64, 64)
    assert found.multiply_adds_per_frame < profile("test_vit", passes=1).multiply_adds_per_frame


def test_examples_follow_their_targets_to_the_canvas() -> None:
    vectors = torch.ones(2, 4, 6)
    batch = LabelledBatch(
        torch.arange(1),
        torch.arange(24, dtype=torch.uint8).view(1, 1, 1, 4, 6).repeat(1, 2, 1, 1, 1),
        (),
        (FlowField(vectors),),
    )
    example = Example(Task("flow", (), (4, 6), frames=2), batch, goal=0.0)
    large = example_batch(example, (8, 18), batch=3, frames=2, channels=5)
    assert large.pixels.shape == (3, 2, 5, 8, 18)
    assert large.pixels.dtype == torch.uint8
    assert torch.equal(large.pixels[0], large.pixels[2])
    for target in large.targets:  # three times as wide, twice as high
        assert torch.equal(target.vectors[0], torch.full((8, 18), 3.0))
        assert torch.equal(target.vectors[1], torch.full((8, 18), 2.0))
    assert [meta.valid for meta in large.metas] == [(8, 18)] * 3
    with pytest.raises(ConfigError, match="no classes"):
        example_task(example, (8, 18), 2, classes=3)
    assert example_task(example, (8, 18), 2, classes=None).size == (8, 18)
