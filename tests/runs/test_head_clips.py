"""Heads of clips and pairs in the loop: what is trained on, what is kept, what is judged and shown."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from sslkit.config.head_training import HeadTraining, read_training
from sslkit.contracts import Figures, FlowField, Frames, HeadSpec, Meta, Task
from sslkit.errors import DataError, InterruptedRunError
from sslkit.evaluation.protocols import Protocol
from sslkit.models.task_model import TaskModel, offered
from sslkit.runs.head_judging import judge, sampling_of
from sslkit.runs.head_parts import HeadParts
from sslkit.runs.head_training import CachedFeed, feed_of, train_head
from sslkit.runs.prediction_rows import PredictionRows, strip
from sslkit.testing.backbones import PooledBackbone
from tests.data.painted import Contents, shown_frames, video
from tests.testing.sound_clips import Clips

SIZE = (16, 20)
TRAINING: dict[str, Any] = {
    "size": list(SIZE), "steps": 6, "batch": 4, "optimizer": "adamw", "lr": 0.01, "weight_decay": 0,
    "layer_decay": 1.0, "warmup_steps": 0, "clip_gradient": None, "ema": 0.0,
    "augment": {"flip": 0, "scale": [1, 1], "elastic": None, "colour": 0}, "oversample": 0, "cache": False,
    "held_out": 0, "evaluate_every": 3,
    "clip": {"frames": 4, "stride": 2, "views": 2, "crops": 3, "short": "refuse"},
}  # fmt: skip


def videos(count: int = 10) -> Contents:
    return Contents(*(video(20 + id, height=16, width=20) for id in range(count)))


def parts(
    folder: Path, *, head: type = Clips, source: Any = None, mode: str = "frozen", **changed: Any
) -> HeadParts:
    """A training on a network that halves the number of frames of clips."""
    plan = read_training({**TRAINING, **changed}, "here")
    torch.manual_seed(0)
    backbone: Any = PooledBackbone((2, 4), (6, 8), (1, 2) if plan.clip else ())
    task = Task("label", ("a", "b", "c"), SIZE, frames=plan.clip.frames if plan.clip else 2)
    built = head(offered(backbone, head.spec), task)  # type: ignore[attr-defined]
    protocol = Protocol("here", 1, "clips", mode, {}, "nobody", {**TRAINING, **changed})
    model = TaskModel(backbone, built, mode=mode)
    return HeadParts(protocol, plan, Accelerator(cpu=True), model, source or videos(), None, 0, folder)


class Recorder:
    """A metric that remembers what it was given."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def update(self, ids: Sequence[int], predictions: Any, targets: Any) -> None:
        assert [target.label for target in targets] == [id % 3 for id in ids]
        self.ids += ids

    def merge(self, other: Any) -> None:
        self.ids += other.ids

    def compute(self) -> Figures:
        return Figures({"share": float(len(self.ids))})


class Seen(Clips):
    """Remembers the pixels it was trained and judged on."""

    def __init__(self, info: Any, task: Any) -> None:
        super().__init__(info, task)
        self.seen: list[tuple[list[int], torch.Tensor, torch.Size]] = []

    def forward(self, features: Any) -> Any:
        if features.pixels is not None:
            self.seen.append(([meta.id for meta in features.metas], features.pixels, features.vector.shape))
        return super().forward(features)

    def metrics(self) -> Any:
        return Recorder()


def starts(pixels: torch.Tensor) -> list[int]:
    """The first frame of each clip of normalised pixels."""
    return [shown_frames((clip * 0.5 + 0.5) * 255)[0] for clip in pixels]


def test_every_view_is_judged_under_the_id_of_its_video(tmp_path: Path) -> None:
    made = parts(tmp_path, head=Seen)
    views: list[tuple[int, int]] = []
    figures = judge(
        made.model,
        made.train,
        made.plan,
        made.accelerator,
        on_prediction=lambda meta, prediction, target: views.append((meta.id, meta.view)),
    )
    assert figures.figures == {"share": 60.0}
    assert views == [(id, view) for id in range(10) for view in range(6)]
    ids, pixels, shape = made.model.head.seen[3]  # type: ignore[union-attr, index]
    assert (ids, shape) == ([3] * 6, (6, 2, 8))
    assert starts(pixels) == [0] * 3 + [16] * 3  # of 23 frames


