"""The transfer matrix end to end: what is kept, fails alone, is measured again, and is told first."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sslkit.contracts import Measurement
from sslkit.errors import ConfigError, InterruptedRunError, RunError
from sslkit.evaluation.rows import Row
from sslkit.evaluation.transfer_results import read_results
from sslkit.models.creation import create_backbone
from sslkit.models.weights import save_backbone
from sslkit.registry.lookup import loaded
from sslkit.registry.plugins import Target
from sslkit.runs.one_at_a_time import working_alone
from sslkit.runs.transfer import transfer
from sslkit.runs.transfer_bench import Bench, Job, measure_all
from sslkit.training.precision import Layout
from tests.runs.test_head_evaluation import PROTOCOL
from tests.runs.tiny_head import STOP_VARIABLE, TinyHead

KNN = "{id: knn-3, version: 1, head: knn, mode: frozen, options: {k: 3, temperature: 0.07}, source: nobody}"
SUITE = """
id: small
version: 1
resamples: 20
tasks:
  neighbours:
    head: knn
    data: shapes:count=60,size=32
    test: shapes:count=30,size=32,split=test
    protocol: {folder}/knn.yaml
    domain: drawn shapes
    synthetic: true
  trained:
    head: tiny
    data: shapes:count=48,size=32
    test: shapes:count=20,size=32,split=test
    protocol: {folder}/tiny.yaml
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run of a tiny network, the tiny head's protocol, and a suite of two tasks."""
    monkeypatch.setitem(loaded().targets["head"], "tiny", Target("tests.runs.tiny_head:TinyHead", "test"))
    monkeypatch.setattr(TinyHead, "calls", 0)
    plain = Layout("fp32", False)
    monkeypatch.setattr("sslkit.runs.head_backbone.choose_layout", lambda *_, **__: plain)
    (tmp_path / "run").mkdir()
    torch.manual_seed(7)
    save_backbone(create_backbone("test_resnet", size=32, stem="standard"), tmp_path / "run", size=32)
    (tmp_path / "tiny.yaml").write_text(PROTOCOL)
    (tmp_path / "knn.yaml").write_text(KNN)
    (tmp_path / "suite.yaml").write_text(SUITE.replace("{folder}", str(tmp_path)))
    return tmp_path


def run(place: Path, out: str = "out", **options: Any) -> Any:
    given = {"suite": place / "suite.yaml", "seeds": 2, "progress": False, "store": False, **options}
    return transfer(place / "run", out=place / out, **given)


