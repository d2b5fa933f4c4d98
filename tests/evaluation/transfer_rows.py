"""Rows of a transfer matrix as a test wants them: answers drawn by a key, nothing measured."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.evaluation.rows import Row
from sslkit.evaluation.statistics import bootstrap_rows
from sslkit.evaluation.transfer_results import Subject, TransferResults


@cache
def _drawn(test: int, resamples: int, task: str) -> NDArray[np.int64]:
    return np.stack([bootstrap_rows(test, number, task) for number in range(resamples)])


def row(
    task: str, subject: str, seed: int, share: float, *, test: int = 200, resamples: int = 60, **changed: Any
) -> Row:
    """A row whose figure is about `share`: one task's samples are as hard for every subject and seed."""
    hard = np.random.default_rng([7, *task.encode()]).random(test)
    luck = np.random.default_rng([seed, *subject.encode(), *task.encode()]).normal(0, 0.05, test)
    hits = (hard + luck < share).astype(float)
    drawn = tuple(hits[_drawn(test, resamples, task)].mean(axis=1).tolist()) if resamples else ()
    plain = Row(
        task,
        subject,
        seed,
        head="knn",
        protocol=f"{task}@0123456789ab",
        metric="top1",
        figures={"top1": float(hits.mean())},
        resamples=drawn,
        resampling=f"{task}, {resamples} times" if resamples else "",
        weights=f"weights of {subject}",
        data=f"data of {task}",
        train=500,
        test=test,
        classes=10,
    )
    return replace(plain, **changed)


def failed(task: str, subject: str, seed: int, reason: str) -> Row:
    """A row without figures."""
    return Row(task, subject, seed, head="knn", failure=reason)


def results(*rows: Row, subjects: tuple[Subject, ...] = ()) -> TransferResults:
    """All that one command found: subjects and tasks as they come, unless given."""
    names = dict.fromkeys(one.subject for one in rows)
    made = tuple(
        Subject(
            name,
            f"/runs/{name}",
            "random" if name == "random" else f"weights of {name}",
            "resnet18",
            {} if name == "random" else {"epochs": 10},
        )
        for name in names
    )
    tasks = {one.task: {"head": one.head} for one in rows}
    return TransferResults("procedural@1", "sslkit transfer", {"torch": "2"}, tasks, subjects or made, rows)


def grid(shares: dict[str, dict[str, float]], *, seeds: int = 3, **changed: Any) -> TransferResults:
    """Results of every task and subject: {task: {subject: share}}."""
    return results(
        *(
            row(task, subject, seed, share, **changed)
            for task, of in shares.items()
            for subject, share in of.items()
            for seed in range(seeds)
        )
    )
