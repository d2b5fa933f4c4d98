"""Hugging Face data sets, built here and read without a network."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from sslkit.contracts import Refused
from sslkit.data.decode.image import decode_image
from sslkit.data.loader import Loader
from sslkit.data.sources.hf import HFSource
from sslkit.errors import DataError, UnknownNameError
from sslkit.testing.source_kit import check_source

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def png(value: int) -> bytes:
    file = io.BytesIO()
    Picture.new("L", (4, 4), value).save(file, "png")
    return file.getvalue()


def table(count: int, **columns: Any) -> Any:
    """Image k is of colour k; other columns as (values, feature)."""
    images = [{"bytes": png(k), "path": None} for k in range(count)]
    features = {"img": datasets.Image(), **{name: kind for name, (_, kind) in columns.items()}}
    values = {"img": images, **{name: values for name, (values, _) in columns.items()}}
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def classes(labels: list[int | None], names: list[str]) -> tuple[list[int | None], Any]:
    return labels, datasets.ClassLabel(names=names)


def saved(rows: Any, folder: Path) -> Path:
    rows.save_to_disk(folder)
    return folder


def colours(source: HFSource, ids: list[int]) -> list[int]:
    contents = [item.content for item in source.items(ids)]
    return [int(decode_image(content, canvas=4, channels=1)[0][0, 0, 0]) for content in contents]


def test_a_saved_table_keeps_the_contract(tmp_path: Path) -> None:
    rows = table(
        6, text=(["x"] * 6, datasets.Value("string")), fine=classes([0, 1, 1, 0, 1, 1], ["cat", "dog"])
    )
    source = HFSource(saved(rows, tmp_path / "t"))
    check_source(source)
    assert source.splits == ()
    assert source.classes == ("cat", "dog")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 1, 0, 1, 1]
    assert colours(source, [5, 0, 5, 3]) == [5, 0, 5, 3]
    assert source[2].name == "train/2"
    assert isinstance(source[2].content, bytes)  # not decoded, and encoded again
    unread = HFSource(tmp_path / "t", labels=False)
    check_source(unread)
    assert unread.labels is None
    with pytest.raises(IndexError, match=r"outside 0\.\.5"):
        source.items([0, 6])


def test_splits_are_those_of_the_data_set(tmp_path: Path) -> None:
    parts = {
        "test": table(2, y=classes([1, 1], ["a", "b"])),
        "train": table(3, y=classes([0, 0, 0], ["a", "b"])),
    }
    folder = saved(datasets.DatasetDict(parts), tmp_path / "t")
    train, test = HFSource(folder), HFSource(folder, split="test")
    assert (len(train), len(test)) == (3, 2)
    assert set(train.splits) == {"train", "test"}
    assert test[1].name == "test/1"
    assert train.fingerprint != test.fingerprint
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        HFSource(folder, split="tset")


def test_a_folder_that_load_dataset_reads_gives_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name in ("train/cat/1.png", "train/dog/2.png", "test/cat/3.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(int(path.stem)))
    source = HFSource(tmp_path / "photos")
    check_source(source)
    assert source.classes == ("cat", "dog")
    assert source[1].name == "train/dog/2.png"
    assert source[1].content == tmp_path / "photos/train/dog/2.png"
    assert HFSource(tmp_path / "photos").fingerprint == source.fingerprint


@pytest.mark.parametrize(
    ("column", "names", "labels"),
    [
        ((["b", "a", "b"], "string"), ("a", "b", "c"), [1, 0, 1]),
        (([4, 0, 1], "int32"), ("0", "1", "2", "3", "4", "5"), [4, 0, 1]),
        (([True, False, True], "bool"), ("0", "1"), [1, 0, 1]),
    ],
)
def test_any_column_of_numbers_or_names_may_be_the_label(
    tmp_path: Path, column: tuple[list[Any], str], names: tuple[str, ...], labels: list[int]
) -> None:
    kind = datasets.Value(column[1])
    other = {"string": "c", "int32": 5, "bool": False}[column[1]]  # a class of the other split alone
    parts = {"train": table(3, y=(column[0], kind)), "test": table(1, y=([other], kind))}
    folder = saved(datasets.DatasetDict(parts), tmp_path / "t")
    assert HFSource(folder).labels is None  # no ClassLabel, and none named
    source = HFSource(folder, label="y")
    check_source(source)
    assert source.classes == names
    assert source.labels is not None
    assert source.labels.tolist() == labels


def test_labels_of_minus_one_or_null_are_none(tmp_path: Path) -> None:
    for name, labels in (("minus", [-1, -1]), ("null", [None, None])):
        source = HFSource(saved(table(2, y=classes(labels, ["a"])), tmp_path / name))
        check_source(source)
        assert source.labels is None


@pytest.mark.parametrize(
    ("columns", "options", "why"),
    [
        ({"y": ([-1, 0], "int8")}, {"label": "y"}, "some rows have no label"),
        ({"y": ([None, 0], "int8")}, {"label": "y"}, "some rows have no label.*labels=false"),
        ({"y": ([None, "a"], "string")}, {"label": "y"}, "some rows have no label"),
        ({"y": ([0.5, 1.0], "float32")}, {"label": "y"}, "neither class numbers nor names"),
        ({"y": ([0, 10**9], "int64")}, {"label": "y"}, "holds 1000000000; classes are numbered"),
        ({}, {"label": "z"}, "unknown label column 'z'"),
        ({}, {"image": "imgs"}, "unknown image column 'imgs'; did you mean 'img'"),
        (
            {"y": ([0, 1], "int8")},
            {"image": "y"},
            r"column y is no Image; its columns are img \(Image\), y \(Value\)",
        ),
    ],
)
def test_wrong_columns_are_refused(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], why: str
) -> None:
    typed = {name: (values, datasets.Value(kind)) for name, (values, kind) in columns.items()}
    folder = saved(table(2, **typed), tmp_path / "t")
    with pytest.raises((DataError, UnknownNameError), match=why):
        HFSource(folder, **options)


def test_tables_without_images_or_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"no column is an Image; its columns are x \(Value\)"):
        HFSource(saved(datasets.Dataset.from_dict({"x": [1]}), tmp_path / "x"))
    monkeypatch.setattr(datasets, "load_from_disk", lambda _: table(0))
    with pytest.raises(DataError, match="the split train has no rows"):
        HFSource(tmp_path / "x")


def test_garbage_and_missing_images_are_skipped(tmp_path: Path) -> None:
    images = [
        {"bytes": png(0), "path": None},
        {"bytes": b"garbage", "path": None},
        None,
        {"bytes": png(3), "path": "x"},
    ]
    rows = datasets.Dataset.from_dict({"img": images}, features=datasets.Features({"img": datasets.Image()}))
    source = HFSource(saved(rows, tmp_path / "t"))
    assert isinstance(source[2].content, Refused)
    with Loader(source, batch_size=4, canvas=4, workers=1) as loader:
        (batch,) = loader.epoch(0)
    assert sorted(batch.ids.tolist()) == [0, 3]
    assert sorted(skipped.id for skipped in batch.skipped) == [1, 2]


def test_fingerprint_is_the_same_in_another_process_and_other_for_other_data(tmp_path: Path) -> None:
    folder = saved(table(4, y=classes([0, 1, 0, 1], ["a", "b"])), tmp_path / "t")
    source = HFSource(folder)
    assert HFSource(folder).fingerprint == source.fingerprint
    code = "import sys; from sslkit.data.sources.hf import HFSource; print(HFSource(sys.argv[1]).fingerprint)"
    other = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert other.stdout.split()[-1] == source.fingerprint
    more = HFSource(saved(table(5, y=classes([0, 1, 0, 1, 1], ["a", "b"])), tmp_path / "more"))
    relabelled = HFSource(saved(table(4, y=classes([0, 1, 1, 1], ["a", "b"])), tmp_path / "other"))
    unlabelled = HFSource(folder, labels=False)
    images = [{"bytes": png(9 * k), "path": None} for k in range(4)]
    columns = datasets.Features({"img": datasets.Image(), "y": datasets.ClassLabel(names=["a", "b"])})
    rows = datasets.Dataset.from_dict({"img": images, "y": [0, 1, 0, 1]}, features=columns)
    recoloured = HFSource(saved(rows, tmp_path / "colours"))
    assert len({one.fingerprint for one in (source, more, relabelled, unlabelled, recoloured)}) == 5


def test_a_pickled_copy_is_small_and_reads_the_same(tmp_path: Path) -> None:
    source = HFSource(saved(table(200), tmp_path / "t"))
    text = pickle.dumps(source)
    assert len(text) < 20_000  # the table stays on the disk
    assert colours(pickle.loads(text), [3, 199]) == [3, 199]


def test_a_name_out_of_reach_is_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"cannot load the data set 'no/such-thing': .*without a network only"
    ):
        HFSource("no/such-thing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is it complete"):
        HFSource(tmp_path / "empty")
    broken = saved(table(2), tmp_path / "t")
    next(broken.glob("*.arrow")).write_bytes(b"cut")
    with pytest.raises(DataError, match="is it complete"):
        HFSource(broken)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'sslkit\[hf\]'"):
        HFSource(tmp_path)


def test_ids_may_be_an_array(tmp_path: Path) -> None:
    source = HFSource(saved(table(3), tmp_path / "t"))
    assert [item.name for item in source.items(np.array([2, 0]))] == ["train/2", "train/0"]
    assert source.items([]) == []
