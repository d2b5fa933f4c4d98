"""Features from a store: to the bit what is computed without, once for all seeds; nothing else is touched."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from torch import nn

from sslkit.config.head_training import read_training
from sslkit.contracts import HeadSpec, Refused, Task
from sslkit.data.clips import Clips
from sslkit.data.label_targets import offers
from sslkit.data.labelled import LabelledLoader
from sslkit.data.sources.folder import ImageFolderSource
from sslkit.data.sources.shapes import ShapesSource
from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.features import joined
from sslkit.evaluation.protocols import Protocol
from sslkit.models.creation import create_backbone
from sslkit.models.memory_layout import lay_out
from sslkit.models.modes import evaluating
from sslkit.models.task_model import TaskModel, offered
from sslkit.models.weights import save_backbone
from sslkit.runs import embedder as embedder_module
from sslkit.runs import head_training
from sslkit.runs.embedder import open_embedder
from sslkit.runs.head_judging import judge, sampling_of
from sslkit.runs.head_parts import HeadParts
from sslkit.runs.head_training import CachedFeed, Feed, train_head
from sslkit.runs.stored_features import embedded
from sslkit.training.feature_store import FeatureStore, key_of
from tests.runs import test_head_clips
from tests.runs.test_head_clips import Seen, videos
from tests.runs.tiny_head import TinyHead

TRAINING: dict[str, Any] = {
    "size": [32, 32], "steps": 7, "batch": 8, "optimizer": "adamw", "lr": 0.01, "weight_decay": 0.0,
    "layer_decay": 1.0, "warmup_steps": 0, "clip_gradient": None, "ema": 0.0,
    "augment": {"flip": 0, "scale": [1, 1], "elastic": None, "colour": 0}, "oversample": 0, "cache": True,
    "held_out": 0.2, "evaluate_every": 3,
}  # fmt: skip


def shapes(count: int = 21, seed: int = 0) -> Any:
    return offers(ShapesSource(count=count, size=32, seed=seed), "label")


class Fine(TinyHead):
    """Convolves all maps, whose layout in memory then shapes the last bits."""

    spec = HeadSpec("fine", "image", "pyramid", "label", "accuracy", finest=8)

    def __init__(self, info: Any, task: Task) -> None:
        super().__init__(info, task)
        self.convolve = nn.Conv2d(info.channels[-1], info.channels[-1], 3, padding=1)

    def forward(self, features: Any) -> torch.Tensor:
        last = dataclasses.replace(features.maps[-1], values=self.convolve(features.maps[-1].values))
        return super().forward(dataclasses.replace(features, maps=(*features.maps[:-1], last)))


class Vector(TinyHead):
    spec = HeadSpec("vector", "image", "vector", "label", "accuracy")

    def __init__(self, info: Any, task: Task) -> None:
        super().__init__(dataclasses.replace(info, channels=(info.embedding_dim,)), task)

    def forward(self, features: Any) -> torch.Tensor:
        return self.classify(torch.relu(self.hidden(self.norm(features.vector.float()))))


def parts(
    folder: Path,
    store: FeatureStore | None = None,
    *,
    head: type[nn.Module] = Fine,
    precision: str = "no",
    mode: str = "frozen",
    channels_last: bool = True,
    seed: int = 0,
    weights: int = 0,
    train: Any = None,
    held_out: Any = None,
    **changed: Any,
) -> HeadParts:
    plan = read_training({**TRAINING, **changed}, "here")
    torch.manual_seed(weights)
    backbone = create_backbone("test_resnet", size=32, stem="standard").eval()
    train = train if train is not None else shapes()
    torch.manual_seed(seed)
    task = Task("label", tuple(train.classes), (32, 32))
    model = TaskModel(backbone, head(offered(backbone, head.spec), task), mode=mode)  # type: ignore[arg-type]
    lay_out(model, channels_last=channels_last)
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    protocol = Protocol("here", 1, "tiny", mode, {}, "nobody", {**TRAINING, **changed})
    held = held_out if held_out is not None else shapes(10, seed=1)
    return HeadParts(protocol, plan, accelerator, model, train, held, seed, folder, store=store)


class Plain(Feed):
    """Features of a frozen backbone held in memory sample by sample, as plainly as that can be written."""

    def __init__(self, parts: HeadParts, stack: ExitStack) -> None:
        super().__init__(parts)
        self.kept: dict[int, Any] = {}
        loader = LabelledLoader(
            parts.train, size=parts.plan.size, batch_size=parts.plan.batch, shuffle=False, drop_last=False
        )
        parts.model.eval()
        for batch in loader.epoch(0):
            with torch.no_grad(), parts.accelerator.autocast():
                features = parts.model.features(batch.pixels, batch.metas)
            for row, id in enumerate(batch.ids.tolist()):
                maps = [one.values[row].clone(memory_format=torch.contiguous_format) for one in features.maps]
                self.kept[id] = maps, features, row, batch.targets[row]

    def epoch(self, number: int, start: int) -> Iterator[tuple[Any, Any]]:
        for ids in self._loader.shares(number, start):
            found = [self.kept[id] for id in ids]
            like = found[0][1]
            maps = tuple(
                dataclasses.replace(one, values=torch.stack([maps[place] for maps, *_ in found]))
                for place, one in enumerate(like.maps)
            )
            vector = (
                None if like.vector is None else torch.stack([one.vector[row] for _, one, row, _ in found])
            )
            metas = tuple(one.metas[row] for _, one, row, _ in found)
            given = dataclasses.replace(like, maps=maps, vector=vector, metas=metas, pixels=None)
            yield given, tuple(target for *_, target in found)


def trained(made: HeadParts) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """The weights and the diary of a training whose every step is told."""
    model = train_head(made, progress=False)
    lines = [json.loads(line) for line in (made.folder / "metrics.jsonl").read_text().splitlines()]
    told = [{k: v for k, v in line.items() if k not in ("time", "seconds")} for line in lines]
    return dict(model.state_dict()), told


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_training, "LOG_EVERY", 1)


@pytest.mark.parametrize(
    ("head", "precision"), [(Fine, "no"), (Fine, "bf16"), (Vector, "no")], ids=["fp32", "bf16", "vector"]
)
def test_training_from_a_store_gives_the_same_losses_to_the_bit(
    tmp_path: Path, head: type[nn.Module], precision: str, told: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(tmp_path / "store")
    given = {"head": head, "precision": precision, "held_out": shapes(10, seed=1)}
    with monkeypatch.context() as patch:
        patch.setattr(head_training, "CachedFeed", Plain)
        weights, diary = trained(parts(tmp_path / "plain", **given))
    assert len(diary) >= 7
    for name, made in {
        "own": parts(tmp_path / "own", **given),
        "written": parts(tmp_path / "written", store, **given),
        "read": parts(tmp_path / "read", FeatureStore(tmp_path / "store"), **given),
    }.items():
        other, lines = trained(made)
        assert lines == diary, name
        assert all(torch.equal(other[key], weights[key]) for key in weights), name
    assert not list(tmp_path.glob("*/features-*"))


def test_two_seeds_and_two_heads_of_one_need_compute_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0
    own = TaskModel.features

    def counted(self: TaskModel, pixels: Any, metas: Any) -> Any:
        nonlocal seen
        seen += len(metas)
        return own(self, pixels, metas)

    class Same(Fine):
        pass

    monkeypatch.setattr(TaskModel, "features", counted)
    test = shapes(13, seed=2)
    for seed, head in ((0, Fine), (1, Fine), (0, Same)):
        store = FeatureStore(tmp_path / "store")  # as in another process
        made = parts(tmp_path / f"{seed}{head.__name__}", store, head=head, seed=seed)
        model = train_head(made, progress=False)
        judge(model, test, made.plan, made.accelerator, stored=made.stored)
    assert seen == 21 + 10 + 13
    made = parts(tmp_path / "none")
    judge(train_head(made, progress=False), test, made.plan, made.accelerator, stored=made.stored)
    assert seen == 2 * 44 + 2 * 10  # without: three looks at what was held out


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_what_is_said_of_stored_features_is_what_is_said_of_pixels(
    tmp_path: Path, precision: str, channels_last: bool
) -> None:
    said: list[list[Any]] = []
    test = shapes(21, seed=3)  # of which the last batch is a small one
    for store in (None, FeatureStore(tmp_path / "store"), FeatureStore(tmp_path / "store")):
        made = parts(tmp_path / "one", store, precision=precision, channels_last=channels_last)
        assert (made.stored is None) == (store is None)
        rows: list[Any] = []
        figures = judge(
            made.model,
            test,
            made.plan,
            made.accelerator,
            on_prediction=lambda meta, prediction, target, rows=rows: rows.append(
                (meta, prediction.scores.tolist(), target.label)
            ),
            stored=made.stored,
        )
        said.append([*rows, figures.figures["accuracy"]])
    assert said[0] == said[1] == said[2]
    assert len(said[0]) == 22


def test_maps_lie_in_memory_as_without_a_store(tmp_path: Path) -> None:
    class Watched(Fine):
        seen: list[Any] = []  # noqa: RUF012

        def forward(self, features: Any) -> torch.Tensor:
            self.seen.append([one.values.stride() for one in features.maps])
            return super().forward(features)

    told = []
    for store in (None, FeatureStore(tmp_path / "store"), FeatureStore(tmp_path / "store")):
        made = parts(
            tmp_path / f"run{len(told)}", store, head=Watched, size=[64, 64], held_out=shapes(8, seed=1)
        )
        Watched.seen.clear()
        train_head(made, progress=False)
        told.append(list(Watched.seen))
    assert told[0] == told[1] == told[2]
    strides = {tuple(one[0]) for one in told[0]}
    assert len(strides) == 2  # contiguous in training, channels last where the backbone gave them so


def test_views_of_clips_are_stored_for_judging_and_their_middle_for_training(tmp_path: Path) -> None:
    class Kept(Seen):
        spec = HeadSpec("clips", "clip", "vector", "label", "share")

    said: list[list[Any]] = []
    for store in (None, FeatureStore(tmp_path / "s"), FeatureStore(tmp_path / "s")):
        made = test_head_clips.parts(tmp_path / f"run{len(said)}", head=Kept, cache=True)
        made.store = store
        model = train_head(made, progress=False)
        rows: list[Any] = []
        judge(
            model,
            videos(),
            made.plan,
            made.accelerator,
            on_prediction=lambda meta, said, target, rows=rows: rows.append((meta, said.scores.tolist())),
            stored=made.stored,
        )
        said.append(rows)
    assert said[0] == said[1] == said[2]
    assert [(meta.id, meta.view) for meta, _ in said[2]] == [
        (id, view) for id in range(10) for view in range(6)
    ]
    assert len([one for one in (tmp_path / "s").iterdir() if one.is_dir()]) == 2


def test_features_are_stored_only_where_the_protocol_keeps_them_and_the_backbone_stands_still(
    tmp_path: Path,
) -> None:
    store = FeatureStore(tmp_path / "store")
    assert parts(tmp_path, store, cache=False).stored is None
    assert parts(tmp_path, store, mode="partial:1").stored is None
    assert parts(tmp_path).stored is None
    assert parts(tmp_path, store).stored is not None


CHANGED: dict[str, dict[str, Any]] = {
    "size": {"size": [32, 40]},
    "batch": {"batch": 4},
    "precision": {"precision": "bf16"},
    "layout": {"channels_last": False},
    "weights": {"weights": 1},
    "maps": {"head": TinyHead},
    "vector": {"head": Vector},
    "data": {"train": shapes(21, seed=5)},
}
ALIKE: dict[str, dict[str, Any]] = {
    "seed": {"seed": 1},
    "steps": {"steps": 3},
    "rate": {"lr": 0.5},
    "head": {"head": type("Other", (Fine,), {})},
}


@pytest.mark.parametrize("name", [*CHANGED, *ALIKE])
def test_all_that_shapes_features_is_in_their_key_and_nothing_else(tmp_path: Path, name: str) -> None:
    def key(**changed: Any) -> str:
        made = parts(tmp_path, FeatureStore(tmp_path / "store"), **changed)
        assert made.stored is not None
        return key_of(made.stored.facts(made.train, None))

    assert key() == key()
    assert (key(**{**CHANGED, **ALIKE}[name]) == key()) == (name in ALIKE)


def test_the_way_videos_are_looked_at_is_in_the_key(tmp_path: Path) -> None:
    made = test_head_clips.parts(tmp_path, cache=True)
    made.store = FeatureStore(tmp_path / "store")
    assert made.stored is not None
    changes: list[dict[str, Any]] = [
        {}, {"frames": 3}, {"stride": 1.5}, {"views": 1}, {"crops": 1}, {"short": "repeat"}
    ]  # fmt: skip
    clips = [sampling_of(made.plan, **changed) for changed in changes]
    assert len({key_of(made.stored.facts(made.train, clip)) for clip in clips}) == 6


def test_a_store_without_room_trains_and_judges_all_the_same(tmp_path: Path, told: None) -> None:
    said: list[str] = []
    weights, diary = trained(parts(tmp_path / "own"))
    made = parts(tmp_path / "full", FeatureStore(tmp_path / "store", limit=10, say=said.append))
    other, lines = trained(made)
    assert lines == diary
    assert all(torch.equal(other[name], weights[name]) for name in weights)
    assert (
        judge(made.model, made.train, made.plan, made.accelerator, stored=made.stored).figures["judged"] == 21
    )
    assert all("computed and not kept" in line for line in said)
    assert not list((tmp_path / "full").glob("features-*"))


def test_without_any_room_the_place_and_the_way_out_are_named(tmp_path: Path) -> None:
    made = parts(tmp_path)
    (tmp_path / "features-0").write_text("a file in the place of a folder")
    with pytest.raises(ConfigError, match=r"features of 21 samples cannot be kept.*training.cache=false"):
        train_head(made, progress=False)


def partly(*refused: int) -> Any:
    source = test_head_clips.Contents(*[np.full((32, 32, 3), 9 * id, np.uint8) for id in range(21)])
    for id in refused:
        source.contents[id] = Refused(f"cut at {id}")
    return source


def test_samples_that_cannot_be_decoded_are_left_out_of_training_and_refused_in_a_test(
    tmp_path: Path,
) -> None:
    messages = []
    for store in (None, FeatureStore(tmp_path / "store"), FeatureStore(tmp_path / "store")):
        made = parts(tmp_path / f"run{len(messages)}", store, train=partly(3, 5), held_out=partly())
        with ExitStack() as stack:
            feed = CachedFeed(made, stack)
            assert [one.reason for one in feed.skipped.values()] == ["cut at 3", "cut at 5"]
            ids = [meta.id for features, _ in feed.epoch(0, 0) for meta in features.metas]
        assert not {3, 5} & set(ids)
        with pytest.raises(DataError, match=r"2 of 21 samples to be judged.*cut at 3") as error:
            judge(made.model, partly(3, 5), made.plan, made.accelerator, stored=made.stored)
        messages.append(str(error.value))
    assert messages == messages[:1] * 3
    made = parts(tmp_path / "none", train=partly(*range(21)), held_out=partly())
    with pytest.raises(DataError, match="none of the 8 samples of a batch can be decoded: cut at"):
        train_head(made, progress=False)


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


@pytest.mark.parametrize("stored", [False, True])
def test_judging_leaves_every_module_in_its_mode_whatever_happens(tmp_path: Path, stored: bool) -> None:
    made = parts(tmp_path / "run", FeatureStore(tmp_path / "store") if stored else None)
    made.model.train()
    made.model.head.norm.eval()  # type: ignore[union-attr, operator]
    next(module for module in made.model.backbone.modules() if isinstance(module, nn.BatchNorm2d)).train()
    before = modes(made.model)
    assert len(set(before.values())) == 2
    judge(made.model, made.train, made.plan, made.accelerator, stored=made.stored)
    assert modes(made.model) == before
    with pytest.raises(RuntimeError, match="stop"):
        judge(made.model, made.train, made.plan, made.accelerator, on_prediction=_stop, stored=made.stored)
    assert modes(made.model) == before
    with evaluating(made.model):
        assert not any(modes(made.model).values())
    assert modes(made.model) == before


def _stop(*given: Any, **options: Any) -> None:
    raise RuntimeError("stop")


def test_seconds_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("sslkit.runs.head_parts.time.perf_counter", lambda: now[0])

    def slow(function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        def slowed(*given: Any, **options: Any) -> Any:
            now[0] += seconds
            return function(*given, **options)

        return slowed

    monkeypatch.setattr(TaskModel, "features", slow(TaskModel.features, 100))
    monkeypatch.setattr(TaskModel, "decode", slow(TaskModel.decode, 10))
    monkeypatch.setattr(head_training, "take_step", slow(head_training.take_step, 1))
    made = parts(tmp_path / "run", FeatureStore(tmp_path / "store"))
    train_head(made, progress=False)  # 21 samples in batches of 8, 10 held out, looked at 3 times
    assert made.seconds == {"features": 500, "training": 7, "judging": 60}
    again = parts(tmp_path / "again", FeatureStore(tmp_path / "store"))
    train_head(again, progress=False)
    assert again.seconds == {"features": 0, "training": 7, "judging": 60}
    with pytest.raises(RuntimeError, match="stop"), again.timed("judging"):
        slow(_stop, 5)()
    now[0] += 1000  # nobody's
    assert again.seconds == {"features": 0, "training": 7, "judging": 65}


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    torch.manual_seed(7)
    save_backbone(create_backbone("test_resnet", size=32, stem="standard"), folder, size=32)
    (folder / "metrics.jsonl").write_text("{}\n")
    return folder


def listing(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder",
            path.stat().st_mtime_ns,
        )
        for path in [folder, *folder.rglob("*")]
    }


def test_embeddings_are_computed_once_and_the_run_and_the_model_stay_as_they_were(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = listing(run_folder)
    source = shapes(150)
    expected = open_embedder(run_folder).features(source, progress=False)
    first = open_embedder(run_folder)
    first.backbone.train()
    next(module for module in first.backbone.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    mixed = modes(first.backbone)
    made = embedded(first, source, FeatureStore(tmp_path / "store"), progress=False)
    assert modes(first.backbone) == mixed
    with monkeypatch.context() as patch:
        patch.setattr(embedder_module.Embedder, "stream", _stop)
        read = embedded(open_embedder(run_folder), source, FeatureStore(tmp_path / "store"), progress=False)
        with pytest.raises(RuntimeError, match="stop"):
            embedded(open_embedder(run_folder), source, None)
    for one in (made, read):
        assert torch.equal(one.embeddings, expected.embeddings)
        assert torch.equal(one.ids, expected.ids)
        assert torch.equal(one.labels, expected.labels)
    store = FeatureStore(tmp_path / "store")
    train_head(parts(tmp_path / "head", store), progress=False)
    assert listing(run_folder) == before


@pytest.mark.parametrize("name", ["size", "weights", "data", "crop", "clips", "batch"])
def test_all_that_shapes_embeddings_is_in_their_key(
    run_folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Any = shapes(12)
    source.video = True  # so that clips count
    embedder = open_embedder(run_folder)
    computed: list[int] = []
    stand_in = joined([embedder.features(shapes(12), progress=False)])

    def stream(self: Any, source: Any, *, batch_size: int, progress: bool) -> Any:
        computed.append(batch_size)
        return [stand_in]

    monkeypatch.setattr(embedder_module.Embedder, "stream", stream)
    store = FeatureStore(tmp_path / "store")
    for _ in range(2):
        embedded(embedder, source, store, progress=False)
    assert len(computed) == 1
    if name == "size":
        embedder = dataclasses.replace(embedder, size=40)
    elif name == "weights":
        next(embedder.backbone.parameters()).data.mul_(1.5)
    elif name == "data":
        source = shapes(12, seed=4)
    elif name == "crop":
        monkeypatch.setattr(embedder_module, "CROP", 1.0)
    elif name == "clips":
        embedder = dataclasses.replace(embedder, clips=Clips(frames=4))
    else:
        monkeypatch.setattr("sslkit.runs.stored_features.ROWS", 5)
    embedded(embedder, source, store, progress=False)
    assert len(computed) == 2


def test_what_was_left_out_is_said_again_when_it_is_read(run_folder: Path, tmp_path: Path) -> None:
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), 7, np.uint8)).save(tmp_path / "data" / name)
    (tmp_path / "data/b/1.png").write_bytes(b"no picture")
    source, said = ImageFolderSource(tmp_path / "data"), list[str]()
    for _ in range(3):
        store = FeatureStore(tmp_path / "store", say=said.append)
        found = embedded(open_embedder(run_folder), source, store)
        assert [one.name for one in found.skipped] == ["b/1.png"]
    assert len(said) == 2
    assert all("1 of 4 images could not be decoded" in line and "b/1.png" in line for line in said)
