"""Several transfer matrices as one: what stands beside each other, and what may not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sslkit.errors import ArtifactError, ConfigError
from sslkit.runs.compare import compare
from tests.runs.made_results import RUN, made, seen

TWO = {"knn": ("top1", 0.4), "segmentation": ("miou", 0.3)}


def folder(path: Path, **kinds: object) -> Path:
    """A folder as `sslkit transfer` leaves it."""
    made(**{"tasks": TWO, **kinds}).write(path)  # type: ignore[arg-type]
    return path


def test_backbones_of_two_folders_stand_in_one_matrix(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", overlaps=(seen(),))
    two = folder(tmp_path / "two", subjects=("resnet18.a1_in1k", "random"))
    found = compare([one, two])
    assert found.matrix.subjects == (RUN, "random", "resnet18.a1_in1k")
    assert found.report is None
    text = found.to_text()
    assert text.startswith(f"warning: {RUN} was pretrained on 12.5% of the test samples of knn")
    for sentence in found.matrix.answer():
        assert sentence in text
    told = json.loads(json.dumps(found.to_dict()))
    assert told["folders"] == [str(one), str(two)]
    assert told["metrics"]["knn"] == {"metric": "top1", "higher_is_better": True}
    assert told["cells"]["knn"][RUN]["verdicts"]["random"] == "better"
    assert told["cells"]["knn"][RUN]["estimate"]["mean"] == pytest.approx(0.464)


def test_one_folder_alone_is_shown_and_its_file_is_as_good(tmp_path: Path) -> None:
    one = folder(tmp_path / "one")
    assert compare([one]).to_text() == compare([one / "results.json"]).to_text()


def test_the_page_shows_all_of_them(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", overlaps=(seen(),))
    two = folder(tmp_path / "two", subjects=("resnet18.a1_in1k", "random"))
    found = compare([one, two], out=tmp_path / "new" / "compared.html")
    assert found.report == tmp_path / "new" / "compared.html"
    assert f"Open {found.report} in a browser." in found.to_text()
    html = found.report.read_text("utf-8")
    assert html.index("<b>Warning</b>") < html.index("The matrix") < html.index("Differences")
    for place in (one, two):
        assert str(place) in html
    assert f"{RUN} better than random" in html
    assert "resnet18.a1_in1k better than random" in html
    with pytest.raises(ConfigError, match="is a folder; give a file"):
        compare([one], out=tmp_path)


def test_other_protocols_are_refused_unless_forced_and_then_marked(tmp_path: Path) -> None:
    one = folder(tmp_path / "one")
    two = folder(tmp_path / "two", subjects=("resnet18.a1_in1k", "random"), protocol="ffffffffffff")
    with pytest.raises(ConfigError, match=r"knn-1@0123456789ab.*knn-1@ffffffffffff.*--force"):
        compare([one, two])
    page = tmp_path / "page.html"
    assert "compared across" in compare([one, two], force=True, out=page).to_text()
    assert "compared across" in page.read_text("utf-8")


def test_a_pretraining_run_is_told_what_to_do_first(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").touch()
    with pytest.raises(ConfigError, match=f"`sslkit transfer {run} --out DIR`, then `sslkit report DIR`"):
        compare([run])
    with pytest.raises(ArtifactError, match="does not hold the results"):
        compare([tmp_path])


def test_no_folder_or_one_twice_is_refused(tmp_path: Path) -> None:
    one = folder(tmp_path / "one")
    with pytest.raises(ConfigError, match="is given twice"):
        compare([one, tmp_path / "one" / ".." / "one"])
    with pytest.raises(ConfigError, match="no folder"):
        compare([])


def test_rows_go_into_a_leaderboard_once(tmp_path: Path) -> None:
    one = folder(tmp_path / "one")
    board = tmp_path / "board.jsonl"
    first = compare([one], leaderboard=board)
    assert len(board.read_text().splitlines()) == 2 * 2 * 3
    board.write_text("{damaged\n" + board.read_text())
    again = compare([one], leaderboard=board)
    assert len(board.read_text().splitlines()) == 2 * 2 * 3 + 1
    assert [len(one.standings) for one in first.rankings] == [2, 2]
    assert first.rankings[0].standings[0].subject == RUN
    assert f"1. .464 ± .004    3 seeds  {RUN} (resnet18, stem standard)" in again.to_text()
    assert "line 1 of the leaderboard cannot be read" in again.to_text()
    assert json.loads(json.dumps(first.to_dict()))["rankings"][0]["metric"] == "top1"
