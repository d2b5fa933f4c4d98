"""A run over damaged data: what cannot be read is skipped, counted and named, and the run goes on."""

import io
import shutil
import tarfile

import pytest

from sslkit.errors import DataError
from sslkit.runs.pretrain import pretrain
from sslkit.training.monitor import read_diary

SETTINGS = ("batch.size=8", "data.max_skipped=0.5", "monitor.samples=8", "monitor.k=2")


def skipped(run) -> list[str]:
    return (run / "skipped.txt").read_text(encoding="utf-8").splitlines()


def steps(run) -> int:
    return sum(record["kind"] == "step" for record in read_diary(run / "metrics.jsonl"))


@pytest.fixture
def shards(tmp_path, photos):
    """Two shards: a link and a path that leads out in the first, the second cut inside a photo."""
    folder = tmp_path / "shards"
    folder.mkdir()
    files = sorted(photos.rglob("*.jpg"))
    for number, part in enumerate((files[:10], files[10:])):
        with tarfile.open(folder / f"part-{number}.tar", "w") as tar:
            for file in part:
                tar.add(file, file.name)
            if number == 0:
                link = tarfile.TarInfo("link.jpg")
                link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(link)
                out = tarfile.TarInfo("../out.jpg")
                out.size = 3
                tar.addfile(out, io.BytesIO(b"abc"))
    second = folder / "part-1.tar"
    second.write_bytes(second.read_bytes()[: second.stat().st_size // 2])
    return folder


def test_a_truncated_shard_a_link_and_a_path_that_leads_out(tmp_path, shards, tiny) -> None:
    run = pretrain(shards, out=tmp_path / "run", overrides=[*tiny, *SETTINGS], progress=False)
    assert steps(run) == 4
    told = "\n".join(skipped(run))
    assert "link.jpg" in told
    assert "../out.jpg" in told
    assert "truncated" in told
    assert len(skipped(run)) == 3
    assert not (shards.parent / "out.jpg").exists()


def test_a_shard_that_vanishes_between_epochs(tmp_path, shards, tiny, monkeypatch) -> None:
    from sslkit.runs.journal import Journal

    look = Journal.look

    def look_and_lose(journal, position) -> None:
        look(journal, position)
        if position.epoch == 1:
            (shards / "part-1.tar").unlink()

    monkeypatch.setattr(Journal, "look", look_and_lose)
    run = pretrain(shards, out=tmp_path / "run", overrides=[*tiny, *SETTINGS], progress=False)
    assert steps(run) == 4
    assert any("part-1.tar" in line and "truncated" not in line for line in skipped(run))


def test_too_much_damage_stops_the_run_and_says_what(tmp_path, shards, tiny) -> None:
    with pytest.raises(DataError, match="could not be decoded"):
        pretrain(
            shards,
            out=tmp_path / "run",
            overrides=[*tiny, *SETTINGS, "data.max_skipped=0.01"],
            progress=False,
        )


def test_videos_that_are_cut_off_or_hold_no_picture(tmp_path, videos, tiny) -> None:
    folder = tmp_path / "clips"
    shutil.copytree(videos, folder)
    files = sorted(folder.rglob("*.mp4"))
    files[0].write_bytes(files[0].read_bytes()[:400])
    files[1].write_bytes(b"")
    overrides = [*tiny, *SETTINGS, "batch.size=4", "monitor.samples=4"]
    run = pretrain(folder, out=tmp_path / "run", overrides=overrides, progress=False)
    told = skipped(run)
    assert len(told) == 2
    assert any(files[0].name in line for line in told)
    assert any("empty" in line for line in told)
