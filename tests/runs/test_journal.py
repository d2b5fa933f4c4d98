"""The list of skipped samples: shared by processes, kept over a resume, however the last one ended."""

from types import SimpleNamespace

import pytest

from sslkit.contracts import Skipped
from sslkit.errors import DataError
from sslkit.runs.journal import Journal
from sslkit.runs.run_folder import RunFolder
from sslkit.training.checkpoint import Position


def journal_of(folder, *, processes: int = 4) -> Journal:
    """The journal of one of several processes, over 100 samples of which a tenth may fail."""
    parts = SimpleNamespace(
        accelerator=SimpleNamespace(is_main_process=False, num_processes=processes),
        source=range(100),
        recipe=SimpleNamespace(data=SimpleNamespace(max_skipped=0.1)),
        total_steps=1,
    )
    return Journal(parts, RunFolder(folder), Position(), progress=False)


def broken(*ids: int) -> list[Skipped]:
    return [Skipped(id, f"{id}.jpg", "damaged") for id in ids]


def test_samples_listed_before_a_resume_are_counted_once_whatever_the_processes(tmp_path) -> None:
    journal_of(tmp_path, processes=1).skipped(broken(*range(8)))
    resumed = journal_of(tmp_path)
    resumed.skipped(broken(3))  # listed already
    with pytest.raises(DataError, match="12 of 100"):  # 8 and, at this rate on each of the four, 4
        resumed.skipped(broken(50))
    assert len((tmp_path / "skipped.txt").read_text().splitlines()) == 9


def test_half_a_line_of_a_killed_process_stops_nothing(tmp_path) -> None:
    for torn in ("", "1", "12\t", "12\t12.j"):
        (tmp_path / "skipped.txt").write_text(f"7\t7.jpg\tdamaged\n{torn}")
        journal = journal_of(tmp_path, processes=1)
        journal.skipped(broken(7, 8))
        assert "8\t8.jpg\tdamaged" in (tmp_path / "skipped.txt").read_text()
        assert (tmp_path / "skipped.txt").read_text().count("7.jpg") == 1
