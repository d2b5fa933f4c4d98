"""What shapes the features of a frozen network is named, every fact of it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sslkit.contracts import Frames, Refused
from sslkit.data.sources.folder import ImageFolderSource
from sslkit.data.subset import Subset
from sslkit.models.architecture import Transform
from sslkit.models.backbone import Backbone
from sslkit.models.creation import create_backbone
from sslkit.models.memory_layout import lay_out
from sslkit.runs import feature_facts
from sslkit.runs.feature_facts import contents_stamp, machine_facts, network_facts, source_facts
from sslkit.training.feature_store import key_of
from tests.data.painted import Contents, folder_of_frames, video


def small() -> Backbone:
    torch.manual_seed(0)
    return create_backbone("test_resnet", size=32, stem="standard")


def _weight(backbone: Backbone) -> None:
    next(backbone.parameters()).data.view(-1)[0] += 1e-6


def _buffer(backbone: Backbone) -> None:
    next(module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)).running_mean += 1e-6


def _stride(backbone: Backbone) -> None:
    next(module for module in backbone.modules() if isinstance(module, nn.Conv2d)).stride = (1, 1)


def _activation(backbone: Backbone) -> None:
    backbone.network.act1 = nn.GELU()


def _options(backbone: Backbone) -> None:
    backbone.architecture = dataclasses.replace(backbone.architecture, options={"global_pool": "max"})


def _transforms(backbone: Backbone) -> None:
    changes = (Transform("causal", {"frames": 3}, lambda network: network),)
    backbone.architecture = dataclasses.replace(backbone.architecture, transforms=changes)


def _normalisation(name: str) -> Callable[[Backbone], None]:
    def change(backbone: Backbone) -> None:
        backbone.network.pretrained_cfg[name] = (0.1, 0.2, 0.3)

    return change


CHANGES: dict[str, Callable[[Backbone], Any]] = {
    "a weight": _weight,
    "a buffer": _buffer,
    "a stride": _stride,
    "an activation": _activation,
    "options": _options,
    "transforms": _transforms,
    "mean": _normalisation("mean"),
    "std": _normalisation("std"),
    "memory layout": lambda backbone: lay_out(backbone, channels_last=True),
    "number format": lambda backbone: backbone.to(torch.float64),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_network_is_another_key(name: str) -> None:
    changed = small()
    changed.network.pretrained_cfg = dict(changed.network.pretrained_cfg)  # timm's own is for all
    assert key_of(network_facts(changed)) == key_of(network_facts(small()))
    CHANGES[name](changed)
    assert key_of(network_facts(changed)) != key_of(network_facts(small()))


def test_a_mode_or_what_trains_is_no_fact() -> None:
    changed = small().train().requires_grad_(False)
    assert network_facts(changed) == network_facts(small())


@pytest.mark.parametrize("name", ["torch", "timm", "av"])
def test_another_library_is_another_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine_facts(torch.device("cpu"))
    assert before["libraries"][name]
    own = feature_facts.version
    monkeypatch.setattr(feature_facts, "version", lambda one: "0" if one == name else own(one))
    assert machine_facts(torch.device("cpu")) != before


@pytest.mark.parametrize("name", ["DECODER", "__version__"])
def test_another_decoder_or_sslkit_is_another_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine_facts(torch.device("cpu"))
    monkeypatch.setattr(feature_facts, name, "0")
    assert machine_facts(torch.device("cpu")) != before


def test_another_device_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine_facts(torch.device("cpu"))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "ELSE")
    assert machine_facts(torch.device("cpu")) != before


def pictures(folder: Path, level: int = 3) -> Path:
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(folder / name)
    return folder


def test_replaced_files_are_told_though_their_names_are_the_same(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "one")
    before = ImageFolderSource(folder)
    facts = source_facts(before)
    assert source_facts(ImageFolderSource(folder)) == facts
    Image.fromarray(np.full((8, 8, 3), 4, np.uint8)).save(folder / "b" / "0.png")
    assert ImageFolderSource(folder).fingerprint == before.fingerprint
    assert source_facts(ImageFolderSource(folder)) != facts
    elsewhere = ImageFolderSource(pictures(tmp_path / "two", level=200))
    assert elsewhere.fingerprint == before.fingerprint
    assert source_facts(elsewhere) != facts


def test_a_part_of_a_source_or_other_labels_are_other_facts(tmp_path: Path) -> None:
    source = ImageFolderSource(pictures(tmp_path))
    parts = [Subset(source, np.array(ids)) for ids in ([0, 1], [1, 0], [0, 2])]
    relabelled = ImageFolderSource(tmp_path)
    assert relabelled.labels is not None
    relabelled.labels = 1 - relabelled.labels
    keys = {key_of(source_facts(one)) for one in (source, relabelled, *parts)}
    assert len(keys) == 5


def grey(level: int) -> np.ndarray:
    return np.full((4, 4, 3), level, np.uint8)


def test_every_kind_of_content_is_told_by_what_it_is(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    folder_of_frames(frames, 3)
    moment = dataclasses.replace(video(3), path=frames)
    picture = pictures(tmp_path / "pictures") / "a" / "0.png"
    contents: list[Any] = [
        grey(1), grey(2), b"one", b"two", Refused("cut"), Refused("locked"), picture,
        Frames((grey(1), grey(2))), Frames((grey(2), grey(1))), Frames((picture, picture)),
        video(3), video(4), video(3, ramp=True), moment, dataclasses.replace(moment, start=0.1),
    ]  # fmt: skip
    stamps = [contents_stamp(Contents(one)) for one in contents]
    assert len(set(stamps)) == len(contents)
    assert stamps == [contents_stamp(Contents(one)) for one in contents]
    Image.fromarray(grey(250)).save(frames / "1.png")
    os.utime(picture, (5, 5))
    again = [contents_stamp(Contents(one)) for one in contents]
    assert [place for place in range(len(contents)) if again[place] != stamps[place]] == [6, 9, 13, 14]


def test_all_files_are_looked_at_and_few_of_what_a_program_draws(tmp_path: Path) -> None:
    class Counted(Contents):
        looked = 0

        def __getitem__(self, id: int) -> Any:
            self.looked += 1
            return super().__getitem__(id)

    drawn = Counted(*[grey(id % 250) for id in range(500)])
    first = contents_stamp(drawn)
    assert drawn.looked == feature_facts.PROBED
    assert contents_stamp(drawn) == first
    assert drawn.looked == feature_facts.PROBED
    picture = pictures(tmp_path) / "a" / "0.png"
    files = Counted(*[picture] * 500)
    contents_stamp(files)
    assert files.looked == 500 + feature_facts.PROBED


def test_many_items_are_read_together_where_a_source_can() -> None:
    class Blocks(Contents):
        def items(self, ids: Any) -> Any:
            return [self[int(id)] for id in ids]

    contents = [grey(id) for id in range(20)]
    assert contents_stamp(Blocks(*contents)) == contents_stamp(Contents(*contents))


def test_facts_are_in_json_terms() -> None:
    backbone = small()
    options = {"img_size": (32, 32), "act_layer": nn.GELU, "more": {"a": [1, None]}}
    backbone.architecture = dataclasses.replace(backbone.architecture, options=options)
    facts = network_facts(backbone) | machine_facts(torch.device("cpu"))
    assert json.loads(json.dumps(facts)) == facts
