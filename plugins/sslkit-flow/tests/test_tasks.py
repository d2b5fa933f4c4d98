"""Which pairs with flow are recognised."""

from __future__ import annotations

import importlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from sslkit_flow import plugin
from sslkit_flow.sources.flow_folder import FlowFolderSource
from sslkit_flow.tasks import FLOW, recognise_flow

FRAME = np.zeros((8, 8, 3), np.uint8)


def test_pairs_in_the_layout_of_chairs_are_found_and_can_be_opened(tmp_path: Path) -> None:
    for number in (1, 2):
        for which in (1, 2):
            Image.fromarray(FRAME).save(tmp_path / f"0000{number}_img{which}.ppm")
        header = np.array([202021.25], "<f4").tobytes() + np.array([8, 8], "<i4").tobytes()
        (tmp_path / f"0000{number}_flow.flo").write_bytes(header + np.zeros((8, 8, 2), "<f4").tobytes())
    measured = recognise_flow(tmp_path)
    assert measured is not None
    assert measured.data == f"flow:{tmp_path}"
    source = FlowFolderSource(tmp_path)
    assert len(source) == 2
    assert source.problems() == []


def test_an_npz_is_of_pairs_where_it_holds_flow(tmp_path: Path) -> None:
    np.savez(tmp_path / "1.npz", images=FRAME, labels=np.zeros(1))
    assert recognise_flow(tmp_path) is None
    np.savez(tmp_path / "1.npz", frame1=FRAME, frame2=FRAME, flow=np.zeros((8, 8, 2), np.float32))
    assert recognise_flow(tmp_path) is not None
    (tmp_path / "1.npz").write_bytes(b"no archive")
    assert recognise_flow(tmp_path) is None


def test_pictures_in_folders_are_no_pairs(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(FRAME).save(tmp_path / name / "1.png")
    assert recognise_flow(tmp_path) is None


def test_the_procedural_measurement_names_a_head_and_a_protocol_of_this_package() -> None:
    measured = FLOW.procedural
    assert measured is not None
    assert measured.synthetic
    assert measured.protocol in plugin.sslkit_protocols()
    package, _, path = plugin.sslkit_protocols()[measured.protocol].partition(":")
    protocol = yaml.safe_load((files(package) / path).read_text("utf-8"))
    assert protocol["head"] == measured.head in plugin.sslkit_heads()
    assert protocol["mode"] == "frozen"
    assert protocol["training"]["cache"] is True
    module, _, name = plugin.sslkit_tasks()["flow"].partition(":")
    assert getattr(importlib.import_module(module), name) is FLOW


@pytest.mark.parametrize("place", ["missing", "empty", "file"])
def test_nothing_is_found_where_nothing_is_and_nothing_is_raised(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert recognise_flow(tmp_path / place) is None