def test_training_draws_other_clips_each_time_and_learns(tmp_path: Path) -> None:
    made = parts(tmp_path, head=Seen, mode="finetune")
    train_head(made, progress=False)
    begun: dict[int, set[int]] = {}
    for ids, pixels, shape in made.model.head.seen:  # type: ignore[union-attr]
        assert shape == (4, 2, 8)
        for id, start in zip(ids, starts(pixels), strict=True):
            begun.setdefault(id, set()).add(start)
    assert max(map(len, begun.values())) > 1
    assert max(max(one) for one in begun.values()) > 8


def test_kept_features_are_those_of_the_middle_of_each_video(tmp_path: Path) -> None:
    made = parts(tmp_path, cache=True)
    with ExitStack() as stack:
        feed = feed_of(made, stack)
        assert isinstance(feed, CachedFeed)
        made.model.eval()
        middles = sampling_of(made.plan, views=1, crops=1)
        assert middles is not None
        for features, targets in feed.epoch(0, 0):
            assert features.vector.shape == (4, 2, 8)
            assert [target.label for target in targets] == [meta.id % 3 for meta in features.metas]
            for vector, meta in zip(features.vector, features.metas, strict=True):
                numbers = middles.numbers(video(20 + meta.id))[0]
                painter: Any = video(20 + meta.id, height=16, width=20).path
                clip = torch.from_numpy(painter(numbers / 10.0)).permute(0, 3, 1, 2)[None]
                whole = Meta(meta.id, "", SIZE, SIZE, SIZE)
                expected = made.model.features(clip, [whole]).vector
                assert expected is not None
                torch.testing.assert_close(vector, expected[0])
    trained = train_head(parts(tmp_path / "whole", cache=True), progress=False)
    assert not list((tmp_path / "whole").glob("features-*"))
    assert not trained.training


class Maps(Clips):
    """Asks for maps, so that their temporal strides travel through the cache."""

    spec = HeadSpec("clips", "clip", "pyramid", "label", "share", finest=1)
    strides: Any = None

    def __init__(self, info: Any, task: Any) -> None:
        super().__init__(info, task)
        assert info.temporal_strides == (1, 2)

    def forward(self, features: Any) -> Any:
        Maps.strides = [(one.stride, one.temporal_stride, one.values.shape[1]) for one in features.maps]
        frames = features.maps[-1].values.mean(dim=(3, 4))
        return self.layers(torch.cat([frames.mean(dim=1), frames[:, -1] - frames[:, 0]], dim=1))


def test_kept_maps_know_their_strides_in_space_and_time(tmp_path: Path) -> None:
    train_head(parts(tmp_path, head=Maps, cache=True, steps=1), progress=False)
    assert Maps.strides == [(2, 1, 4), (4, 2, 2)]


