"""The leaderboard grows line by line, and loses none."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from sslkit.errors import ConfigError
from sslkit.evaluation.leaderboard import append_rows, leaderboard_text, ranking, read_leaderboard
from sslkit.evaluation.transfer_results import Subject
from tests.evaluation.transfer_rows import failed, grid, results, row

SHARES = {"knn": {"run": 0.6, "random": 0.4}, "linear": {"run": 0.7, "random": 0.4}}


def test_every_row_with_a_figure_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "leaderboard.jsonl"
    made = grid(SHARES, seeds=2)
    lost = (failed("knn", "run", 7, "broken"), row("knn", "run", 8, 0.5, figures={"top1": None}))
    board = append_rows(path, replace(made, rows=(*made.rows, *lost)))
    assert board == read_leaderboard(path)
    assert board.damaged == ()
    assert [(one.task, one.subject, one.seed) for one in board.entries] == [
        (one.task, one.subject, one.seed) for one in made.rows
    ]
    first = board.entries[0]
    assert (
        first.backbone,
        first.head,
        first.data,
        first.protocol,
        first.seed,
        first.metric,
        first.value,
    ) == (
        "resnet18",
        "knn",
        "data of knn",
        "knn@0123456789ab",
        0,
        "top1",
        made.rows[0].value,
    )
    assert [one.untrained for one in board.entries] == [False, False, True, True] * 2
    assert len(path.read_text().splitlines()) == 8


def test_what_is_measured_again_takes_the_place_of_the_older(tmp_path: Path) -> None:
    path = tmp_path / "board.jsonl"
    append_rows(path, grid(SHARES))
    newer = row("knn", "run", 1, 0.6, figures={"top1": 0.123}, train=77)
    board = append_rows(path, results(newer))
    assert len(board.entries) == 12
    assert [one.value for one in board.entries if one.train == 77] == [0.123]
    same = append_rows(path, results(newer, replace(newer, task="knn-again")))
    assert len(same.entries) == 12  # the same measurement under another name
    for changed in (
        {"seed": 9},
        {"weights": "other"},
        {"protocol": "knn@ff"},
        {"data": "other"},
        {"head": "x"},
    ):
        count = len(append_rows(path, results(replace(newer, **changed))).entries)
        assert count == len(same.entries) + 1
        same = read_leaderboard(path)


def test_a_damaged_line_is_told_by_number_and_never_deleted(tmp_path: Path) -> None:
    path = tmp_path / "board.jsonl"
    append_rows(path, grid(SHARES, seeds=1))
    good = path.read_bytes().splitlines()
    torn, foreign = good[1][:40], b'{"caf\xe9": "\xff"}'
    newer = json.dumps({**json.loads(good[2]), "format": 2}).encode()
    wrong = json.dumps({**json.loads(good[2]), "value": "high"}).encode()
    extra = json.dumps({**json.loads(good[2]), "surprise": 1}).encode()
    damaged = [torn, foreign, newer, wrong, extra, b"[]", b"null"]
    path.write_bytes(b"\n".join([good[0], b"", *damaged, good[3]]))  # and no end of the last line
    board = read_leaderboard(path)
    assert len(board.entries) == 2
    assert [number for number, _ in board.damaged] == [3, 4, 5, 6, 7, 8, 9]
    reasons = [reason for _, reason in board.damaged]
    assert "format 1" in reasons[2]
    assert reasons[3] == "'value' is 'high'"
    again = append_rows(path, grid({"knn": {"run": 0.6}}, seeds=2))
    assert len(again.entries) == 3
    kept = path.read_bytes().split(b"\n")
    assert [line for line in kept if line in damaged] == damaged
    assert kept[-1] == b""


def _append(path: Path, number: int) -> None:
    for turn in range(10):
        made = results(row("knn", f"run-{number}", turn, 0.6, resamples=0))
        append_rows(path, made)


def test_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "board.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append, args=(path, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    board = read_leaderboard(path)
    assert len(board.entries) == 30
    assert board.damaged == ()
    assert sorted(one.name for one in tmp_path.iterdir()) == [".board.jsonl.lock", "board.jsonl"]


def test_a_failed_write_leaves_the_old_lines_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "board.jsonl"
    append_rows(path, grid(SHARES))
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match=r"cannot write leaderboard.*No space left.*choose another place"):
        append_rows(path, grid({"knn": {"other": 0.5}}))
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == [".board.jsonl.lock", "board.jsonl"]


def test_a_ranking_has_the_mean_of_all_seeds_best_first(tmp_path: Path) -> None:
    path = tmp_path / "board.jsonl"
    append_rows(path, grid(SHARES))
    append_rows(path, grid({"knn": {"imagenet": 0.8}}))
    knn, linear = ranking(path)
    assert [one.subject for one in knn.standings] == ["imagenet", "run", "random"]
    assert [one.estimate.seeds for one in knn.standings] == [3, 3, 3]
    assert (knn.head, knn.data, knn.protocol, knn.metric) == (
        "knn",
        "data of knn",
        "knn@0123456789ab",
        "top1",
    )
    assert [one.subject for one in linear.standings] == ["run", "random"]
    assert knn.standings[0].estimate.mean > knn.standings[1].estimate.mean


def test_untrained_networks_are_one_entrant_whatever_the_seeds_weights(tmp_path: Path) -> None:
    path = tmp_path / "board.jsonl"
    rows = [row("knn", "random", seed, 0.4, weights=f"start {seed}") for seed in range(3)]
    wide = [row("knn", "random", seed, 0.4, weights=f"wide start {seed}") for seed in range(3)]
    append_rows(path, results(*rows))
    append_rows(path, results(*wide, subjects=(Subject("random", "random", "random", "resnet50"),)))
    (only,) = ranking(path)
    assert sorted((one.backbone, one.estimate.seeds) for one in only.standings) == [
        ("resnet18", 3),
        ("resnet50", 3),
    ]


def test_where_less_is_better_the_least_is_first(tmp_path: Path) -> None:
    path = tmp_path / "board.jsonl"
    append_rows(path, grid({"flow": {"run": 0.2, "random": 0.9}}, higher_is_better=False))
    (only,) = ranking(path)
    assert [one.subject for one in only.standings] == ["run", "random"]
    assert "top1, lower is better, flow@" in leaderboard_text([only])


def test_a_ranking_is_of_a_task_data_or_protocol_and_never_mixes(tmp_path: Path) -> None:
    path = tmp_path / "board.jsonl"
    append_rows(path, grid(SHARES))
    append_rows(path, grid({"knn": {"late": 0.9}}, protocol="knn@ffffffffffff"))
    assert [one.protocol for one in ranking(path, task="knn")] == ["knn@0123456789ab", "knn@ffffffffffff"]
    assert [one.protocol for one in ranking(path, protocol="knn@ffffffffffff")] == ["knn@ffffffffffff"]
    assert len(ranking(path, protocol="knn")) == 2
    assert [one.tasks for one in ranking(path, data="data of linear")] == [("linear",)]
    with pytest.raises(ConfigError, match=r"has no task 'kn'; did you mean 'knn'"):
        ranking(path, task="kn")
    with pytest.raises(ConfigError, match="has no protocol"):
        ranking(path, task="linear", protocol="knn")
    with pytest.raises(ConfigError, match="there is no leaderboard"):
        ranking(tmp_path / "nowhere.jsonl")


def test_the_text_names_places_means_spreads_and_seeds(tmp_path: Path) -> None:
    path = tmp_path / "board.jsonl"
    append_rows(path, grid({"knn": {"run": 0.6, "random": 0.4}}))
    append_rows(path, results(row("knn", "late", 0, 0.9)))
    head, *lines = leaderboard_text(ranking(path)).splitlines()
    assert head == "knn: top1, knn@0123456789ab on data of knn"
    assert [line.split()[0] for line in lines] == ["1.", "2.", "3."]
    assert "1 seed " in lines[0]
    assert "±" not in lines[0]
    assert " ± " in lines[1]
    assert lines[1].endswith("3 seeds  run (resnet18)")
