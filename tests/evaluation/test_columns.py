"""What is one backbone in several results is one column, and what is not is never put together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sslkit.evaluation.columns import merged
from sslkit.evaluation.transfer_results import Subject
from tests.evaluation.transfer_rows import failed, grid, results, row


def test_one_result_has_a_column_for_each_subject_in_order() -> None:
    found = merged([grid({"knn": {"run": 0.6, "random": 0.4, "imagenet": 0.7}})])
    assert [column.name for column in found] == ["run", "random", "imagenet"]
    assert [column.baseline for column in found] == ["random", None, "random"]
    assert [column.asked for column in found] == [True, False, False]
    assert sorted(found[0].rows["knn"]) == [0, 1, 2]


def test_a_backbone_of_two_folders_is_one_column_with_the_tasks_of_both() -> None:
    found = merged(
        [grid({"knn": {"run": 0.6, "random": 0.4}}), grid({"linear": {"run": 0.6, "random": 0.4}}, seeds=2)]
    )
    assert [column.name for column in found] == ["run", "random"]
    assert {task: sorted(rows) for task, rows in found[0].rows.items()} == {
        "knn": [0, 1, 2],
        "linear": [0, 1],
    }


def test_the_newer_of_two_rows_counts_unless_it_failed() -> None:
    old, new = row("knn", "run", 0, 0.6), row("knn", "run", 0, 0.6, head="newer")
    assert merged([results(old), results(new)])[0].rows["knn"][0].head == "newer"
    kept = merged([results(old), results(failed("knn", "run", 0, "out of memory"))])
    assert len(kept) == 1
    assert kept[0].rows["knn"][0].failure is None
    again = merged([results(failed("knn", "run", 0, "old")), results(failed("knn", "run", 0, "new"))])
    assert again[0].rows["knn"][0].failure == "new"
    mended = merged([results(failed("knn", "run", 0, "out of memory")), results(old)])
    assert mended[0].rows["knn"][0].failure is None


def test_a_name_with_other_weights_is_told_apart_by_them() -> None:
    one = results(row("knn", "run", 0, 0.6))
    other = results(
        row("knn", "run", 0, 0.6),
        subjects=(Subject("run", "/elsewhere/run", "fedcba9876543210", "resnet18"),),
    )
    assert [column.name for column in merged([one, other])] == ["run (weights )", "run (fedcba98)"]


def test_untrained_networks_of_other_architectures_are_told_apart_by_them() -> None:
    parts = []
    for name, architecture in (("a", "resnet18"), ("b", "resnet50")):
        subjects = (
            Subject(name, f"/{name}", name, architecture),
            Subject("random", "random", "random", architecture),
        )
        parts.append(results(row("knn", name, 0, 0.6), row("knn", "random", 0, 0.4), subjects=subjects))
    found = {column.name: column.baseline for column in merged(parts)}
    assert found == {
        "a": "random (resnet18)",
        "random (resnet18)": None,
        "b": "random (resnet50)",
        "random (resnet50)": None,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("protocol", "knn@ffff"),
        ("metric", "top5"),
        ("data", "other"),
        ("resampling", "other, 60 times"),
        ("test", 199),
        ("train", 499),
        ("weights", "of another start"),
    ],
)
def test_rows_that_contradict_each_other_are_two_columns_told_apart_by_number(
    field: str, value: object
) -> None:
    one = row("knn", "run", 0, 0.6)
    other = replace(one, **{field: value})
    assert [column.name for column in merged([results(one), results(other)])] == ["run (1)", "run (2)"]


def test_what_a_seed_draws_may_differ_between_seeds() -> None:
    one, other = row("knn", "random", 0, 0.4), row("knn", "random", 1, 0.4, weights="of the other start")
    assert [column.name for column in merged([results(one), results(other)])] == ["random"]
