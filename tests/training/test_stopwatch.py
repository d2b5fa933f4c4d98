import time

import pytest
import torch

from sslkit.training.stopwatch import OUTSIDE, PHASES, Stopwatch, told

CPU = torch.device("cpu")


def test_phases_add_up_to_all_the_time_that_passed() -> None:
    began = time.perf_counter()
    watch = Stopwatch(CPU)
    with watch.phase("views"):
        time.sleep(0.02)
    time.sleep(0.01)
    taken = watch.take()
    passed = time.perf_counter() - began
    assert list(taken) == list(PHASES)
    assert sum(taken.values()) == pytest.approx(passed, abs=0.005)
    assert taken["views"] >= 0.02
    assert taken["other"] >= 0.01


def test_a_phase_inside_another_stops_the_outer_one() -> None:
    watch = Stopwatch(CPU)
    with watch.phase("forward"):
        time.sleep(0.01)
        with watch.phase("mining"):
            time.sleep(0.05)
        time.sleep(0.01)
    taken = watch.take()
    assert taken["mining"] >= 0.05
    assert 0.02 <= taken["forward"] < 0.05


def test_taking_begins_anew() -> None:
    watch = Stopwatch(CPU)
    with watch.phase("copy"):
        time.sleep(0.01)
    watch.take()
    assert watch.take()["copy"] == 0.0


def test_an_error_inside_a_phase_leaves_the_outer_one_running() -> None:
    watch = Stopwatch(CPU)
    with pytest.raises(ValueError, match="lost"), watch.phase("views"), watch.phase("copy"):
        raise ValueError("lost")
    time.sleep(0.01)
    assert watch.take()["other"] >= 0.01


def test_a_phase_nobody_knows_is_refused() -> None:
    with pytest.raises(KeyError, match="'view' is no phase"), Stopwatch(CPU).phase("view"):
        pass


def test_the_split_is_told_in_percent() -> None:
    assert told({"wait": 0.0, "views": 1.0, "forward": 3.0, "logging": 0.001}) == "views 25% · forward 75%"
    assert told({"wait": 0.0}) == ""


def test_time_outside_is_in_no_phase() -> None:
    watch = Stopwatch(CPU)
    with watch.phase(OUTSIDE):
        time.sleep(0.05)
    taken = watch.take()
    assert list(taken) == list(PHASES)
    assert sum(taken.values()) < 0.05
