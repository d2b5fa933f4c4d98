"""Videos named by lists: one item each, of the split and fold asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sslkit.contracts import Moment, Refused
from sslkit.data.clips import Clips
from sslkit.data.reader import BatchReader
from sslkit.data.sources.video_list import VideoListSource
from sslkit.data.split_leaks import leaks
from sslkit.errors import DataError, UnknownNameError
from sslkit.registry import open_source
from sslkit.testing.source_kit import check_source
from tests.data.listed_sets import hmdb, put, put_all, sound_alone, ucf, write_lists


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))


def names(source: VideoListSource) -> list[str]:
    return [source[id].name for id in range(len(source))]


def moment(source: VideoListSource, id: int) -> Moment:
    content = source[id].content
    assert isinstance(content, Moment)
    return content


@pytest.mark.parametrize("flat", [False, True])
def test_ucf101_in_its_folders_and_flat(tmp_path: Path, flat: bool) -> None:
    root = ucf(tmp_path / "set", flat=flat)
    train, test = (VideoListSource(root, list="lists", split=split) for split in (None, "test"))
    check_source(train)
    check_source(test)
    assert train.splits == test.splits == ("train", "test")
    assert train.classes == test.classes == ("Walk", "Run", "Archery")
    assert train.labels is not None
    assert test.labels is not None
    assert (train.labels.tolist(), test.labels.tolist()) == ([1, 1, 0, 2], [1, 0, 2])
    assert names(train)[0] == ("" if flat else "Run/") + "v_Run_g08_c01.avi"
    assert train.groups.tolist() == [0, 0, 1, 2]
    assert train.group_names == ("v_Run_g08", "v_Walk_g09", "v_Archery_g08")
    first = moment(train, 0)
    assert (first.path, first.start, first.rate) == (root / names(train)[0], 0.0, 10.0)
    assert first.length == first.duration == pytest.approx(0.4)
    assert leaks(train, test) == []
    assert names(VideoListSource(root, list="lists", fold=2)) == sorted(names(test), key=names(test).index)


def test_hmdb51_and_an_address_with_a_fold(tmp_path: Path) -> None:
    root = hmdb(tmp_path / "set")
    source = open_source(f"video-list:{root},list=lists,fold=2", split="test")
    assert isinstance(source, VideoListSource)
    check_source(source)
    assert source.classes == ("climb_stairs", "wave")
    assert names(source) == ["climb_stairs/BIG_FISH_climb_stairs_f_nm_np1_fr_med_1.avi"]
    assert source.group_names == ("climb_stairs/BIG_FISH",)
    train = VideoListSource(root, list="lists", fold=2)
    assert len(train) == 2
    # What was for training in one fold is for the test in another.
    (line,) = leaks(VideoListSource(root, list="lists", fold=1), source)
    assert line.startswith("group 'climb_stairs/BIG_FISH' is in both: 2 samples of train, 1 of test")


def test_a_table_of_ones_own_is_found_in_its_folder(tmp_path: Path) -> None:
    put_all(tmp_path / "set", ["v/a.mp4", "v/b.mp4", "v/c.mp4"])
    text = (
        "path,label,action,subject,split\nv/c.mp4,1,run,ann,test\nv/a.mp4,0,walk,bo,train\n"
        "v/b.mp4,1,run,bo,train\n"
    )
    write_lists(tmp_path / "set", {"labels.csv": text})
    train = open_source(f"video-list:{tmp_path / 'set'}")
    check_source(train)
    assert train.classes == ("walk", "run")
    assert train.splits == ("train", "test")
    assert [train[id].name for id in range(len(train))] == ["v/a.mp4", "v/b.mp4"]
    assert getattr(train, "group_names", None) == ("bo",)
    whole = write_lists(tmp_path / "set", {"labels.csv": "path\nv/a.mp4\nv/b.mp4\n"})
    source = VideoListSource(whole)
    assert (source.labels, source.classes, source.splits) == (None, (), ())
    assert source.groups.tolist() == [0, 1]


def test_what_kinetics_lost_is_left_out_counted_and_named(tmp_path: Path) -> None:
    root = tmp_path / "set"
    put(root / "air drumming/aaa_000003_000013.mp4")
    put(root / "train/bbb.mkv", frames=150)  # fifteen seconds, of which the list means two
    put(root / "ccc_000000_000010.webm")
    put(root / "ddd.mp4")
    text = (
        "label,youtube_id,time_start,time_end,split\nair drumming,aaa,3,13,train\nrun,bbb,5,7,train\n"
        "run,ccc,0,10,train\nrun,ddd,90,100,train\nrun,eee,0,10,train\nair drumming,fff,0,9,train\n"
        "run,ggg,0,10,val\n"
    )
    write_lists(root, {"kinetics.csv": text})
    with pytest.warns(UserWarning, match=r"2 of 6 listed videos are not there .* run/eee_000000_000010"):
        source = VideoListSource(root)
    check_source(source)
    assert names(source) == [
        "air drumming/aaa_000003_000013.mp4",
        "train/bbb.mkv",
        "ccc_000000_000010.webm",
        "ddd.mp4",
    ]
    assert source.missing == ("run/eee_000000_000010", "air drumming/fff_000000_000009")
    assert source.problems() == []
    part = moment(source, 1)
    assert (part.start, part.length, part.duration) == (5.0, 2.0, 15.0)
    assert moment(source, 3).length == pytest.approx(0.4)  # it was cut to what is meant
    with pytest.raises(DataError, match=r"none of the 1 videos .* such as run/ggg_000000_000010"):
        VideoListSource(root, split="val")


def test_a_test_without_labels_can_be_asked_for_and_is_not_offered_to_judge_by(tmp_path: Path) -> None:
    put_all(tmp_path, ["aaa.mp4", "bbb.mp4", "ccc.mp4"])
    head = "youtube_id,time_start,time_end"
    lists = {
        "train.csv": f"label,{head}\nrun,aaa,0,10\n",
        "val.csv": f"label,{head}\nhop,bbb,0,10\n",
        "test.csv": f"{head}\nccc,0,10\n",
    }
    write_lists(tmp_path / "lists", lists)
    train = VideoListSource(tmp_path, list="lists")
    assert train.splits == ("train", "val")
    assert train.classes == ("hop", "run")
    test = VideoListSource(tmp_path, list="lists", split="test")
    assert (test.labels, test.classes, names(test)) == (None, (), ["ccc.mp4"])


# --------------------------------------------------------------------------------------- what is wrong


def test_all_that_cannot_be_read_is_named_before_training(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    whole = put(tmp_path / "f.mp4").read_bytes()
    (tmp_path / "b.mp4").write_text("no video at all, though it is called so")
    (tmp_path / "c.mp4").write_bytes(sound_alone())
    (tmp_path / "d.mp4").write_bytes(whole[: len(whole) // 2])
    rows = "".join(f"{name}.mp4,{label}\n" for name, label in zip("abcdef", "xxxxxy", strict=True))
    write_lists(tmp_path, {"labels.csv": "path,label\n" + rows + "g.mp4,z\n"})
    put(tmp_path / "g.mp4")
    source = VideoListSource(tmp_path)
    check_source(source)
    assert source.missing == ("e.mp4",)
    problems = source.problems()
    reasons = ("not a video", "only audio", "cut off", "no such file")
    for line, number, name, reason in zip(problems, (3, 4, 5, 6), "bcde", reasons, strict=True):
        assert line.startswith(f"{tmp_path}/labels.csv, line {number}: {tmp_path}/{name}.mp4: ")
        assert reason in line
    refused = source[2].content
    assert isinstance(refused, Refused)
    assert "only audio" in refused.reason
    assert "line 4" in refused.reason
    batch = BatchReader(source, 16, clips=Clips()).read(torch.arange(7))
    assert batch.ids.tolist() == [0, 5, 6]
    assert [one.name for one in batch.skipped] == ["b.mp4", "c.mp4", "d.mp4", "e.mp4"]


def test_a_class_without_a_video_to_learn_from_is_named(tmp_path: Path) -> None:
    root = ucf(tmp_path / "set")
    (root / "lists/trainlist01.txt").write_text("Run/v_Run_g08_c01.avi 2\n")
    assert VideoListSource(root, list="lists").problems() == [
        f"{root}: split train: the class 'Walk' has no video",
        f"{root}: split train: the class 'Archery' has no video",
    ]
    assert VideoListSource(root, list="lists", split="test").problems() == []


def test_a_video_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    write_lists(tmp_path, {"l.csv": "path,label\na.mp4,x\na.mp4,y\n"})
    with pytest.raises(DataError, match=r"l\.csv, line 3: 'a\.mp4' is listed a second time, .*line 2"):
        VideoListSource(tmp_path)


def test_places_and_splits_that_are_not_there_are_refused(tmp_path: Path) -> None:
    root = ucf(tmp_path / "set")
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        VideoListSource(root, list="lists", split="tset")
    with pytest.raises(DataError, match=r"set holds no \.csv; say which list counts"):
        VideoListSource(root)
    write_lists(root, {"a.csv": "path\nx.mp4\n", "b.csv": "path\nx.mp4\n"})
    with pytest.raises(DataError, match=r"holds a\.csv, b\.csv; say which"):
        VideoListSource(root)
    with pytest.raises(DataError, match=r"none of the 1 videos .*a\.csv lists is in .*such as x\.mp4"):
        VideoListSource(root, list="a.csv")
    with pytest.raises(DataError, match="not found"):
        VideoListSource(tmp_path / "gone")


# ------------------------------------------------------------------------------- sameness, and reading


def test_the_fingerprint_follows_what_is_listed_and_not_where_it_lies(tmp_path: Path) -> None:
    prints = set()
    for name in ("here", "there"):
        root = ucf(tmp_path / name)
        prints.add(VideoListSource(root, list="lists").fingerprint)
    assert len(prints) == 1
    test = VideoListSource(root, list="lists", split="test").fingerprint
    assert test == VideoListSource(root, list="lists", fold=2).fingerprint  # the same videos in this order
    prints |= {test, VideoListSource(root, list="lists", group="v_").fingerprint}
    put(root / "Run/v_Run_g08_c01.avi", frames=5)
    prints.add(VideoListSource(root, list="lists").fingerprint)
    assert len(prints) == 4


def test_clips_of_all_of_a_video_are_read_for_pretraining(tmp_path: Path) -> None:
    root = tmp_path / "set"
    put(root / "long.mp4", frames=100, grey=30)
    put(root / "short.mp4", grey=200)
    write_lists(root, {"l.csv": "path\nlong.mp4\nshort.mp4\n"})
    source, clips = VideoListSource(root), Clips(frames=2, positives="both", max_gap=1.0)
    batch = BatchReader(source, 16, clips=clips, seed=1).read(torch.arange(2))
    assert batch.pixels.shape == (2, 2, 2, 3, 16, 16)
    assert batch.groups.tolist() == [0, 1]
    np.testing.assert_allclose(batch.pixels.float().mean((1, 2, 3, 4, 5)), [30, 200], atol=6)
    starts = [clips.times(moment(source, 0), 1, epoch, 0)[0, 0] for epoch in range(40)]
    assert min(starts) < 1.5
    assert max(starts) > 8.0
