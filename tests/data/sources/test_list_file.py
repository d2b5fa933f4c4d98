"""Lists of images in a text file."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import cast

import pytest
from PIL import Image

from sslkit.contracts import LabelledSource
from sslkit.data.sources.list_file import ListFileSource
from sslkit.errors import DataError, UnknownNameError
from sslkit.testing.source_kit import check_labelled_source, check_source


def listed(folder: Path, text: str | bytes, *images: str) -> Path:
    for name in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 5)).save(folder / name)
    path = folder / "list.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_paths_start_at_the_list_and_may_hold_spaces_and_commas(tmp_path: Path) -> None:
    text = "# my set\n\nsub/a b, c.png\n./#2.png\n"
    source = ListFileSource(listed(tmp_path, text, "sub/a b, c.png", "#2.png"))
    check_source(source)
    assert [source[id].name for id in range(2)] == ["sub/a b, c.png", "./#2.png"]
    assert source.labels is None
    assert source.classes == ()


def test_absolute_paths_stay(tmp_path: Path) -> None:
    image = tmp_path / "far" / "1.png"
    source = ListFileSource(listed(tmp_path, str(image), "far/1.png"))
    assert source[0].content == image


def test_labels_follow_a_tab_and_sort_as_numbers_if_they_are(tmp_path: Path) -> None:
    source = ListFileSource(listed(tmp_path, "1.png\t10\n2.png\t9\n3.png\t10\n", "1.png", "2.png", "3.png"))
    check_source(source)
    assert source.classes == ("9", "10")
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0, 1]
    named = ListFileSource(listed(tmp_path, "1.png\tsea lion\n2.png\tcat\n"))
    assert named.classes == ("cat", "sea lion")


def test_windows_line_ends_and_byte_order_mark_are_no_part_of_paths(tmp_path: Path) -> None:
    source = ListFileSource(listed(tmp_path, b"\xef\xbb\xbf1.png\tx\r\n2.png\ty\r\n", "1.png", "2.png"))
    check_source(source)
    assert source.classes == ("x", "y")
    bare = ListFileSource(listed(tmp_path, b"1.png\r\n2.png\r\n"))
    assert [bare[id].name for id in range(2)] == ["1.png", "2.png"]


def test_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    prints = []
    for number, text in enumerate(["1.png\ta\n2.png\tb\n", "1.png\ta\n2.png\tb\n", "2.png\tb\n1.png\ta\n"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        prints.append(ListFileSource(listed(folder, text, "1.png", "2.png")).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_a_third_field_names_the_group_and_the_class_before_it_may_be_empty(tmp_path: Path) -> None:
    text = "1.png\tcat\tclip b\n2.png\tdog\tclip a\r\n3.png\tcat\t clip b\n"
    source = ListFileSource(listed(tmp_path, text, "1.png", "2.png", "3.png"))
    check_source(source)
    assert source.groups is not None
    assert source.groups.tolist() == [0, 1, 0]
    assert source.classes == ("cat", "dog")
    unlabelled = ListFileSource(listed(tmp_path, "1.png\t\ta\n2.png\t\tb\n"))
    check_source(unlabelled)
    assert unlabelled.labels is None
    assert unlabelled.groups is not None
    assert unlabelled.groups.tolist() == [0, 1]


def test_groups_are_part_of_the_fingerprint_only_where_given(tmp_path: Path) -> None:
    def fingerprint(text: str) -> str:
        return ListFileSource(listed(tmp_path, text, "1.png", "2.png")).fingerprint

    plain = fingerprint("1.png\ta\n2.png\tb\n")
    # What a list of the same lines had before groups were known: runs and indexes in use go on.
    assert plain == "9f6dbc536a91a13376801c8fe32dce2b"
    assert fingerprint("1.png\ta\t\n2.png\tb\t\n") == plain
    together = fingerprint("1.png\ta\tx\n2.png\tb\tx\n")
    apart = fingerprint("1.png\ta\tx\n2.png\tb\ty\n")
    assert len({plain, together, apart}) == 3
    assert fingerprint("1.png\ta\tq\n2.png\tb\tr\n") == apart


def test_a_bar_between_classes_makes_the_list_one_of_sets(tmp_path: Path) -> None:
    text = "1.png\tsea lion|cat\n2.png\tcat\n3.png\t|\n4.png\t dog | cat |cat\n5.png\tcat\n"
    source = ListFileSource(listed(tmp_path, text, *(f"{n}.png" for n in range(1, 6))))
    check_labelled_source(cast(LabelledSource, source))
    assert source.classes == ("cat", "dog", "sea lion")
    assert source.labels is None
    assert source[0].label is None
    assert source.target_kind == "labels"
    sets = [[1, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert [source.target(id).present.int().tolist() for id in range(5)] == sets
    assert source.class_counts().tolist() == sets
    numbers = ListFileSource(listed(tmp_path, "1.png\t10|9\n2.png\t9|\n"))
    assert numbers.classes == ("9", "10")


def test_a_list_of_single_classes_has_no_sets(tmp_path: Path) -> None:
    source = ListFileSource(listed(tmp_path, "1.png\tcat\n2.png\tdog\n", "1.png", "2.png"))
    assert not isinstance(source, LabelledSource)
    assert not hasattr(source, "target_kind")


def test_sets_are_part_of_the_fingerprint_and_their_order_is_not(tmp_path: Path) -> None:
    def fingerprint(text: str) -> str:
        return ListFileSource(listed(tmp_path, text, "1.png", "2.png")).fingerprint

    sets = fingerprint("1.png\ta|b\n2.png\tb\n")
    assert fingerprint("1.png\tb|a\n2.png\tb|b\n") == sets
    assert fingerprint("1.png\tb\n2.png\ta|b\n") != sets
    assert fingerprint("1.png\ta|b\tx\n2.png\tb\ty\n") not in (sets, fingerprint("1.png\ta\n2.png\tb\n"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "lists no images"),
        ("# only a comment\n", "lists no images"),
        ("1.png\ta\n2.png\n", "line 2: '2.png' has no label"),
        ("# one\n1.png\n2.png\n3.png\ta\n", "line 2: '1.png' has no label.*give every line a label"),
        ("1.png\ta\tb\tc\n", "line 1: expected a path"),
        ("1.png\ta\tx\n2.png\tb\n", "line 2: '2.png' has no group"),
        ("1.png\t\tx\n2.png\t\t \n", "line 2: '2.png' has no group"),
        ("1.png\ta\tx\n2.png\t\tx\n", "line 2: '2.png' has no label"),
        ("1.png\ta|b\n2.png\n", r"line 2: '2.png' has no label.*\| alone where it is of no class"),
        ("\tcat\n", "line 1: expected a path"),
        ("other.png\n", "none of the first 1 images exists.*relative paths start at"),
        ("1.png,cat\n", "a label follows a path after a TAB"),
    ],
)
def test_wrong_lists_are_refused_with_the_line(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(DataError, match=named):
        ListFileSource(listed(tmp_path, text, "1.png", "2.png"))


def test_a_long_list_is_held_in_few_bytes_and_never_whole(tmp_path: Path) -> None:
    count = 50_000
    lines = (f"photos/{id % 100:02d}/{id:06d}.png\tclass {id % 7}\tgroup {id % 9}\n" for id in range(count))
    path = listed(tmp_path, "".join(lines), "photos/00/000000.png")
    tracemalloc.start()
    source = ListFileSource(path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source[count - 1].name == "photos/99/049999.png"
    assert source.labels is not None
    assert source.labels[:9].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    assert held < 60 * count  # 20 characters of path, 8 for a new folder each time, two numbers of 8 bytes
    assert peak < 120 * count


def test_one_missing_image_of_many_is_left_to_the_loader(tmp_path: Path) -> None:
    assert len(ListFileSource(listed(tmp_path, "gone.png\n1.png\n", "1.png"))) == 2


def test_missing_list_and_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the list file"):
        ListFileSource(tmp_path / "none.txt")
    with pytest.raises(UnknownNameError, match="one list for each split"):
        ListFileSource(listed(tmp_path, "1.png", "1.png"), split="train")
