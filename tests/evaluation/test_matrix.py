"""The matrix says what was found, in words a reader cannot misread."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sslkit.errors import ConfigError
from sslkit.evaluation.matrix import Matrix, build_matrix, number
from sslkit.evaluation.statistics import difference, holm
from sslkit.evaluation.transfer_results import Subject, TransferResults
from tests.evaluation.transfer_rows import failed, grid, results, row

SHARES = {
    "knn": {"run": 0.7, "random": 0.4, "imagenet": 0.9},
    "linear": {"run": 0.6, "random": 0.6, "imagenet": 0.9},
    "few-shot": {"run": 0.4, "random": 0.7, "imagenet": 0.4},
}


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return build_matrix([grid(SHARES)])


def test_every_task_has_a_cell_for_every_subject(matrix: Matrix) -> None:
    assert matrix.tasks == ("knn", "linear", "few-shot")
    assert matrix.subjects == ("run", "random", "imagenet")
    assert set(matrix.cells) == {(task, subject) for task in matrix.tasks for subject in matrix.subjects}
    assert matrix.metrics == dict.fromkeys(SHARES, ("top1", True))
    assert matrix.baselines == {"run": "random", "imagenet": "random"}
    assert matrix.asked == ("run",)


def test_a_cell_has_the_differences_to_all_others_and_both_sides_agree(matrix: Matrix) -> None:
    cell = matrix.cells["knn", "run"]
    assert cell.verdicts == {"random": "better", "imagenet": "worse"}
    assert matrix.cells["knn", "random"].verdicts == {"run": "worse", "imagenet": "worse"}
    assert matrix.cells["linear", "run"].verdicts["random"] == "no evidence of a difference"
    assert matrix.cells["few-shot", "run"].verdicts["random"] == "worse"
    mirrored = matrix.cells["knn", "random"].against["run"]
    assert (cell.against["random"].low, cell.against["random"].high) == (-mirrored.high, -mirrored.low)
    rows = [[row("knn", name, seed, SHARES["knn"][name]) for seed in range(3)] for name in ("run", "random")]
    a, b = (([one.figures["top1"] or 0 for one in of], [one.resamples for one in of]) for of in rows)
    assert cell.against["random"].low == difference(*a, *b, paired=True).low
    assert cell.test == 200
    assert cell.metric == "top1"


def test_p_values_are_adjusted_over_the_tasks_of_a_pair(matrix: Matrix) -> None:
    expected = holm([matrix.cells[task, "run"].against["random"].p for task in matrix.tasks])
    assert [matrix.cells[task, "run"].adjusted["random"] for task in matrix.tasks] == expected
    assert set(matrix.cells["knn", "run"].adjusted) == {"random", "imagenet"}


def test_the_answer_counts_and_names_and_keeps_its_doubts(matrix: Matrix) -> None:
    assert matrix.answer() == [
        "Pretraining helped on 1 of 3 tasks, hurt on 1 (few-shot); on 1 (linear) there is no evidence of a "
        "difference. Adjusted for 3 comparisons (Holm), 2 of 2 differences stand.",
        "Against imagenet: better on none of 3 tasks, worse on 2 (knn, linear); on 1 (few-shot) there is no "
        "evidence of a difference. Adjusted for 3 comparisons (Holm), 2 of 2 differences stand.",
        "Each verdict is at 95 %: of 3 tasks without any difference, about 0.15 would seem to have one.",
        "Intervals hold the chance of seeds and of test samples, not of another pretraining.",
    ]


def test_a_difference_that_does_not_stand_the_number_of_comparisons_is_counted(matrix: Matrix) -> None:
    cells = dict(matrix.cells)
    for task, p in (("knn", 0.2), ("few-shot", 0.04)):
        cells[task, "run"] = replace(cells[task, "run"], adjusted={"random": p, "imagenet": 0.2})
    said = replace(matrix, cells=cells).answer()
    assert said[0].endswith("Adjusted for 3 comparisons (Holm), 1 of 2 differences stands.")
    cells["few-shot", "run"] = replace(cells["few-shot", "run"], adjusted={"random": 0.06, "imagenet": 0.2})
    said = replace(matrix, cells=cells).answer()
    assert said[0].endswith("Adjusted for 3 comparisons (Holm), none of 2 differences stand.")


def told(mean: float) -> str:
    return f"{mean:.3f}".lstrip("0")


def test_a_sentence_says_both_figures_the_difference_and_how_sure(matrix: Matrix) -> None:
    run, random = (matrix.cells["knn", name].estimate for name in ("run", "random"))
    assert run is not None
    assert random is not None
    found = matrix.cells["knn", "run"].against["random"]
    assert matrix.sentence("knn", "run", "random") == (
        f"run: top1 {told(run.mean)}, random {told(random.mean)}: better by {told(found.mean)} "
        f"(95 % interval {told(found.low)} to {told(found.high)}, 3 seeds, 200 test samples)"
    )
    assert matrix.sentence("knn", "random", "run").startswith(
        f"random: top1 {told(random.mean)}, run {told(run.mean)}: worse by {told(found.mean)} "
        f"(95 % interval {told(found.low)} to {told(found.high)},"
    )
    even = matrix.cells["linear", "run"].against["random"]
    assert matrix.sentence("linear", "run", "random").endswith(
        f": no evidence of a difference ({number(even.mean, sign=True)}, 95 % interval {number(even.low)} to "
        f"{number(even.high)}, 3 seeds, 200 test samples)"
    )


def test_where_less_is_better_better_means_less() -> None:
    errors = build_matrix([grid({"flow": {"run": 0.3, "random": 0.7}}, higher_is_better=False)])
    assert errors.cells["flow", "run"].verdicts == {"random": "better"}
    assert errors.cells["flow", "run"].against["random"].mean < 0
    said = errors.sentence("flow", "run", "random")
    assert ": better by ." in said
    assert "-" not in said
    assert said.endswith("200 test samples, lower is better)")
    assert errors.answer()[0] == "Pretraining helped on 1 of 1 task."


def test_a_cell_of_which_some_seeds_failed_shows_the_others_and_says_so() -> None:
    rows = [row("knn", name, seed, share) for name, share in SHARES["knn"].items() for seed in range(3)]
    rows[1] = failed("knn", "run", 1, "out of memory")
    matrix = build_matrix([results(*rows)])
    cell = matrix.cells["knn", "run"]
    assert cell.failures == ("seed 1: out of memory",)
    assert cell.marks == ("2 of 3 seeds",)
    assert cell.estimate is not None
    assert cell.estimate.seeds == 2
    assert cell.verdicts["random"] == "better"
    assert "2 and 3 seeds" in matrix.sentence("knn", "run", "random")
    assert "On 1 task (knn) some seeds failed; the others count." in matrix.answer()


def test_a_cell_that_failed_is_told_and_not_counted() -> None:
    rows = [row("knn", name, seed, share) for name, share in SHARES["knn"].items() for seed in range(3)]
    lost = [failed("flow", name, seed, "no GPU") for name in SHARES["knn"] for seed in range(3)]
    matrix = build_matrix([results(*rows, *lost)])
    cell = matrix.cells["flow", "run"]
    assert cell.estimate is None
    assert cell.failures == ("no GPU",)
    assert cell.verdicts == {"random": "not comparable", "imagenet": "not comparable"}
    assert matrix.sentence("flow", "run", "random") == "run: no figure (no GPU)"
    assert matrix.answer()[0] == "Pretraining helped on 1 of 1 task. Not compared: 1 (flow)."
    assert matrix.metrics["flow"] == ("", True)


def test_nothing_but_failures_is_no_answer() -> None:
    matrix = build_matrix([results(*(failed("knn", name, 0, "broken") for name in ("run", "random")))])
    assert matrix.answer() == ["No task could be compared for run and random. Not compared: 1 (knn)."]


def test_a_single_seed_is_said() -> None:
    matrix = build_matrix([grid(SHARES, seeds=1)])
    single = "a single seed: the interval knows the test samples alone"
    assert all(single in cell.marks for cell in matrix.cells.values())
    assert any(
        line.startswith("On 3 tasks (knn, linear, few-shot) there is a single seed")
        for line in matrix.answer()
    )
    assert matrix.cells["knn", "run"].verdicts["random"] == "better"
    bare = build_matrix([grid(SHARES, seeds=1, resamples=0)])
    assert set(bare.cells["knn", "run"].verdicts.values()) == {"no evidence of a difference"}
    assert "(+" in bare.sentence("knn", "run", "random")
    assert "no interval, 1 seed" in bare.sentence("knn", "run", "random")


def test_without_an_untrained_backbone_nothing_is_said_of_pretraining() -> None:
    matrix = build_matrix([grid({"knn": {"run": 0.6, "imagenet": 0.9}})])
    assert matrix.baselines == {}
    assert matrix.answer()[0].startswith("No untrained backbone was measured")
    assert matrix.answer()[1].startswith("Against imagenet: better on none of 1 task, worse on 1 (knn)")
    alone = build_matrix([grid({"knn": {"run": 0.6}})])
    assert alone.answer() == [
        "No untrained backbone was measured, so nothing says whether pretraining helped."
    ]
    assert build_matrix([]).answer() == ["Nothing was measured."]


def two(**changed: object) -> tuple[TransferResults, TransferResults]:
    """A run and another in folders of their own, the second measured otherwise."""
    first = grid({"knn": {"one": 0.7, "random": 0.4}})
    second = grid({"knn": {"two": 0.5, "random": 0.4}})
    rows = tuple(replace(one, **changed) for one in second.rows)  # type: ignore[arg-type]
    return first, replace(second, rows=rows)


def test_two_folders_become_one_matrix_with_one_untrained_column() -> None:
    matrix = build_matrix(two())
    assert matrix.subjects == ("one", "random", "two")
    assert matrix.asked == ("one", "two")
    assert matrix.cells["knn", "one"].verdicts == {"random": "better", "two": "better"}
    said = matrix.answer()
    assert said[0].startswith("Pretraining (one) helped on 1 of 1 task")
    assert said[1].startswith("Pretraining (two) helped on 1 of 1 task")
    assert said[2].startswith("Against two: better on 1 of 1 task")


def test_other_protocols_are_refused_with_both_hashes() -> None:
    with pytest.raises(ConfigError, match=r"knn@0123456789ab and knn@ffff.*--force"):
        build_matrix(two(protocol="knn@ffff"))
    with pytest.raises(ConfigError, match="data data of knn and elsewhere"):
        build_matrix(two(data="elsewhere"))
    with pytest.raises(ConfigError, match=r"500 \+ 200 and 500 \+ 150"):
        build_matrix(two(test=150))


def test_forced_they_are_compared_without_pairs_and_marked() -> None:
    matrix = build_matrix(two(protocol="knn@ffff"), force=True)
    assert matrix.subjects == ("one", "random (1)", "two", "random (2)")
    cell = matrix.cells["knn", "one"]
    assert cell.marks == ("compared across protocols knn@0123456789ab and knn@ffff",)
    assert cell.verdicts["two"] == "better"
    assert cell.against["two"].half_width > build_matrix(two()).cells["knn", "one"].against["two"].half_width
    assert matrix.baselines == {"one": "random (1)", "two": "random (2)"}
    assert (
        "On 1 task (knn) figures are compared that were not measured alike; see the marks." in matrix.answer()
    )


def test_other_metrics_are_not_compared_even_when_forced() -> None:
    first, second = two(metric="map", figures={"map": 0.9})
    with pytest.raises(ConfigError, match="metrics top1 and map"):
        build_matrix([first, second])
    matrix = build_matrix([first, second], force=True)
    cell = matrix.cells["knn", "one"]
    assert cell.verdicts["two"] == "not comparable"
    assert "two" not in cell.against
    assert matrix.sentence("knn", "one", "two").endswith(", two map .900: not comparable")
    assert "compared across metrics top1 and map" in cell.marks


def test_a_task_only_one_folder_has_is_not_measured_for_the_others() -> None:
    first = grid({"knn": {"one": 0.7, "random": 0.4}})
    matrix = build_matrix([first, grid({"linear": {"two": 0.5}})])
    assert matrix.cells["linear", "one"].failures == ("not measured",)
    assert matrix.cells["linear", "two"].estimate is not None


def test_of_many_tasks_a_sentence_gives_the_number_alone() -> None:
    shares = {f"task-{place}": {"run": 0.9, "random": 0.2} for place in range(12)}
    lost = {f"lost-{place}" for place in range(8)}
    made = grid(shares, seeds=2)
    made = replace(made, tasks={**made.tasks, **{name: {} for name in lost}})
    said = build_matrix([made]).answer()
    assert said[0].startswith("Pretraining helped on 12 of 12 tasks. Adjusted for 12 comparisons (Holm), ")
    assert said[0].endswith("Not compared: 8.")
    assert "of 12 tasks without any difference, about 0.6 would" in said[1]


def test_subjects_keep_their_names_however_strange() -> None:
    name = "préentraîné | 図 " + "x" * 80
    made = results(
        *(row("knn", name, seed, 0.7) for seed in range(3)),
        subjects=(Subject(name, "/r", "abc", "resnet18"),),
    )
    assert build_matrix([made]).subjects == (name,)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5114, ".511"),
        (-0.02, "-.020"),
        (0.9996, "1.000"),
        (1.0, "1.000"),
        (0, ".000"),
        (-1.2345, "-1.234"),
        (10.06, "10.1"),
        (1234.5, "1234.5"),
        (math.nan, "-"),
        (math.inf, "-"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_sign_is_shown_where_it_matters() -> None:
    assert number(0.02, sign=True) == "+.020"
    assert number(-0.02, sign=True) == "-.020"
