"""Tables of videos, of one's own and of Kinetics."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslkit.data.listed_videos import VideoList
from sslkit.data.video_tables import is_table, read_tables
from sslkit.errors import ConfigError, DataError
from tests.data.listed_sets import write_lists

KINETICS = "label,youtube_id,time_start,time_end,split\n"


def table(folder: Path, text: str, name: str = "list.csv", group: str | None = None) -> VideoList:
    return read_tables([write_lists(folder, {name: text}) / name], group)


def test_numbers_order_the_classes_and_their_names_name_them(tmp_path: Path) -> None:
    text = (
        "path,label,action,subject,split\nv/a.avi,10,walk,ann,train\nv/b.avi,9,run,bo,test\n"
        "v/c.avi,9,run,ann,validate\n"
    )
    found = table(tmp_path, text)
    assert found.classes == ("run", "walk")
    assert [(one.names, one.label, one.group, one.split) for one in found.videos] == [
        (("v/a.avi",), "walk", "ann", "train"),
        (("v/b.avi",), "run", "bo", "test"),
        (("v/c.avi",), "run", "ann", "val"),
    ]
    assert found.videos[1].at == f"{tmp_path}/list.csv, line 3"
    assert not found.gaps
    # Numbers alone are names, in the order of numbers.
    assert table(tmp_path, "path,label\na.mp4,10\nb.mp4,9\n").classes == ("9", "10")
    assert table(tmp_path, "path,label\na.mp4,10\nb.mp4,nine\n").classes == ("10", "nine")
    assert table(tmp_path, "path,action\na.mp4,run\nb.mp4,hop\n").classes == ("hop", "run")
    assert table(tmp_path, "path\na.mp4\n").classes == ()


def test_quotes_commas_a_mark_of_byte_order_and_windows_lines_are_read(tmp_path: Path) -> None:
    text = '\ufeffPath, Label\r\n"a, b.mp4","run, fast"\r\n\r\nc.mp4,walk\r\n'
    found = table(tmp_path, text)
    assert [one.names[0] for one in found.videos] == ["a, b.mp4", "c.mp4"]
    assert found.classes == ("run, fast", "walk")
    assert found.videos[1].at.endswith("line 4")


def test_the_group_is_a_column_or_found_in_the_path(tmp_path: Path) -> None:
    text = "path,label,camera,subject\nann_1.mp4,a,left,s1\nbo_2.mp4,b,right,s1\n"

    def groups(group: str | None) -> list[str | None]:
        return [one.group for one in table(tmp_path, text, group=group).videos]

    assert groups(None) == ["s1", "s1"]
    assert groups("camera") == ["left", "right"]
    assert groups("[a-z]+") == ["ann", "bo"]
    assert groups(r"_(\d)") == ["1", "2"]
    with pytest.raises(DataError, match=r"list\.csv, line 2: group='x' is not in 'ann_1\.mp4'"):
        groups("x")
    with pytest.raises(ConfigError, match="neither a column nor a pattern"):
        groups("[")


def test_kinetics_names_videos_by_identity_and_seconds(tmp_path: Path) -> None:
    text = KINETICS + '"air drumming",-0_aZ,3,13,train\nabseiling,b1,120.0,130.0,val\n'
    found = table(tmp_path, text)
    assert found.gaps
    first, second = found.videos
    assert first.names == (
        "air drumming/-0_aZ_000003_000013",
        "air_drumming/-0_aZ_000003_000013",
        "-0_aZ_000003_000013",
        "air drumming/-0_aZ",
        "air_drumming/-0_aZ",
        "-0_aZ",
    )
    assert (first.seconds, first.group, first.split) == ((3.0, 13.0), "-0_aZ", "train")
    assert second.names[0] == "abseiling/b1_000120_000130"
    assert found.classes == ("abseiling", "air drumming")


def test_files_called_as_splits_are_splits_and_the_test_may_lack_labels(tmp_path: Path) -> None:
    lists = {
        "train.csv": "label,youtube_id,time_start,time_end\nrun,a,0,10\n",
        "validate.csv": "label,youtube_id,time_start,time_end\nhop,b,0,10\n",
        "test.csv": "youtube_id,time_start,time_end\nc,0,10\n",
    }
    folder = write_lists(tmp_path, lists)
    found = read_tables(sorted(folder.iterdir()), None)
    assert sorted((one.split, one.label) for one in found.videos if one.label) == [
        ("train", "run"),
        ("val", "hop"),
    ]
    assert found.videos[0].split == "test"
    (folder / "extra.csv").write_text("path,label\na.mp4,run\n")
    with pytest.raises(DataError, match="tables of Kinetics and others"):
        read_tables(sorted(folder.iterdir()), None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\na.mp4,x\nb.mp4\n", "line 3: 1 values for the 2 columns"),
        ("path,label\na.mp4,x\nb.mp4,\n", "line 3: no label though others have one"),
        ("path,label\na.mp4,x\nb.txt,x\n", r"line 3: 'b\.txt' is no path of a video"),
        ("path,split\na.mp4,x\n", "line 2: split 'x'; use train, val, test"),
        ("path,label,label\na.mp4,x,y\n", "line 1: the column 'label' is there twice"),
        ("path,label,action\na.mp4,0,x\nb.mp4,1,x\n", "line 3: the class 'x' is number 1, and 0 before"),
        ("path,label,action\na.mp4,0,x\nb.mp4,0,y\n", "line 3: number 0 is the class 'y', and 'x' before"),
        ("path,subject\na.mp4,s\nb.mp4,\n", "line 3: no subject though the table has a column"),
        ('path,label\n"a.mp4"b,x\n', "line 2: .*no sound"),
        (KINETICS + "run,a,10,3,train\n", "line 2: expected youtube_id, time_start and time_end"),
        (KINETICS + "run,../a,0,3,train\n", "line 2: expected youtube_id"),
        (KINETICS + "run,a,zero,3,train\n", "line 2: expected youtube_id"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"list\.csv, {said}"):
        table(tmp_path, text)


def test_only_a_header_makes_a_table(tmp_path: Path) -> None:
    folder = write_lists(
        tmp_path, {"a.csv": "path,label\n", "b.csv": "a.mp4,run\n", "c.md": "path,label\n", "d.txt": ""}
    )
    assert [is_table(file) for file in sorted(folder.iterdir())] == [True, False, False, False]
