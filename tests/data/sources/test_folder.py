"""Folders of images, with and without classes and splits."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from sslkit.data.class_folders import available_splits
from sslkit.data.sources.folder import ImageFolderSource
from sslkit.errors import DataError, UnknownNameError
from sslkit.testing.source_kit import check_source


def filled(root: Path, *names: str) -> Path:
    """Write a small image under each name; other suffixes get text."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".jpg", ".png", ".webp", ".bmp", ".gif", ".tif"):
            Image.new("RGB", (8, 6), (len(name), 0, 0)).save(path)
        else:
            path.write_text("not an image")
    return root


def names(source: ImageFolderSource) -> list[str]:
    return [source[id].name for id in range(len(source))]


def test_subfolders_are_classes(tmp_path: Path) -> None:
    source = ImageFolderSource(
        filled(tmp_path, "cat/1.jpg", "cat/deep/er/2.png", "dog/1.webp", "dog/note.txt")
    )
    check_source(source)
    assert names(source) == ["cat/1.jpg", "cat/deep/er/2.png", "dog/1.webp"]
    assert source.classes == ("cat", "dog")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1]
    assert source[0].content == tmp_path / "cat/1.jpg"
    assert source.native_side is None


@pytest.mark.parametrize(
    "layout", [("1.jpg", "2.png"), ("1.jpg", "cat/1.jpg", "dog/2.jpg"), ("images/1.jpg", "images/2.jpg")]
)
def test_no_labels_where_folders_do_not_tell_classes_apart(tmp_path: Path, layout: tuple[str, ...]) -> None:
    source = ImageFolderSource(filled(tmp_path, *layout))
    check_source(source)
    assert source.labels is None
    assert source.classes == ()
    assert len(source) == len(layout)


def test_suffixes_in_capitals_count_and_hidden_files_do_not(tmp_path: Path) -> None:
    source = ImageFolderSource(
        filled(tmp_path, "A.JPG", "b.Png", ".c.jpg", ".cache/d.jpg", "._e.jpg", "f.gif")
    )
    assert names(source) == ["A.JPG", "b.Png", "f.gif"]


def test_same_listing_wherever_the_folder_lies(tmp_path: Path) -> None:
    layout = ("b/2.jpg", "a/1.jpg", "a b/3.jpg")
    here = ImageFolderSource(filled(tmp_path / "here", *layout))
    there = ImageFolderSource(filled(tmp_path / "there", *reversed(layout)))
    more = ImageFolderSource(filled(tmp_path / "more", *layout, "c/4.jpg"))
    assert names(here) == names(there)
    assert here.fingerprint == there.fingerprint != more.fingerprint
    # What these names and labels had when they were held as one list: runs and indexes in use go on.
    assert here.fingerprint == "400d48d51871dea96faa424de0b406a2"


def test_a_link_back_up_ends_and_other_links_are_followed(tmp_path: Path) -> None:
    elsewhere = filled(tmp_path / "elsewhere", "1.jpg")
    root = filled(tmp_path / "root", "a/1.jpg")
    (root / "a" / "loop").symlink_to(root, target_is_directory=True)
    (root / "b").symlink_to(elsewhere, target_is_directory=True)
    assert names(ImageFolderSource(root)) == ["a/1.jpg", "b/1.jpg"]


def test_a_broken_link_is_listed_so_that_reading_reports_it(tmp_path: Path) -> None:
    (filled(tmp_path, "1.jpg") / "2.jpg").symlink_to("gone.jpg")
    assert names(ImageFolderSource(tmp_path)) == ["1.jpg", "2.jpg"]


def test_train_is_the_default_of_the_splits(tmp_path: Path) -> None:
    filled(
        tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "val/cat/2.jpg", "test/cat/3.jpg", "test/dog/4.jpg"
    )
    assert available_splits(tmp_path) == ("train", "val", "test")
    source = ImageFolderSource(tmp_path)
    check_source(source)
    assert source.split == "train"
    assert names(source) == ["train/cat/1.jpg", "train/dog/1.jpg"]
    assert source.classes == ("cat", "dog")


