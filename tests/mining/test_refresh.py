"""The refresher: takeovers at fixed steps, whatever the builds do, and the same again after a resume."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.errors import CheckpointError, ConfigError
from sslkit.mining.bank import Bank
from sslkit.mining.refresh import Refresher
from sslkit.neighbours import corpus
from sslkit.neighbours.corpus import CorpusIndex

COUNT, DIM = 60, 8


def rows(count: int = COUNT, seed: int = 0, dim: int = DIM) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def filled_bank(count: int = COUNT, seed: int = 0) -> Bank:
    bank = Bank(count, DIM)
    bank.write(torch.arange(count), rows(count, seed), 0)
    return bank


def write_some(bank: Bank, step: int) -> None:
    """What a training step does to the bank."""
    chosen = torch.arange(step * 7, step * 7 + 9) % len(bank)
    bank.write(chosen, rows(9, seed=100 + step), step)


def found(refresher: Refresher) -> tuple[list[list[int]], list[list[float]]] | None:
    """What the current index answers to fixed queries."""
    if refresher.current is None:
        return None
    rows_, similarities = refresher.current[0].search(rows(5, seed=9).numpy(), 4)
    return rows_.tolist(), similarities.tolist()


def takeovers(refresher: Refresher, steps: int) -> dict[int, int]:
    """Step of each takeover, and the age of the new index then."""
    seen, last = {}, None
    for step in range(steps):
        refresher.before_step(step)
        write_some(refresher.bank, step)
        if refresher.current is not None and refresher.current[0] is not last:
            last = refresher.current[0]
            seen[step] = int(refresher.figures()["refresh_age"])
    return seen


@pytest.mark.parametrize(
    ("every", "lag", "start", "expected"),
    [
        (5, 2, 3, {5: 2, 10: 2, 15: 2}),
        (4, 4, 0, {4: 4, 8: 4, 12: 4, 16: 4}),
        (6, 0, 2, {2: 0, 8: 0, 14: 0}),
        (1, 1, 15, {16: 1, 17: 1}),
    ],
)
def test_an_index_takes_over_exactly_lag_steps_after_its_snapshot(
    every: int, lag: int, start: int, expected: dict[int, int]
) -> None:
    assert takeovers(Refresher(filled_bank(), every=every, lag=lag, start=start), 18) == expected


def test_the_new_index_knows_the_bank_of_its_snapshot_and_nothing_later() -> None:
    refresher = Refresher(filled_bank(), every=10, lag=3, start=1)
    refresher.before_step(0)
    refresher.before_step(1)
    before = refresher.bank.snapshot().vectors
    refresher.bank.write(torch.arange(COUNT), rows(seed=1), 1)
    for step in (2, 3, 4):
        assert refresher.current is None
        refresher.before_step(step)
    assert refresher.current is not None
    index, snapshot = refresher.current
    np.testing.assert_array_equal(snapshot.vectors, before)
    assert index.search(before.astype(np.float32), 1)[0][:, 0].tolist() == list(range(COUNT))


def slow_build(monkeypatch: pytest.MonkeyPatch, hold: threading.Event) -> None:
    build = CorpusIndex.build

    def slow(*args: Any, **options: Any) -> CorpusIndex:
        hold.wait(5)
        return build(*args, **options)

    monkeypatch.setattr(CorpusIndex, "build", slow)


def test_a_late_build_is_waited_for_and_the_wait_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = threading.Event()
    slow_build(monkeypatch, hold)
    refresher = Refresher(filled_bank(), every=10, lag=2, start=0)
    refresher.before_step(0)
    refresher.before_step(1)
    assert refresher.current is None
    assert refresher.building
    threading.Timer(0.2, hold.set).start()
    refresher.before_step(2)
    assert refresher.current is not None
    assert not refresher.building
    assert refresher.figures()["refresh_wait_seconds"] >= 0.1
    (line,) = refresher.reports
    assert "begun at step 0 was not ready at step 2; training waited 0." in line


def test_a_build_in_time_is_not_spoken_of() -> None:
    refresher = Refresher(filled_bank(), every=10, lag=2, start=0)
    refresher.before_step(0)
    refresher.close()
    refresher.before_step(2)
    assert refresher.reports == []
    assert refresher.figures()["refresh_wait_seconds"] < 0.1


def test_training_goes_on_while_an_index_is_built_and_the_old_one_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refresher = Refresher(filled_bank(), every=4, lag=2, start=0)
    for step in range(3):
        refresher.before_step(step)
    answers = found(refresher)
    hold = threading.Event()
    slow_build(monkeypatch, hold)
    refresher.bank.write(torch.arange(COUNT), rows(seed=1), 3)
    for step in (3, 4, 5):
        refresher.before_step(step)
        assert found(refresher) == answers
    hold.set()
    refresher.before_step(6)
    assert found(refresher) != answers


def test_a_build_that_fails_is_reported_and_the_old_index_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    refresher = Refresher(filled_bank(), every=4, lag=1, start=0)
    refresher.before_step(0)
    refresher.before_step(1)
    refresher.reports.clear()
    answers, build = found(refresher), CorpusIndex.build

    def broken(*_: Any, **__: Any) -> CorpusIndex:
        raise MemoryError("no room")

    monkeypatch.setattr(CorpusIndex, "build", broken)
    refresher.before_step(4)
    refresher.close()
    refresher.before_step(5)
    assert refresher.reports == [
        "the index begun at step 4 failed, the one before it stays: MemoryError: no room"
    ]
    assert found(refresher) == answers
    assert refresher.figures()["refresh_age"] == 5
    monkeypatch.setattr(CorpusIndex, "build", build)
    refresher.bank.write(torch.arange(COUNT), rows(seed=1), 5)
    refresher.before_step(8)
    refresher.before_step(9)
    assert found(refresher) != answers


def test_lists_that_cannot_be_learnt_are_reported_with_the_number_needed() -> None:
    refresher = Refresher(filled_bank(), every=4, lag=0, start=0, kind="ivf")
    refresher.before_step(0)
    assert refresher.current is None
    (line,) = refresher.reports
    assert "begun at step 0 failed, there is none yet: ConfigError" in line
    assert "60 vectors; it needs at least 624" in line


@pytest.mark.parametrize("written", [0, 1])
def test_a_bank_with_too_few_slots_filled_is_skipped_and_tried_again(written: int) -> None:
    refresher = Refresher(Bank(COUNT, DIM), every=3, lag=1, start=2)
    refresher.bank.write(torch.arange(written), rows(written), 0)
    for step in range(4):
        refresher.before_step(step)
    assert refresher.reports == [
        f"no index begun at step 2: {written} of 60 slots of the bank are filled, 2 are needed; "
        "the next try is at step 5"
    ]
    assert refresher.current is None
    refresher.bank.write(torch.arange(9), rows(9), 3)
    for step in (4, 5, 6):
        refresher.before_step(step)
    assert refresher.current is not None


def test_a_fallback_of_the_index_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "FLAT_ROWS", 50)
    bank = Bank(COUNT, DIM)
    bank.write(torch.arange(9), rows(9), 0)
    refresher = Refresher(bank, every=4, lag=0, start=0)
    refresher.before_step(0)
    assert any("9 of 60 vectors are there" in line for line in refresher.reports)


# ------------------------------------------------------------------------------------------ staleness


def overlap(old: NDArray[Any], new: NDArray[Any]) -> float:
    """Share of the ten nearest others that both hold, in plain loops; every row is a probe."""
    shares = []
    for probe in range(len(old)):
        nearest = []
        for vectors in (old.astype(np.float64), new.astype(np.float64)):
            near = [(-float(vectors[probe] @ v), i) for i, v in enumerate(vectors) if i != probe]
            nearest.append({i for _, i in sorted(near)[:10]})
        shares.append(len(nearest[0] & nearest[1]) / 10)
    return sum(shares) / len(shares)


@pytest.mark.parametrize("drift", [0.0, 0.1, 0.5, 50.0])
def test_staleness_is_the_share_of_nearest_neighbours_that_changed(drift: float) -> None:
    refresher = Refresher(filled_bank(), every=2, lag=1, start=0)
    refresher.before_step(0)
    refresher.before_step(1)
    assert refresher.staleness is None
    assert "staleness" not in refresher.figures()
    old = refresher.bank.snapshot().vectors
    refresher.bank.write(torch.arange(COUNT), rows() + drift * rows(seed=1), 1)
    new = refresher.bank.snapshot().vectors
    refresher.before_step(2)
    refresher.before_step(3)
    assert refresher.staleness == pytest.approx(1 - overlap(old, new), abs=2e-3)
    assert refresher.figures()["staleness"] == refresher.staleness
    assert (refresher.staleness == 0) == (drift == 0)


def test_staleness_asks_256_samples_that_both_snapshots_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = Bank(1000, DIM)
    bank.write(torch.arange(0, 600), rows(600), 0)
    refresher = Refresher(bank, every=2, lag=0, start=0)
    refresher.before_step(0)
    asked: list[int] = []
    search = CorpusIndex.search

    def counting(self: CorpusIndex, queries: NDArray[np.float32], k: int) -> Any:
        asked.append(len(queries))
        return search(self, queries, k)

    monkeypatch.setattr(CorpusIndex, "search", counting)
    bank.write(torch.arange(500, 1000), rows(500, seed=1), 1)
    refresher.before_step(2)
    assert asked == [256, 256]
    assert refresher.staleness is not None
    assert 0 < refresher.staleness < 1


def drifting(refresher: Refresher, steps: int, drift: float) -> list[int]:
    """The steps of the snapshots while all rows of the bank lie `drift` from home, elsewhere in each step."""
    begun = []
    for step in range(steps):
        refresher.before_step(step)
        pending = refresher.state_dict(step)["pending"]
        if pending is not None and pending["begun"] == step:
            begun.append(step)
        refresher.bank.write(torch.arange(COUNT), rows() + drift * rows(seed=200 + step), step)
    return begun


def test_auto_refreshes_more_often_when_neighbours_change_and_less_when_they_stay() -> None:
    still = Refresher(filled_bank(), every="auto", initial=4, lag=1, start=0)
    assert drifting(still, 70, 0.0) == [0, 4, 12, 28, 60]
    assert still.figures()["refresh_every"] == 32
    wild = Refresher(filled_bank(), every="auto", initial=16, lag=1, start=0)
    assert drifting(wild, 40, 50.0) == [0, 16, 24, 28, 30, 32, 34, 36, 38]
    assert wild.figures()["refresh_every"] == 2


def test_auto_stays_within_a_factor_of_eight_and_never_below_the_lag() -> None:
    still = Refresher(filled_bank(), every="auto", initial=1, lag=0, start=0)
    for step in range(60):
        still.before_step(step)
    assert still.every == 8
    wild = Refresher(filled_bank(), every="auto", initial=16, lag=5, start=0)
    drifting(wild, 60, 50.0)
    assert wild.every == 5
    assert "refresh_every" not in Refresher(filled_bank(), every=4, lag=0, start=0).figures()


# --------------------------------------------------------------------------------------------- resume


def journey(
    folder: Path, *, stop: int | None, every: Any = 5, lag: int = 3, kind: Any = "auto", count: int = COUNT
) -> list[Any]:
    """Answers and staleness at every step of 24; stopped after `stop` steps and resumed from a file."""

    def fresh() -> Refresher:
        return Refresher(filled_bank(count), every=every, lag=lag, start=2, kind=kind, initial=5)

    refresher, seen = fresh(), []
    for step in range(24):
        if step == stop:
            torch.save(
                {"bank": refresher.bank.state_dict(), "refresher": refresher.state_dict(step)}, folder / "s"
            )
            refresher.close()
            state = torch.load(folder / "s", weights_only=True)
            refresher = fresh()
            refresher.bank.load_state_dict(state["bank"])
            refresher.load_state_dict(state["refresher"])
        refresher.before_step(step)
        age = refresher.figures().get("refresh_age")
        seen.append((found(refresher), refresher.staleness, refresher.every, age))
        write_some(refresher.bank, step)
    refresher.close()
    return seen


@pytest.mark.parametrize("every", [5, "auto"])
def test_interrupted_anywhere_is_uninterrupted_to_the_last_bit(tmp_path: Path, every: Any) -> None:
    whole = journey(tmp_path, stop=None, every=every)
    assert len({str(answers) for answers, *_ in whole}) >= 4
    for stop in range(1, 24):
        assert journey(tmp_path, stop=stop, every=every) == whole


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_interrupted_between_snapshot_and_takeover_is_uninterrupted_for_every_kind(
    tmp_path: Path, kind: Any
) -> None:
    whole = journey(tmp_path, stop=None, kind=kind, count=700)
    for stop in (3, 8, 9, 11):  # before the first index stands, and between later snapshots and takeovers
        assert journey(tmp_path, stop=stop, kind=kind, count=700) == whole


def test_the_snapshots_of_a_mapped_bank_are_in_the_state(tmp_path: Path) -> None:
    bank = Bank(COUNT, DIM, mapped=tmp_path / "bank.f16")
    bank.write(torch.arange(COUNT), rows(), 0)
    refresher = Refresher(bank, every=5, lag=0, start=0)
    refresher.before_step(0)
    torch.save(refresher.state_dict(1), tmp_path / "s")
    resumed = Refresher(Bank(COUNT, DIM, mapped=tmp_path / "other.f16"), every=5, lag=0, start=0)
    resumed.load_state_dict(torch.load(tmp_path / "s", weights_only=True))
    assert found(resumed) == found(refresher) is not None


def test_a_state_before_the_first_snapshot_is_resumed(tmp_path: Path) -> None:
    refresher = Refresher(filled_bank(), every=5, lag=1, start=3)
    refresher.before_step(0)
    torch.save(refresher.state_dict(1), tmp_path / "s")
    resumed = Refresher(filled_bank(), every=5, lag=1, start=3)
    resumed.load_state_dict(torch.load(tmp_path / "s", weights_only=True))
    assert resumed.current is None
    assert takeovers(resumed, 10) == {4: 1, 9: 1}


def test_an_index_that_cannot_be_built_again_is_reported_at_the_resume(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refresher = Refresher(filled_bank(), every=5, lag=0, start=0)
    refresher.before_step(0)

    def broken(*_: Any, **__: Any) -> CorpusIndex:
        raise MemoryError("no room")

    monkeypatch.setattr(CorpusIndex, "build", broken)
    resumed = Refresher(filled_bank(), every=5, lag=0, start=0)
    resumed.load_state_dict(refresher.state_dict(1))
    assert resumed.current is None
    assert resumed.reports == ["the index of step 0 could not be built again: MemoryError: no room"]


def test_a_snapshot_of_another_size_is_refused() -> None:
    refresher = Refresher(filled_bank(), every=5, lag=0, start=0)
    refresher.before_step(0)
    with pytest.raises(CheckpointError, match=r"\(60, 8\), this run needs \(61, 8\)"):
        Refresher(Bank(61, DIM), every=5, lag=0, start=0).load_state_dict(refresher.state_dict(1))


# -------------------------------------------------------------------------------- the building thread


def test_the_build_runs_in_another_thread_and_the_main_one_keeps_its_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    build = CorpusIndex.build

    def watched(*args: Any, **options: Any) -> CorpusIndex:
        seen.append((threading.current_thread(), options["threads"]))
        return build(*args, **options)

    monkeypatch.setattr(CorpusIndex, "build", watched)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        refresher = Refresher(filled_bank(700), every=4, lag=1, start=0, kind="ivf")
        refresher.before_step(0)
        assert torch.get_num_threads() == 2
        refresher.before_step(1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    ((thread, used),) = seen
    assert thread is not threading.main_thread()
    assert used == 1


def test_close_waits_for_the_build_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = threading.Event()
    slow_build(monkeypatch, hold)
    refresher = Refresher(filled_bank(), every=10, lag=5, start=0)
    refresher.before_step(0)
    assert any(thread.name == "sslkit-refresh" for thread in threading.enumerate())
    threading.Timer(0.1, hold.set).start()
    refresher.close()
    assert not any(thread.name == "sslkit-refresh" for thread in threading.enumerate())
    refresher.close()
    began = time.perf_counter()
    Refresher(filled_bank(), every=10, lag=5, start=0).close()
    assert time.perf_counter() - began < 1


def test_figures_tell_how_full_the_bank_is_before_any_index_stands() -> None:
    bank = Bank(COUNT, DIM)
    bank.write(torch.arange(15), rows(15), 0)
    refresher = Refresher(bank, every=4, lag=0, start=7)
    assert refresher.figures() == {"bank_filled": 0.25}
    refresher.before_step(7)
    refresher.before_step(9)
    figures = refresher.figures()
    assert figures["refresh_age"] == 2
    assert figures["refresh_seconds"] > 0
    assert all(isinstance(figure, float) for figure in figures.values())


@pytest.mark.parametrize(
    ("every", "lag", "start"), [(0, 0, 0), (5, 6, 0), (5, -1, 0), (5, 1, -1), ("auto", 2000, 0)]
)
def test_counts_that_cannot_work_together_are_refused(every: Any, lag: int, start: int) -> None:
    with pytest.raises(ConfigError, match=r"mining.refresh.*at least 1 and the lag"):
        Refresher(filled_bank(), every=every, lag=lag, start=start)
