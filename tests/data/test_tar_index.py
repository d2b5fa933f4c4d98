"""A shard's headers tell where samples are, and damaged or hostile ones mislead nobody."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sslkit.data.tar_index import LARGEST, TarIndex, read_index
from sslkit.errors import DataError


def shard(
    path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, format: int = tarfile.GNU_FORMAT
) -> bytes:
    """Write a tar of (name, content) pairs, or of headers without content; returns its bytes."""
    with tarfile.open(path, "w", format=format) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path.read_bytes()


def indexed(content: bytes) -> TarIndex:
    return read_index(io.BytesIO(content), len(content), "s.tar")


def linked(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def label_of(index: TarIndex, position: int) -> str | None:
    code = index.labels[position]
    return None if code < 0 else index.texts[code]


THREE = [(f"{k}.{kind}", bytes([k]) * (700 * k)) for k in (1, 2, 3) for kind in ("jpg", "cls")]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_places_are_where_tarfile_itself_reads(tmp_path: Path, format: int) -> None:
    long = "d" * 60 + "/" + "n" * 80  # too long for the short field of a header
    names = [f"{long}{k}.jpg" for k in range(3)] + ["./plain.PNG", "cat/ü.webp"]
    content = shard(tmp_path / "a.tar", *((n, n.encode() * 50) for n in names), format=format)
    index = indexed(content)
    assert index.names == [*names[:3], "plain.PNG", "cat/ü.webp"]
    with tarfile.open(tmp_path / "a.tar") as oracle:
        for name, offset, size in zip(names, index.offsets, index.sizes, strict=True):
            member = oracle.extractfile(name)
            assert member is not None
            assert content[offset : offset + size] == member.read() == name.encode() * 50


def test_neighbours_of_one_key_are_one_sample_and_its_first_image_counts(tmp_path: Path) -> None:
    members = [
        ("a/1.thumbnail.jpg", b"small"),
        ("a/1.jpg", b"image"),
        ("a/1.png", b"other"),
        ("a/1.txt", b"a caption"),
        ("b/1.jpg", b"of another folder"),
        ("notes.txt", b"no image"),
        ("b/2.left.png", b"left"),
        ("b/.hidden.jpg", b""),
        ("._b/3.jpg", b""),
    ]
    content = shard(tmp_path / "a.tar", *members)
    index = indexed(content)
    assert index.names == ["a/1.jpg", "b/1.jpg", "b/2.left.png"]
    first = index.offsets[0]
    assert content[first : first + index.sizes[0]] == b"image"
    assert index.texts == []
    assert index.labels.tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([("cls", b"7\n")], "7"),
        ([("cls.txt", b" cat ")], "cat"),
        ([("json", b'{"label": 3, "cls": 4}')], "3"),
        ([("json", b'{"cls": "dog"}')], "dog"),
        ([("json", b'{"label": 3}'), ("cls", b"5")], "5"),
        ([("cls", b"5"), ("json", b'{"label": 3}')], "5"),
        ([("json", b'{"caption": "x"}')], None),
        ([("json", b'{"label": true}')], None),
        ([("json", b'{"label": 1.5}')], None),
        ([("json", b"[" * 100_000)], None),
        ([("json", b"not json")], None),
        ([("json", b'["label"]')], None),
        ([("json", rb'{"label": "\ud800"}')], "?"),
        ([("cls", b"")], None),
        ([("cls", b"\xff")], "�"),
        ([("cls", b"1" * (2**20 + 1))], None),
    ],
)
def test_labels_stand_in_cls_or_json(
    tmp_path: Path, members: list[tuple[str, bytes]], expected: str | None
) -> None:
    before = [(f"1.{kind}", content) for kind, content in members]
    for order in ([*before, ("1.jpg", b"x")], [("1.jpg", b"x"), *before]):
        assert label_of(indexed(shard(tmp_path / "a.tar", *order)), 0) == expected


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (linked("2.jpg", tarfile.SYMTYPE), "2.jpg is a symbolic link"),
        (linked("2.jpg", tarfile.LNKTYPE), "2.jpg is a hard link"),
        (linked("2.jpg", tarfile.CHRTYPE), "2.jpg is no plain file"),
        (linked("2.jpg", tarfile.FIFOTYPE), "2.jpg is no plain file"),
        (("../2.jpg", b"x"), "../2.jpg has a path that leads out"),
        (("a/../../2.jpg", b"x"), "leads out"),
        (("/tmp/2.jpg", b"x"), "/tmp/2.jpg has a path that leads out"),
    ],
)
def test_what_must_not_be_read_is_refused_and_its_neighbours_are_not(
    tmp_path: Path, member: tuple[str, bytes] | tarfile.TarInfo, why: str
) -> None:
    index = indexed(shard(tmp_path / "a.tar", ("1.jpg", b"one"), member, ("3.jpg", b"three")))
    assert len(index.names) == 3
    assert index.sizes.tolist() == [3, -1, 5]
    assert list(index.refused) == [1]
    assert index.refused[1].startswith("s.tar: ")
    assert why in index.refused[1]


def test_an_image_of_more_than_a_gigabyte_is_refused(tmp_path: Path) -> None:
    big = tarfile.TarInfo("big.jpg")
    big.size = LARGEST + 1
    small = tarfile.TarInfo("small.jpg")
    path = tmp_path / "a.tar"
    with path.open("wb") as file:  # a sparse file: two gigabytes of nothing
        file.write(big.tobuf())
        file.seek(512 + LARGEST + 512)
        file.write(small.tobuf() + bytes(1024))
    with path.open("rb") as file:
        index = read_index(file, path.stat().st_size, "s.tar")
    assert index.names == ["big.jpg", "small.jpg"]
    assert "big.jpg claims 1073741825 bytes" in index.refused[0]
    assert index.sizes.tolist() == [-1, 0]


def test_a_shard_cut_at_any_byte_gives_its_whole_samples_and_one_refused(tmp_path: Path) -> None:
    content = shard(tmp_path / "a.tar", *THREE)
    whole = indexed(content)
    assert whole.refused == {}
    ends = {f"{k}.{kind}": int(place) for k, kind, place in _ends(tmp_path / "a.tar")}
    for length in [*range(1, len(content), 97), *ends.values(), *(end - 1 for end in ends.values())]:
        cut = content[:length]
        if length < 512:
            with pytest.raises(DataError, match="no tar archive"):
                indexed(cut)
            continue
        index = indexed(cut)
        sound = [k for k in range(len(index.names)) if k not in index.refused]
        # A sample is used only if its image and its label are there; none of those is lost.
        complete = [k for k in (1, 2, 3) if max(ends[f"{k}.jpg"], ends[f"{k}.cls"]) <= length]
        assert len(complete) <= len(sound) <= len(complete) + 1
        for k in sound:
            assert index.offsets[k] + index.sizes[k] <= length
            assert (index.names[k], index.offsets[k]) == (whole.names[k], whole.offsets[k])
        assert list(index.refused) in ([], [len(index.names) - 1])
        inside = any(end - size < length < end for end, size in _spans(tmp_path / "a.tar"))
        if inside:
            assert len(index.refused) == 1, length
            assert "truncated" in index.refused[len(index.names) - 1]


def _ends(path: Path) -> list[tuple[int, str, int]]:
    with tarfile.open(path) as archive:
        return [(int(m.name[0]), m.name[2:], m.offset_data + m.size) for m in archive]


def _spans(path: Path) -> list[tuple[int, int]]:
    with tarfile.open(path) as archive:
        return [(m.offset_data + m.size, m.size) for m in archive]


def test_after_a_damaged_header_one_sample_says_that_the_rest_is_lost(tmp_path: Path) -> None:
    content = bytearray(shard(tmp_path / "a.tar", *((f"{k}.jpg", b"x" * 600) for k in range(4))))
    at = 2 * (512 + 1024)
    content[at : at + 100] = b"\x07" * 100
    index = indexed(bytes(content))
    assert index.names == ["0.jpg", "1.jpg", "(what follows)"]
    assert list(index.refused) == [2]
    assert f"damaged at byte {at}" in index.refused[2]


def test_a_sample_whose_label_is_lost_with_the_header_is_the_refused_one(tmp_path: Path) -> None:
    content = bytearray(shard(tmp_path / "a.tar", *THREE))
    at = bytes(content).index(b"3.cls\0")
    content[at + 148 : at + 156] = b"77777777"  # the checksum
    index = indexed(bytes(content))
    assert index.names == ["1.jpg", "2.jpg", "3.jpg"]
    assert list(index.refused) == [2]
    assert "3.jpg is lost: the shard is damaged" in index.refused[2]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n" + bytes(2000), "no tar archive"),
        (b"x" * 4096, "no tar archive"),
        (gzip.compress(b"x" * 99, mtime=0), r"compressed \(gzip\).*unpack it to a plain tar"),
        (bz2.compress(b"x" * 99), "bzip2"),
        (lzma.compress(b"x" * 99), "xz"),
        (b"PK\x03\x04" + bytes(600), "zip"),
    ],
)
def test_what_is_no_plain_tar_is_refused_with_the_mend(content: bytes, why: str) -> None:
    with pytest.raises(DataError, match=why):
        indexed(content)


def test_a_shard_without_the_mark_of_its_end_lost_nothing(tmp_path: Path) -> None:
    content = shard(tmp_path / "a.tar", ("1.jpg", b"one"), ("2.jpg", b"two"))
    index = indexed(content[: 2 * 1024])
    assert index.names == ["1.jpg", "2.jpg"]
    assert index.refused == {}
    index = indexed(content[: 2 * 1024 - 1])  # no writer leaves out padding
    assert index.names == ["1.jpg", "2.jpg", "(what follows)"]
    assert list(index.refused) == [2]


def test_a_shard_that_ends_before_a_label_refuses_its_sample(tmp_path: Path) -> None:
    content = shard(tmp_path / "a.tar", *THREE)
    for cut in (content.index(b"3.cls\0"), content.index(b"3.cls\0") - 1, content.index(b"3.cls\0") + 9):
        index = indexed(content[:cut])
        assert index.names == ["1.jpg", "2.jpg", "3.jpg"]
        assert list(index.refused) == [2]
        assert "3.jpg is lost: the shard is truncated" in index.refused[2]


def _forged(size: bytes, kind: bytes = b"0") -> Callable[[Path], bytes]:
    """A shard of a sound sample, then a header with this size field and a right checksum."""

    def write(path: Path) -> bytes:
        content = shard(path, ("1.jpg", b"one"))[:1024]
        header = bytearray(tarfile.TarInfo("2.jpg").tobuf())
        header[124:136] = size
        header[156:157] = kind
        header[148:156] = b"        "
        header[148:156] = b"%06o\0 " % sum(header)
        return content + bytes(header) + bytes(4096)

    return write


class Greedy(io.BytesIO):
    """Notes the largest read asked for; a negative one is of the whole file."""

    largest = 0

    def read(self, size: int | None = -1) -> bytes:
        self.largest = max(self.largest, 2**63 if size is None or size < 0 else size)
        return super().read(size)


@pytest.mark.parametrize(
    "write",
    [
        _forged(b"\xff" * 11 + b"\x00"),  # minus 256 in base 256: back to the sample before, for ever
        _forged((2**62 | 1 << 95).to_bytes(12, "big")),
        _forged(b"77777777777\0"),
        _forged(b"77777777777\0", b"L"),  # a long name of 8 GiB
        _forged(b"\xff" * 12, b"L"),
        _forged(b"77777777777\0", b"x"),
        _forged(b"\xff" * 12, b"x"),
        _forged(b"00000000000\0", b"S"),
        _forged(b"00000000000\0", b"L"),
    ],
)
def test_forged_sizes_end_the_shard_and_not_the_run(tmp_path: Path, write: Callable[[Path], bytes]) -> None:
    content = write(tmp_path / "a.tar")
    file = Greedy(content)
    index = read_index(file, len(content), "s.tar")
    assert file.largest <= 2**20  # what a header asks for is not read into memory
    assert index.names[0] == "1.jpg"
    assert set(index.refused) == set(range(1, len(index.names)))


def test_a_name_with_a_nul_in_it_is_still_a_name(tmp_path: Path) -> None:
    info = tarfile.TarInfo("1.jpg")
    info.pax_headers = {"path": "a\0b.jpg"}
    index = indexed(shard(tmp_path / "a.tar", info, format=tarfile.PAX_FORMAT))
    assert index.names == ["a?b.jpg"]


def test_any_bytes_give_an_index_or_a_data_error(tmp_path: Path) -> None:
    sound = shard(tmp_path / "a.tar", *THREE, ("n" * 150 + ".jpg", b"long"), format=tarfile.PAX_FORMAT)
    generator = random.Random(0)
    for _ in range(300):
        content = bytearray(sound)
        for _ in range(generator.randint(1, 6)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        try:
            index = indexed(bytes(content))
        except DataError:
            continue
        assert all(o + s <= len(content) for o, s in zip(index.offsets, index.sizes, strict=True))
        assert len(index.names) == len(index.sizes) == len(index.labels) == len(index.offsets)