def stamps(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.*")}


def timeless(row: Row) -> Row:
    return replace(row, seconds={})


def test_every_task_is_measured_on_every_backbone_with_every_seed(place: Path) -> None:
    before = stamps(place / "run")
    found = run(place)
    keys = [(row.task, row.subject, row.seed) for row in found.results.rows]
    assert keys == [(t, s, n) for t in ("neighbours", "trained") for s in ("run", "random") for n in (0, 1)]
    assert not found.failed
    assert stamps(place / "run") == before
    read = read_results(place / "out")
    assert read == found.results
    for row in read.rows:
        assert row.value is not None
        assert len(row.resamples) == 20
        # Seeds and backbones are judged on the same resamples, so that they can be compared one by one.
        assert row.resampling == read.of(row.task, "run")[0].resampling != ""
        assert row.test == {"neighbours": 30, "trained": 20}[row.task]
        assert row.target["domain"] == {"neighbours": "drawn shapes"}.get(row.task, row.target["domain"])
        folder = place / "out" / "tasks" / row.task / row.subject / f"seed-{row.seed}"
        assert (folder / "sheet.png").stat().st_size > 1000
        assert not (folder / "checkpoints").exists()
    hashes = {row.weights for row in read.rows if row.subject == "random"}
    assert len(hashes) == 2  # one a seed, the same for both tasks
    assert {row.parameters["loaded"] for row in read.rows if row.subject == "random"} == {0}
    assert {row.parameters["fresh"] for row in read.rows if row.subject == "run"} == {0}
    page = (place / "out" / "report.html").read_text("utf-8")
    assert "neighbours" in page
    assert "sslkit transfer" in page
    assert len((place / "leaderboard.jsonl").read_text().splitlines()) == 8
    assert "random" in found.to_text()
    assert json.dumps(found.to_dict())


def test_finished_rows_are_kept_and_new_seeds_are_added(place: Path) -> None:
    first = run(place, seeds=1)
    kept = stamps(place / "out" / "tasks")
    trained = TinyHead.calls
    second = run(place, seeds=2)
    after = stamps(place / "out" / "tasks")
    assert kept.items() <= after.items()
    assert TinyHead.calls == 2 * trained  # as many trainings again, for the new seed alone
    assert [row for row in second.results.rows if row.seed == 0] == list(first.results.rows)


def test_a_task_that_fails_is_a_row_and_only_it_is_measured_again(place: Path) -> None:
    broken = (place / "suite.yaml").read_text().replace("shapes:count=48", f"{place}/nowhere")
    (place / "broken.yaml").write_text(broken)
    found = run(place, suite=place / "broken.yaml")
    assert {row.task for row in found.failed} == {"trained"}
    assert all("nowhere" in str(row.failure) for row in found.failed)
    assert all(row.value is not None for row in found.results.rows if row.task == "neighbours")
    assert "nowhere" in (place / "out" / "report.html").read_text("utf-8")
    kept = stamps(place / "out" / "tasks" / "neighbours")
    mended = run(place)
    assert not mended.failed
    assert stamps(place / "out" / "tasks" / "neighbours") == kept


def test_a_head_that_raises_costs_its_own_row(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, raw: Any, targets: Any) -> Any:
        raise ZeroDivisionError("the head's own mistake")

    monkeypatch.setattr(TinyHead, "loss", refuse)
    found = run(place, seeds=1)
    assert [row.failure for row in found.failed] == ["ZeroDivisionError: the head's own mistake"] * 2
    trace = place / "out" / "tasks" / "trained" / "run" / "seed-0" / "failure.txt"
    assert "def refuse" not in trace.read_text()
    assert "ZeroDivisionError" in trace.read_text()
    monkeypatch.undo()


def test_a_stopped_matrix_goes_on_to_the_same_figures(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(place, "whole", seeds=1)
    monkeypatch.setattr(TinyHead, "calls", 0)
    monkeypatch.setenv(STOP_VARIABLE, "15")  # in the second of two trainings of ten steps
    with pytest.raises(InterruptedRunError, match="3 of 4 rows"):
        run(place, "parts", seeds=1)
    monkeypatch.delenv(STOP_VARIABLE)
    parts = run(place, "parts", seeds=1)
    assert TinyHead.calls < 25  # the second training went on from its checkpoint
    assert [timeless(row) for row in parts.results.rows] == [timeless(row) for row in whole.results.rows]


def test_another_suite_in_the_same_folder_is_never_mixed_in(place: Path) -> None:
    run(place, seeds=1)
    changed = KNN.replace("k: 3", "k: 5")
    (place / "knn.yaml").write_text(changed)
    found = run(place, seeds=1)
    first, second = (row for row in found.results.rows if row.task == "neighbours")
    assert first.protocol == second.protocol != ""
    assert (
        json.loads((place / "out/tasks/neighbours/run/seed-0/row.json").read_text())["protocol"]
        == first.protocol
    )


def test_two_processes_measure_what_one_does(place: Path) -> None:
    chosen = {"seeds": 1, "tasks": ["neighbours"]}
    one = run(place, "one", **chosen)
    two = run(place, "two", processes=2, **chosen)
    assert [timeless(row) for row in one.results.rows] == [timeless(row) for row in two.results.rows]


class Mortal(Bench):
    """Its process dies over one job."""

    def row(self, job: Job) -> Row:
        if job.task == "deadly":
            os._exit(7)
        if job.task == "stopped":
            raise InterruptedRunError("saved", 15)
        return Row(job.task, job.subject, job.seed, figures={"seen": 1.0})


def test_a_process_that_dies_costs_the_row_it_worked_on(tmp_path: Path) -> None:
    tasks = dict.fromkeys(("deadly", "a", "b", "c"), Measurement("knn", "nowhere"))
    bench = Mortal(tmp_path, tasks, [], 0)
    jobs = [Job(task, "run", 0) for task in ("a", "deadly", "b", "c")]
    rows = {row.task: row for row in measure_all(bench, jobs, processes=2)}
    assert rows["deadly"].failure == "its process ended with code 7"
    assert [rows[task].failure for task in ("a", "b", "c")] == [None, None, None]


def test_a_signal_in_one_process_ends_them_all(tmp_path: Path) -> None:
    tasks = dict.fromkeys(("stopped", "a", "b"), Measurement("knn", "nowhere"))
    jobs = [Job(task, "run", 0) for task in tasks]
    with pytest.raises(InterruptedRunError, match="saved") as stopped:
        list(measure_all(Mortal(tmp_path, tasks, [], 0), jobs, processes=2))
    assert stopped.value.exit_code == 128 + 15


def test_what_was_seen_before_is_told_before_any_score(place: Path, capsys: Any, tiny: list[str]) -> None:
    from sslkit.runs.pretrain import pretrain

    seen = "shapes:count=60,size=32"
    pretrain(seen, out=place / "seen", overrides=tiny, progress=False)
    text = (
        (place / "suite.yaml")
        .read_text()
        .replace("shapes:count=30,size=32,split=test", "shapes:count=30,size=32")
    )
    (place / "again.yaml").write_text(text)
    found = transfer(
        place / "seen",
        suite=place / "again.yaml",
        tasks=["neighbours"],
        seeds=1,
        out=place / "o",
        store=False,
    )
    overlap = next(one for one in found.results.overlaps if one.task == "neighbours")
    assert overlap.share == 1.0
    assert len(overlap.twins) == 30
    said = capsys.readouterr().err
    assert "100" in said.partition("transfer 1/2")[0]
    assert [one.subject for one in found.results.overlaps] == ["seen"]


def test_a_second_matrix_in_the_same_folder_is_refused_while_one_works(place: Path) -> None:
    (place / "out").mkdir()
    with working_alone(place / "out"), pytest.raises(RunError, match="another process works in"):
        run(place)
    assert run(place, tasks=["neighbours"], seeds=1).results.rows


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tasks": ["knn"]}, "has no task 'knn'; it has neighbours, trained"), ({"seeds": 0}, "at least 1")],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(
    place: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(place, **options)
    assert not (place / "out").exists()
