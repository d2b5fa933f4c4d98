"""Folders of pairs with flow as sources with targets."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslkit.contracts import Frames, LabelledSource, Refused
from sslkit.errors import DataError
from sslkit.testing.source_kit import check_labelled_source
from sslkit_flow.sources import flow_folder
from sslkit_flow.sources.flow_folder import FlowFolderSource

Put = Callable[..., Path]


def arrays(height: int = 4, width: int = 6) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "frame1": generator.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "frame2": generator.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "flow": generator.normal(size=(height, width, 2)).astype(np.float32),
        "valid": generator.random((height, width)) < 0.8,
    }


def chairs(put: Put) -> None:
    for number in (1, 2):
        put(f"{number:05d}_img1.ppm")
        put(f"{number:05d}_img2.ppm")
        put(f"{number:05d}_flow.flo", flow=number)


def test_files_are_a_source_with_targets(tmp_path: Path, put: Put) -> None:
    chairs(put)
    source = FlowFolderSource(tmp_path)
    assert isinstance(source, LabelledSource)
    check_labelled_source(source)
    assert (source.layout, source.target_kind, source.classes, source.labels) == ("chairs", "flow", (), None)
    assert source[1].content == Frames((tmp_path / "00002_img1.ppm", tmp_path / "00002_img2.ppm"))
    assert source.class_counts().shape == (2, 0)
    target = source.target(1)
    assert target.vectors[:, 0, 0].tolist() == [2.0, 0.0]
    assert target.valid is not None
    assert bool(target.valid.all())


def test_npz_files_are_a_source_with_targets(tmp_path: Path, put: Put) -> None:
    held = arrays()
    put("a.npz", arrays=held)
    put("b.npz", arrays={name: array for name, array in held.items() if name != "valid"})
    source = FlowFolderSource(tmp_path)
    check_labelled_source(source)
    content = source[0].content
    assert isinstance(content, Frames)
    assert np.array_equal(np.asarray(content.images[1]), held["frame2"])
    target, whole = source.target(0), source.target(1)
    assert target.valid is not None
    assert whole.valid is not None
    assert np.array_equal(target.valid.numpy(), held["valid"])
    assert np.array_equal(target.vectors.numpy()[:, held["valid"]], held["flow"][held["valid"]].T)
    assert torch.equal(whole.vectors, torch.from_numpy(held["flow"]).permute(2, 0, 1))
    assert bool(whole.valid.all())


def spoil(root: Path, put: Put, fault: str) -> None:
    """Give pair 2 a fault."""
    flow, second = root / "00002_flow.flo", root / "00002_img2.ppm"
    if fault == "no flow":
        flow.unlink()
    elif fault == "no frame":
        second.unlink()
    elif fault == "magic":
        flow.write_bytes(b"HEIP" + flow.read_bytes()[4:])
    elif fault == "cut":
        flow.write_bytes(flow.read_bytes()[:-8])
    elif fault == "flow size":
        put("00002_flow.flo", flow=1, size=(6, 4))
    elif fault == "frame size":
        put("00002_img2.ppm", size=(4, 5))
    elif fault == "nan":
        encoded = bytearray(flow.read_bytes())
        encoded[12 + 8 * 7 : 12 + 8 * 7 + 4] = np.float32(np.nan).tobytes()
        flow.write_bytes(bytes(encoded))
    elif fault == "image":
        second.write_bytes(b"P6\n")
    elif fault == "link":
        outside = root.parent / f"{root.name} outside.ppm"
        second.rename(outside)
        second.symlink_to(outside)


@pytest.mark.parametrize(
    ("fault", "file", "said"),
    [
        ("no flow", "00002_flow.flo", "no such file"),
        ("no frame", "00002_img2.ppm", "no such file"),
        ("magic", "00002_flow.flo", r"a \.flo file begins with 202021\.25"),
        ("cut", "00002_flow.flo", "has 196 bytes; flow of 6 x 4 pixels takes 204"),
        ("flow size", "00002_flow.flo", r"flow of 4 x 6 pixels, the frames have 6 x 4: .*00002_img1\.ppm"),
        ("frame size", "00002_img2.ppm", r"has 5 x 4 pixels, the first frame 6 x 4: .*00002_img1\.ppm"),
        ("nan", "00002_flow.flo", "holds 1 vectors that are NaN or infinite, the first at row 1, column 1"),
        ("image", "00002_img2.ppm", "not readable as an image"),
        ("link", "00002_img2.ppm", "is a link that leaves the folder"),
    ],
)
def test_each_fault_of_files_is_named(tmp_path: Path, put: Put, fault: str, file: str, said: str) -> None:
    chairs(put)
    spoil(tmp_path, put, fault)
    source = FlowFolderSource(tmp_path)
    (line,) = source.problems()
    assert line.startswith(f"{tmp_path / file}: ")
    with pytest.raises(DataError, match=said) as raised:
        source.target(1)
    assert str(raised.value) == line
    assert source.target(0).vectors.shape == (2, 4, 6)
    assert isinstance(source[1].content, Refused) == (fault in ("no frame", "link"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frame2": None}, "has no array 'frame2', only flow, frame1, valid"),
        ({"flow": None}, "has no array 'flow'"),
        ({"frame1": np.zeros((4, 6, 3))}, r"'frame1' is float64 \(4, 6, 3\); it must be uint8 \(H, W, 3\)"),
        ({"flow": np.zeros((2, 4, 6), np.float32)}, r"'flow' is float32 \(2, 4, 6\)"),
        ({"valid": np.zeros((4, 6, 1), bool)}, r"'valid' is bool \(4, 6, 1\)"),
        ({"valid": np.zeros((4, 5), bool)}, r"'valid' is \(4, 5\), flow is of \(4, 6\) pixels"),
        ({"flow": np.zeros((4, 5, 2), np.float32)}, "flow of 5 x 4 pixels, the frames have 6 x 4"),
        ({"frame2": np.zeros((3, 6, 3), np.uint8)}, "has 6 x 3 pixels, the first frame 6 x 4"),
        ({"flow": np.full((4, 6, 2), np.nan), "valid": None}, "holds 24 vectors that are NaN"),
        ({"flow": np.array([{}], object)}, r"'flow' is object \(1,\)"),
    ],
)
def test_each_fault_of_npz_files_is_named(
    tmp_path: Path, put: Put, change: dict[str, Any], said: str
) -> None:
    given = arrays() | change
    put("a.npz", arrays={name: array for name, array in given.items() if array is not None})
    put("b.npz", arrays=arrays())
    source = FlowFolderSource(tmp_path)
    (line,) = source.problems()
    assert line.startswith(f"{tmp_path / 'a.npz'}")
    with pytest.raises(DataError, match=said):
        source.target(0)


@pytest.mark.parametrize("kept", [0, 30, -40])
def test_a_cut_npz_file_is_told_and_refused(tmp_path: Path, put: Put, kept: int) -> None:
    path = put("a.npz", arrays=arrays())
    put("b.npz", arrays=arrays())
    path.write_bytes(path.read_bytes()[:kept])
    source = FlowFolderSource(tmp_path)
    (line,) = source.problems()
    assert line.startswith(f"{path}: not readable as .npz")
    assert isinstance(source[0].content, Refused)
    with pytest.raises(DataError, match=r"not readable as \.npz"):
        source.target(0)


def test_of_many_files_only_headers_are_read(
    tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    chairs(put)
    spoil(tmp_path, put, "nan")
    monkeypatch.setattr(flow_folder, "READ_WHOLE", 1)
    assert FlowFolderSource(tmp_path).problems() == []  # pair 2 is not read; its header is sound
    spoil(tmp_path, put, "magic")
    assert len(FlowFolderSource(tmp_path).problems()) == 1


def test_the_fingerprint_follows_what_is_there(tmp_path: Path, put: Put) -> None:
    chairs(put)
    first = FlowFolderSource(tmp_path)
    assert pickle.loads(pickle.dumps(first)).fingerprint == first.fingerprint
    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name} moved"))
    assert FlowFolderSource(moved).fingerprint == first.fingerprint
    flow = moved / "00001_flow.flo"
    flow.write_bytes(flow.read_bytes())  # as many bytes, written later
    assert FlowFolderSource(moved).fingerprint != first.fingerprint
    with pytest.raises(IndexError):
        first.target(2)
