"""Which frames and flow belong together in the layouts of known data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit_flow.sources.layouts import CHAIRS_SPLIT, Asked, find_pairs

Put = Callable[..., Path]
THINGS = "frames_{}pass/{}/A/0000/left/{:04d}.png"
THINGS_FLOW = "optical_flow/{}/A/0000/into_future/left/OpticalFlowIntoFuture_{:04d}_L.pfm"


def look(root: Path, layout: str | None = None, **asked: str) -> tuple[str, list[tuple[str, ...]]]:
    name, found = find_pairs(root, layout, Asked(**asked))
    return name, [pair.files for pair in found.pairs]


@pytest.mark.parametrize("folder", ["", "data/"])
def test_chairs(tmp_path: Path, put: Put, folder: str) -> None:
    for number in (1, 2, 4):  # a part of the set: lines of the list are those of numbers, not of places
        put(f"{folder}{number:05d}_img1.ppm")
        put(f"{folder}{number:05d}_img2.ppm")
        put(f"{folder}{number:05d}_flow.flo", flow=number)
    whole = [
        tuple(f"{folder}{number:05d}_{part}" for part in ("img1.ppm", "img2.ppm", "flow.flo"))
        for number in (1, 2, 4)
    ]
    assert look(tmp_path) == ("chairs", whole)
    with pytest.raises(DataError, match=f"has no {CHAIRS_SPLIT}"):
        look(tmp_path, split="val")
    (tmp_path / CHAIRS_SPLIT).write_text("1\n2\n2\n1\n")
    assert look(tmp_path)[1] == [whole[0], whole[2]]
    assert look(tmp_path, split="val")[1] == [whole[1]]
    assert find_pairs(tmp_path, None, Asked())[1].splits == ("train", "val")
    (tmp_path / CHAIRS_SPLIT).write_text("1\n2\n2\n")
    with pytest.raises(DataError, match="has 3 lines, one a pair, but pair 4 is there"):
        look(tmp_path)
    (tmp_path / CHAIRS_SPLIT).write_text("1\n3\n")
    with pytest.raises(DataError, match="holds '3'; its lines are 1"):
        look(tmp_path)


def test_chairs_keep_pairs_of_which_a_part_is_missing(tmp_path: Path, put: Put) -> None:
    put("00001_img1.png")
    put("00002_flow.flo", flow=0)
    assert look(tmp_path)[1] == [
        ("00001_img1.png", "00001_img2.ppm", "00001_flow.flo"),
        ("00002_img1.ppm", "00002_img2.ppm", "00002_flow.flo"),
    ]


def test_things(tmp_path: Path, put: Put) -> None:
    for part in ("TRAIN", "TEST"):
        for number in (6, 7, 8):
            put(THINGS.format("clean", part, number))
            put(THINGS_FLOW.format(part, number), flow=number)
    put(THINGS.format("final", "TEST", 6))
    put(THINGS.format("final", "TEST", 7))
    name, pairs = look(tmp_path)
    assert name == "things"
    assert pairs == [  # the last frame has flow and no successor
        (
            THINGS.format("clean", "TRAIN", number),
            THINGS.format("clean", "TRAIN", number + 1),
            THINGS_FLOW.format("TRAIN", number),
        )
        for number in (6, 7)
    ]
    final = look(tmp_path, split="test", rendering="final")[1]
    assert final[0] == (
        THINGS.format("final", "TEST", 6),
        THINGS.format("final", "TEST", 7),
        THINGS_FLOW.format("TEST", 6),
    )
    assert find_pairs(tmp_path, None, Asked())[1].splits == ("train", "test")


def test_sintel(tmp_path: Path, put: Put) -> None:
    for scene in ("market_2", "alley_1"):
        for number in (1, 2, 3):
            put(f"training/clean/{scene}/frame_{number:04d}.png")
            put(f"training/final/{scene}/frame_{number:04d}.png")
        for number in (1, 2):
            put(f"training/flow/{scene}/frame_{number:04d}.flo", flow=number)
    name, pairs = look(tmp_path)
    assert (name, len(pairs)) == ("sintel", 4)
    assert pairs[1] == (
        "training/clean/alley_1/frame_0002.png",
        "training/clean/alley_1/frame_0003.png",
        "training/flow/alley_1/frame_0002.flo",
    )
    assert look(tmp_path, rendering="final")[1][0][0] == "training/final/alley_1/frame_0001.png"
    with pytest.raises(UnknownNameError, match="unknown split 'test'"):
        look(tmp_path, split="test")


@pytest.mark.parametrize(("image", "flow"), [("image_2", "flow_occ"), ("colored_0", "flow_noc")])
def test_kitti(tmp_path: Path, put: Put, image: str, flow: str) -> None:
    for number in (9, 10, 11):
        put(f"training/{image}/000003_{number:02d}.png")
    put(f"training/{flow}/000003_10.png", flow=1)
    pair = (
        f"training/{image}/000003_10.png",
        f"training/{image}/000003_11.png",
        f"training/{flow}/000003_10.png",
    )
    assert look(tmp_path) == ("kitti", [pair])


@pytest.mark.parametrize(("beside", "at"), [("", ""), ("other-data/", "other-gt-flow/")])
def test_middlebury(tmp_path: Path, put: Put, beside: str, at: str) -> None:
    for scene in ("Venus", "DogDance"):
        put(f"{beside}{scene}/frame10.png")
        put(f"{beside}{scene}/frame11.png")
    put(f"{at}Venus/flow10.flo", flow=1)  # of the other the truth was never published
    expected = (f"{beside}Venus/frame10.png", f"{beside}Venus/frame11.png", f"{at}Venus/flow10.flo")
    assert look(tmp_path) == ("middlebury", [expected])


def test_npz(tmp_path: Path, put: Put) -> None:
    for name in ("train/b", "train/a", "val/c"):
        put(f"{name}.npz", arrays={})
    assert look(tmp_path) == ("npz", [("train/a.npz",), ("train/b.npz",)])
    assert look(tmp_path, split="val")[1] == [("val/c.npz",)]
    put("z.npz", arrays={})
    assert look(tmp_path)[1] == [("z.npz",)]


def test_what_is_no_such_folder_is_refused(tmp_path: Path, put: Put) -> None:
    with pytest.raises(DataError, match="is no folder"):
        look(tmp_path / "none")
    with pytest.raises(DataError, match=r"no pairs of frames with flow in a known layout .*00001_img1"):
        look(tmp_path)
    with pytest.raises(UnknownNameError, match="unknown layout 'chair'; did you mean 'chairs'"):
        look(tmp_path, "chair")
    put("00001_img1.ppm")
    with pytest.raises(DataError, match=r"known layout \(sintel: training/flow"):
        look(tmp_path, "sintel")
    with pytest.raises(ConfigError, match="layout 'chairs' has none"):
        look(tmp_path, rendering="clean")
    with pytest.raises(ConfigError, match="rendering=albedo: it is one of clean, final"):
        look(tmp_path, rendering="albedo")
    (tmp_path / "training" / "flow").mkdir(parents=True)
    with pytest.raises(DataError, match="laid out as 'sintel', but holds no pair"):
        look(tmp_path)
