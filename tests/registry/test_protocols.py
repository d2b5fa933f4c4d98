"""Protocols: what they hold, what their hash covers, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sslkit.errors import ConfigError, UnknownNameError
from sslkit.registry import names
from sslkit.registry.protocols import changed, load_protocol

PROBES = [
    "few-shot",
    "identification-1",
    "knn-20",
    "knn-200",
    "label-efficiency",
    "linear-lbfgs",
    "long-tail",
    "multi-label-lbfgs",
    "retrieval-cosine",
    "verification-cosine",
]
VALID = "{id: mine, version: 1, head: knn, mode: frozen, options: {k: 3, temperature: 0.1}, source: me}"


def test_the_known_protocols_are_packed() -> None:
    assert set(names("protocol")) >= set(PROBES)


@pytest.mark.parametrize("name", PROBES)
def test_a_packed_protocol_is_named_like_its_file_frozen_and_sourced(name: str) -> None:
    protocol = load_protocol(name)
    assert (protocol.id, protocol.mode) == (name, "frozen")
    assert "20" in protocol.source  # a year
    with pytest.raises(TypeError):
        protocol.options["k"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("knn-20", "c93ee87b79cb"),
        ("knn-200", "34191be4357a"),
        ("linear-lbfgs", "f443fe21cc46"),
        ("few-shot", "357a30d5bc82"),
        ("label-efficiency", "8370e2332436"),
        ("long-tail", "304c5ff1eb54"),
        ("multi-label-lbfgs", "514748432c36"),
        ("identification-1", "f0e3d0dd0184"),
        ("retrieval-cosine", "94950b1eaaa9"),
        ("verification-cosine", "d7f08c9e51d5"),
    ],
)
def test_a_packed_protocol_never_changes_under_its_name(name: str, printed: str) -> None:
    assert str(load_protocol(name)) == f"{name}@{printed}"


def test_the_hash_covers_what_shapes_the_number_and_not_the_citation() -> None:
    protocol = load_protocol("knn-20")
    changes: dict[str, Any] = {
        "id": "x",
        "version": 2,
        "head": "linear",
        "mode": "finetune",
        "options": {"k": 21, "temperature": 0.07},
    }
    hashes = {dataclasses.replace(protocol, **{key: value}).hash for key, value in changes.items()}
    assert len(hashes | {protocol.hash}) == 6
    assert dataclasses.replace(protocol, source="elsewhere").hash == protocol.hash


def test_transforms_of_the_backbone_are_read_changed_and_part_of_the_hash(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text(VALID)
    text = VALID.replace("id: mine", "backbone: {inflate: {kernel: 3}}, id: mine")
    (tmp_path / "changed.yaml").write_text(text)
    plain, inflated = (load_protocol(tmp_path / name) for name in ("plain.yaml", "changed.yaml"))
    assert plain.backbone is None
    assert inflated.backbone == {"inflate": {"kernel": 3}}
    wider = changed(inflated, ["backbone.inflate.kernel=5", "backbone.inflate.init=tile"])
    assert wider.backbone == {"inflate": {"kernel": 5, "init": "tile"}}
    assert inflated.backbone == {"inflate": {"kernel": 3}}
    assert len({plain.hash, inflated.hash, wider.hash}) == 3
    assert changed(inflated, ["backbone={}"]).hash == plain.hash
    with pytest.raises(ConfigError, match="give transforms with options"):
        changed(inflated, ["backbone=inflate"])


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"'knn20'.*did you mean 'knn-20'"):
        load_protocol("knn20")


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(VALID)
    assert load_protocol(tmp_path / "p.yaml").options == {"k": 3, "temperature": 0.1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (VALID.replace(" mode: frozen,", ""), "needs 'mode'"),
        (VALID.replace("frozen", "sometimes"), "'sometimes'; use frozen"),
        (VALID.replace("frozen", "'partial:'"), "partial:2"),
        (VALID.replace("version: 1", "version: one"), "needs 'version' .int"),
        (VALID.replace("options", "optoins"), "unknown key 'optoins'; did you mean 'options'"),
        (VALID.replace("id: mine", "backbone: {inflate: 3}, id: mine"), "maps transforms to their options"),
        ("- a list", "mine.yaml"),
        ("{", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_protocol(tmp_path / "mine.yaml")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_protocol(tmp_path / "none.yaml")


def test_a_training_is_part_of_the_hash_and_may_not_be_a_list(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(VALID[:-1] + ", training: {steps: 3}}")
    with_training = load_protocol(tmp_path / "p.yaml")
    assert with_training.training == {"steps": 3}
    assert with_training.hash != dataclasses.replace(with_training, training=None).hash
    (tmp_path / "p.yaml").write_text(VALID[:-1] + ", training: [3]}")
    with pytest.raises(ConfigError, match="'training' is a mapping"):
        load_protocol(tmp_path / "p.yaml")


def test_settings_change_a_copy_and_its_hash(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(VALID[:-1] + ", training: {steps: 3, augment: {flip: 0.5}}}")
    protocol = load_protocol(tmp_path / "p.yaml")
    settings = ["training.augment.flip=0", "options.k=5", "mode=partial:2"]
    other = changed(protocol, settings)
    assert other.training == {"steps": 3, "augment": {"flip": 0}}
    assert (other.options["k"], other.options["temperature"], other.mode) == (5, 0.1, "partial:2")
    assert protocol.training == {"steps": 3, "augment": {"flip": 0.5}}
    assert other.hash != protocol.hash
    assert changed(protocol, []) == protocol


@pytest.mark.parametrize("setting", ["steps=3", "training", "options=3", "head=x", "training.=3"])
def test_a_setting_of_anything_else_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"training\.steps=500"):
        changed(load_protocol("knn-20"), [setting])