@pytest.mark.parametrize("cache", [False, True])
def test_a_stopped_training_of_clips_goes_on_to_the_same_weights(
    tmp_path: Path, cache: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights(made: HeadParts) -> dict[str, torch.Tensor]:
        return dict(train_head(made, progress=False).state_dict())

    whole = weights(parts(tmp_path / "whole", cache=cache))

    class Stop:
        signal = 2

        def __enter__(self) -> Stop:
            return self

        def __exit__(self, *error: object) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr("sslkit.runs.head_training.Interruption", Stop)
        for step in (1, 2):
            with pytest.raises(InterruptedRunError, match=f"stopped at step {step} of 6"):
                train_head(parts(tmp_path / "parts", cache=cache), progress=False)
    again = weights(parts(tmp_path / "parts", cache=cache))
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    other = weights(parts(tmp_path / "other", cache=cache, steps=5))
    assert not all(torch.equal(whole[name], other[name]) for name in whole)


class Untrained(nn.Module):
    """Nothing of it trains: pairs that are equal are of class 0."""

    spec = HeadSpec("clips", "pair", "vector", "label", "share")

    def __init__(self, info: Any, task: Any) -> None:
        super().__init__()

    def forward(self, features: Any) -> Any:
        return (features.vector[:, 1] - features.vector[:, 0]).abs().sum(dim=1)

    def decode(self, raw: Any, metas: Any) -> Any:
        return raw.tolist()

    def metrics(self) -> Any:
        return Recorder()


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_a_head_without_parameters_is_judged_as_it_is(tmp_path: Path, mode: str) -> None:
    image = np.full((16, 20, 3), 90, np.uint8)
    pairs = Contents(*[Frames((image, image))] * 6)
    made = parts(tmp_path, head=Untrained, source=pairs, mode=mode, steps=0, clip=None, ema=0.9)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    model = train_head(made, progress=False)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    found: list[float] = []
    judge(model, pairs, made.plan, made.accelerator, on_prediction=lambda m, p, t: found.append(p))
    assert found == [0.0] * 6
    with pytest.raises(DataError, match=r"10 of 10 samples to be judged.*a video where a head of pairs"):
        judge(model, videos(), made.plan, made.accelerator)


def test_flow_is_judged_at_the_size_of_the_originals(tmp_path: Path) -> None:
    seen: list[tuple[torch.Size, torch.Size]] = []

    class Still(Untrained):
        spec = HeadSpec("still", "pair", "map", "flow", "error")

        def forward(self, features: Any) -> Any:
            assert features.maps[0].values.shape[:2] == (3, 2)
            return torch.zeros(len(features.metas), 2, *features.canvas)

        def decode(self, raw: Any, metas: Any) -> Any:
            return [FlowField(meta.map_to_original(one)) for one, meta in zip(raw, metas, strict=True)]

        def metrics(self) -> Any:
            class Shapes(Recorder):
                def update(self, ids: Any, predictions: Any, targets: Any) -> None:
                    for one, other in zip(predictions, targets, strict=True):
                        seen.append((one.vectors.shape, other.vectors.shape))

            return Shapes()

    image = np.zeros((32, 50, 3), np.uint8)
    pairs = Contents(*[Frames((image, image))] * 3, targets=[FlowField(torch.ones(2, 32, 50))] * 3)
    made = parts(tmp_path, head=Still, source=pairs, steps=0, clip=None)
    judge(made.model, pairs, made.plan, made.accelerator)
    assert seen == [((2, 32, 50), (2, 32, 50))] * 3


def plan(**changed: Any) -> HeadTraining:
    return read_training({**TRAINING, **changed}, "here")


def rows_of(source: Any, head: Any, metas: Sequence[Meta], clip: Any) -> list[Any]:
    rows = PredictionRows(source, head, clip)
    for meta in metas:
        rows.add(meta, "said", "true")
    return rows.rows


class Drawing:
    """A head as far as it draws: the words are the shape of what it was given."""

    def draw(self, image: np.ndarray, shown: str) -> np.ndarray:
        return np.full((image.shape[0], image.shape[1], 3), {"said": 5, "true": 7}[shown], np.uint8)


class DrawingFrames(Drawing):
    def draw_frames(self, frames: np.ndarray, shown: str) -> np.ndarray:
        return frames[:, :, :, :].max(axis=0) + {"said": np.uint8(1), "true": np.uint8(2)}[shown]


def test_a_head_that_draws_frames_is_given_those_it_saw() -> None:
    source = Contents(video(23, height=40, width=60))
    metas = [Meta(0, "walk", (40, 60), (13, 20), SIZE, view) for view in range(6)]
    ((image, truth, said, caption),) = rows_of(source, DrawingFrames(), metas, sampling_of(plan()))
    assert caption == "walk"
    assert truth.shape == said.shape == (40, 60, 3)
    assert np.unique(said).tolist() == [5 * 6 + 1]  # frames 0, 2, 4 and 6 of the first view
    assert np.unique(truth).tolist() == [5 * 6 + 2]
    assert image.shape == (40, 240, 3)
    assert [int(image[0, 60 * place, 0]) for place in range(4)] == [0, 10, 20, 30]
    ((image, *_),) = rows_of(source, Drawing(), metas, sampling_of(plan()))
    assert image.shape == (40, 60, 3)


def test_a_pair_is_shown_whole_and_without_draw_frames_by_its_first_image() -> None:
    first, second = np.full((8, 9, 3), 20, np.uint8), np.full((8, 9, 3), 60, np.uint8)
    source = Contents(Frames((first, second)))
    meta = Meta(0, "pair", (8, 9), (8, 9), SIZE)
    ((image, _, said, _),) = rows_of(source, DrawingFrames(), [meta], None)
    assert np.array_equal(image, np.concatenate([first, second], axis=1))
    assert np.array_equal(said, second + 1)
    ((image, *_),) = rows_of(source, Drawing(), [meta], None)
    assert np.array_equal(image, first)


def test_a_strip_is_short_and_reaches_from_first_to_last() -> None:
    frames = np.arange(16, dtype=np.uint8).reshape(16, 1, 1, 1).repeat(3, axis=3)
    assert strip(frames)[0, :, 0].tolist() == [0, 5, 10, 15]
    assert strip(frames[:2])[0, :, 0].tolist() == [0, 1]
