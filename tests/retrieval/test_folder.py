"""A folder appears whole or not at all, and nothing of the user's is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sslkit.errors import ArtifactError, ConfigError
from sslkit.retrieval.folder import read_description, write_description, written_aside

FILES = ("a.txt", "b.txt")


def write(out: Path, text: str, *, overwrite: bool = False) -> None:
    with written_aside(out, FILES, overwrite=overwrite) as folder:
        for name in FILES:
            (folder / name).write_text(text)


def fail_half_way(out: Path, error: type[BaseException]) -> None:
    with written_aside(out, FILES, overwrite=True) as folder:
        (folder / "a.txt").write_text("half")
        raise error


def write_too_late(out: Path) -> None:
    with written_aside(out, FILES, overwrite=False) as folder:
        for name in FILES:
            (folder / name).write_text("mine")
        write(out, "theirs")


def holds(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_appears_with_its_files_and_nothing_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "out", "new")
    assert holds(tmp_path / "deep") == ["out"]
    assert holds(tmp_path / "deep" / "out") == list(FILES)


def test_nothing_is_visible_before_the_end(tmp_path: Path) -> None:
    with written_aside(tmp_path / "out", FILES, overwrite=False) as folder:
        assert not (tmp_path / "out").exists()
        for name in FILES:
            (folder / name).write_text("new")
    assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing_and_the_old_folder_as_it_was(
    tmp_path: Path, error: type[BaseException]
) -> None:
    write(tmp_path / "out", "old")
    for target in ("out", "fresh"):
        with pytest.raises(error):
            fail_half_way(tmp_path / target, error)
    assert holds(tmp_path) == ["out"]
    assert (tmp_path / "out" / "a.txt").read_text() == "old"


def test_only_files_of_the_kind_are_overwritten_by_pattern(tmp_path: Path) -> None:
    kinds = ("part-*.txt",)
    with written_aside(tmp_path / "out", kinds, overwrite=False) as folder:
        (folder / "part-1.txt").write_text("one")
    with written_aside(tmp_path / "out", kinds, overwrite=True) as folder:
        (folder / "part-2.txt").write_text("two")
    assert holds(tmp_path / "out") == ["part-2.txt"]
    (tmp_path / "out" / "party.txt").write_text("theirs")
    with (
        pytest.raises(ConfigError, match=r"also holds 'party.txt'"),
        written_aside(tmp_path / "out", kinds, overwrite=True),
    ):
        pass


@pytest.mark.parametrize("atomic", [True, False])
def test_a_folder_gives_its_place_to_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool
) -> None:
    if not atomic:  # as where the system cannot exchange two names in one step
        monkeypatch.setattr("sslkit.retrieval.folder._exchanged", lambda first, second: False)
    write(tmp_path / "out", "old")
    write(tmp_path / "out", "new", overwrite=True)
    assert holds(tmp_path) == ["out"]
    assert (tmp_path / "out" / "a.txt").read_text() == "new"


@pytest.mark.skipif(sys.platform != "linux", reason="names are exchanged in one step on Linux")
def test_there_is_a_folder_at_every_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "out", "old")
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        pytest.fail(f"{path} had no name for an instant")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    write(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out" / "a.txt").read_text() == "new"


def test_an_existing_folder_is_refused_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(ConfigError, match="exists and would be lost"):
        write(tmp_path / "out", "new")
    assert (tmp_path / "out" / "a.txt").read_text() == "old"
    write(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out" / "a.txt").read_text() == "new"
    assert holds(tmp_path) == ["out"]


def test_a_folder_with_anything_else_in_it_is_never_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    (tmp_path / "out" / "thesis.tex").write_text("three years")
    with pytest.raises(ConfigError, match=r"also holds 'thesis.tex'"):
        write(tmp_path / "out", "new", overwrite=True)
    assert holds(tmp_path / "out") == ["a.txt", "b.txt", "thesis.tex"]


def test_a_file_or_link_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    write(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("file", "link"):
        with pytest.raises(ConfigError, match="no plain folder"):
            write(tmp_path / name, "new", overwrite=True)
    assert (tmp_path / "real" / "a.txt").read_text() == "old"


def test_a_folder_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists"):
        write_too_late(tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").read_text() == "theirs"


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write in"):
        write(tmp_path / "file" / "out", "new")


def test_a_killed_process_leaves_no_half_folder(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, pathlib\n"
        "from sslkit.retrieval.folder import written_aside\n"
        "with written_aside(pathlib.Path(sys.argv[1]), ('a.txt',), overwrite=True) as folder:\n"
        "    (folder / 'a.txt').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    write(tmp_path / "out", "new")
    assert (tmp_path / "out" / "a.txt").read_text() == "new"


def test_files_reach_the_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[bool] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append((tmp_path / "out").exists())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path / "out", "new")
    assert flushed == [False, False, False, True]  # both files, their folder, then the folder above


def test_a_description_comes_back_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(ArtifactError, match="no thing folder"):
        read_description(path, "thing", 1, {"count": int})
    write_description(path, {"format": 1, "count": 3})
    assert read_description(path, "thing", 1, {"count": int})["count"] == 3
    with pytest.raises(ArtifactError, match="format 1, this sslkit reads up to 0"):
        read_description(path, "thing", 0, {"count": int})
    with pytest.raises(ArtifactError, match="no valid 'count'"):
        read_description(path, "thing", 1, {"count": str})
    for damaged in ("", "{", "[]", '{"count": 3}', "\ufffd"):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(ArtifactError, match="write the thing again"):
            read_description(path, "thing", 1, {"count": int})
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_description(path, "thing", 1, {"count": int})
