"""The page of a transfer matrix: the answer first, then what it rests on, then how to repeat it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sslkit.atomic import replace_text
from sslkit.evaluation.comparison import BETTER, EVEN, INCOMPARABLE, WORSE
from sslkit.evaluation.matrix import Matrix, build_matrix
from sslkit.evaluation.matrix_text import markdown_matrix
from sslkit.evaluation.transfer_results import TransferResults
from sslkit.page import Cell, Page
from sslkit.runs.matrix_page import add_differences, add_matrix
from sslkit.runs.transfer_costs import add_bookkeeping, add_costs, duration
from sslkit.runs.transfer_pictures import add_classes, add_curves, add_gaps, add_sheets

PAGE, TEXT = "report.html", "results.md"
_TWINS = 20  # pairs of equal pictures that a page names, of each backbone and test set


def write_transfer_report(results: TransferResults, out: Path) -> Path:
    """Write report.html and results.md into folder `out`, which holds the rows' own folders; the page's path.

    The page is one file without anything fetched. Raises ConfigError where it cannot be written.
    """
    matrix = build_matrix([results])
    others = [subject.name for subject in results.subjects[1:]]
    against = f", against {', '.join(others)}" if others else ""
    page = Page(f"Did pretraining help {matrix.subjects[0]}?", f"{results.suite}{against}")
    for warning in warnings(results):
        page.warning(warning)
    page.points(matrix.answer())
    page.facts(headline(matrix, results))
    add_twins(page, results)
    add_matrix(page, matrix)
    add_differences(page, matrix)
    add_curves(page, results)
    add_gaps(page, results)
    add_classes(page, results)
    add_sheets(page, results, out)
    add_costs(page, results)
    add_bookkeeping(page, results)
    add_commands(page, results)
    page.write(out / PAGE)
    replace_text(out / TEXT, markdown(matrix, results))
    return out / PAGE


def markdown(matrix: Matrix, results: TransferResults) -> str:
    """The answer and the matrix with its notes in Markdown."""
    lines = [f"# Did pretraining help {matrix.subjects[0]}?", ""]
    lines += [f"**Warning** {warning}\n" for warning in warnings(results)]
    lines += [f"- {sentence}" for sentence in matrix.answer()]
    return "\n".join([*lines, "", markdown_matrix(matrix), f"    {results.command}", ""])


def headline(matrix: Matrix, results: TransferResults) -> dict[str, Cell]:
    """How many tasks went which way, and what that took."""
    first = matrix.subjects[0]
    facts: dict[str, Cell] = {"tasks": len(matrix.tasks)}
    if (base := matrix.baselines.get(first)) is not None:
        said = {name: len(tasks) for name, tasks in matrix.tally(first, base).items()}
        facts |= {f"better than {base}": said[BETTER], "worse": said[WORSE], "no evidence": said[EVEN]}
        if said[INCOMPARABLE]:
            facts["not compared"] = said[INCOMPARABLE]
    facts["seeds"] = len({row.seed for row in results.rows})
    failed = sum(row.failure is not None for row in results.rows)
    facts["rows that failed"] = f"{failed} of {len(results.rows)}"
    return facts | {"time": duration(sum(results.seconds.values()))}


def warnings(results: TransferResults) -> list[str]:
    """What a reader must know before any score: test samples that a backbone was pretrained on."""
    tasks: dict[tuple[float, tuple[str, ...]], list[str]] = {}
    for task in dict.fromkeys(one.task for one in results.overlaps):
        shares: dict[float, list[str]] = {}
        for one in results.overlaps:
            if one.task == task and one.share > 0:
                shares.setdefault(one.share, []).append(one.subject)
        for share, subjects in shares.items():
            tasks.setdefault((share, tuple(subjects)), []).append(task)
    return [
        f"{' and '.join(subjects)} {'was' if len(subjects) == 1 else 'were'} pretrained on {share:.1%} of "
        f"the test samples of {', '.join(names)}, or on pictures almost the same. Scores there do not show "
        "what is made of new ones."
        for (share, subjects), names in tasks.items()
    ]


def add_twins(page: Page, results: TransferResults) -> None:
    """Which test samples were seen before, by name; and where that could not be found out."""
    shown: dict[tuple[tuple[str, str, float], ...], list[str]] = {}
    for one in results.overlaps:
        if one.twins and f"{one.subject}, {one.task}" not in shown.setdefault(one.twins, []):
            shown[one.twins].append(f"{one.subject}, {one.task}")
    for twins, whose in shown.items():
        more = f", the first {_TWINS} of them" if len(twins) > _TWINS else ""
        samples = f"{len(twins)} test sample{'s' if len(twins) > 1 else ''} seen before{more}"
        with page.fold(f"{'; '.join(whose)}: {samples}"):
            page.table(["test sample", "pretraining sample", "similarity"], twins[:_TWINS])
    unknown: dict[tuple[str, str], list[str]] = {}
    for one in results.overlaps:
        if one.reason is not None:
            unknown.setdefault((one.subject, one.reason), []).append(one.task)
    page.points(
        f"Whether {subject} saw test samples of {', '.join(tasks)} before could not be found out: {reason}"
        for (subject, reason), tasks in unknown.items()
    )
    clean: dict[str, int] = Counter(
        one.subject for one in results.overlaps if one.reason is None and one.share == 0
    )
    page.points(
        f"No test sample of {count} task{'s' if count > 1 else ''} was found among what {subject} was "
        "pretrained on."
        for subject, count in clean.items()
    )


def add_commands(page: Page, results: TransferResults) -> None:
    """What repeats the whole, and each task alone; protocols, where they come from, and the machine."""
    page.heading("To repeat it").code(results.command)
    with page.fold("Each task alone"):
        page.code("\n".join(evaluate_command(results, task) for task in results.tasks))
    protocols = {
        str(told.get("protocol_id")): told["protocol_file"]
        for told in results.tasks.values()
        if isinstance(told.get("protocol_file"), Mapping)
    }
    with page.fold("Protocols, and where they come from"):
        page.points(f"{name}: {file.get('source', 'no source')}" for name, file in protocols.items())
        for name, file in protocols.items():
            page.code(f"# {name}\n{yaml.safe_dump(dict(file), sort_keys=False, allow_unicode=True)}".rstrip())
    with page.fold("The machine"):
        page.table(["", "value"], [[name, _said(value)] for name, value in results.environment.items()])


def evaluate_command(results: TransferResults, task: str) -> str:
    """The `sslkit evaluate` command of one task on the first backbone."""
    told = results.tasks[task]
    words = ["sslkit", "evaluate", results.subjects[0].model, *map(str, told.get("settings") or ())]
    words += ["--data", str(told.get("data", "")), "--head", str(told.get("head", ""))]
    if isinstance(told.get("test"), str):
        words += ["--test", told["test"]]
    if told.get("transfer_to"):
        words += ["--transfer-to", str(told["transfer_to"])]
    if protocol := str(told.get("protocol") or "").partition("@")[0]:
        words += ["--protocol", protocol]
    seeds = sorted({row.seed for row in results.rows if row.task == task})
    if seeds:
        words += ["--seed", str(seeds[0]), "--seeds", str(len(seeds))]
    return shlex.join(words)


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value)) or "none"
    return str(value)