def test_a_label_means_the_same_class_in_every_split(tmp_path: Path) -> None:
    filled(
        tmp_path,
        "train/a/1.jpg",
        "train/b/1.jpg",
        "train/c/1.jpg",
        "validation/c/2.jpg",
        "validation/d/2.jpg",
    )
    train, held_out = ImageFolderSource(tmp_path), ImageFolderSource(tmp_path, split="validation")
    check_source(held_out)
    assert train.classes == held_out.classes == ("a", "b", "c", "d")
    assert held_out.labels is not None
    assert held_out.labels.tolist() == [2, 3]


def test_a_flat_split_has_no_labels_though_others_have(tmp_path: Path) -> None:
    filled(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "test/1.jpg")
    assert ImageFolderSource(tmp_path, split="test").labels is None
    assert ImageFolderSource(tmp_path, split="train").classes == ("a", "b")


def test_unknown_split_names_those_there_are(tmp_path: Path) -> None:
    filled(tmp_path, "train/a/1.jpg", "val/a/1.jpg")
    with pytest.raises(UnknownNameError, match="unknown split 'valid'; did you mean 'val'"):
        ImageFolderSource(tmp_path, split="valid")
    with pytest.raises(UnknownNameError, match="none is known"):
        ImageFolderSource(tmp_path / "train", split="val")


def test_folders_named_like_splits_need_train_beside_them(tmp_path: Path) -> None:
    assert available_splits(filled(tmp_path, "test/a.jpg", "exam/b.jpg")) == ()
    assert ImageFolderSource(tmp_path).classes == ("exam", "test")


def test_no_images_says_what_was_found_instead(tmp_path: Path) -> None:
    filled(tmp_path, "a/1.txt", "a/2.txt", "b/3.mp4", "b/README")
    with pytest.raises(DataError, match=r"found only files ending in 2 \.txt, 1 (\.mp4|\(none\))"):
        ImageFolderSource(tmp_path)


def test_missing_empty_and_mistaken_paths_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not found"):
        ImageFolderSource(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is empty"):
        ImageFolderSource(tmp_path)
    with pytest.raises(DataError, match="is a file"):
        ImageFolderSource(filled(tmp_path, "1.jpg") / "1.jpg")


def test_unreadable_folder_is_an_error_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    filled(tmp_path, "a/1.jpg")
    monkeypatch.setattr("sslkit.data.listing.os.scandir", refuse)
    with pytest.raises(DataError, match=r"cannot list the folder .*Permission denied; make it readable"):
        ImageFolderSource(tmp_path)


def test_relative_path_survives_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "set", "a/1.jpg", "b/1.jpg")
    monkeypatch.chdir(tmp_path)
    source = ImageFolderSource("set")
    monkeypatch.chdir("/")
    assert isinstance(source[0].content, Path)
    assert source[0].content.exists()
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1]


def test_a_folder_that_holds_all_class_folders_is_no_class(tmp_path: Path) -> None:
    source = ImageFolderSource(
        filled(tmp_path, "images/cat/a.jpg", "images/dog/b.jpg", "images/dog/deep/c.jpg")
    )
    assert source.classes == ("cat", "dog")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 1]
    assert source[0].name == "images/cat/a.jpg"


def test_classes_agree_over_splits_with_a_folder_above_them(tmp_path: Path) -> None:
    root = filled(tmp_path, "train/x/cat/a.jpg", "train/x/dog/b.jpg", "val/x/dog/c.jpg", "val/x/eel/d.jpg")
    train, val = ImageFolderSource(root), ImageFolderSource(root, split="val")
    assert train.classes == val.classes == ("cat", "dog", "eel")
    assert val.labels is not None
    assert val.labels.tolist() == [1, 2]
