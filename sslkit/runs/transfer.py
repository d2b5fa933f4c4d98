"""Did pretraining help me? Every task of a suite on each backbone, with the same budget, seeds and order.

open all data -> what was seen before? -> a row for each (task, backbone, seed) -> matrix -> report
"""

from __future__ import annotations

import os
import platform
import shlex
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sslkit.atomic import replace_text
from sslkit.errors import ConfigError, InterruptedRunError, RunError
from sslkit.evaluation.leaderboard import append_rows
from sslkit.evaluation.matrix import Matrix, build_matrix
from sslkit.evaluation.matrix_text import text_matrix
from sslkit.evaluation.rows import Row
from sslkit.evaluation.transfer_results import Overlap, TransferResults
from sslkit.runs.assembly import process
from sslkit.runs.one_at_a_time import working_alone
from sslkit.runs.overlap import describe, overlap_of
from sslkit.runs.subjects import Contender, contenders
from sslkit.runs.suites import load_suite
from sslkit.runs.transfer_bench import Bench, Job, measure_all
from sslkit.runs.transfer_report import write_transfer_report
from sslkit.training.progress import ProgressLine
from sslkit.version import __version__

SUITE = "procedural"
"""The suite that needs no data."""


@dataclass(frozen=True)
class Transfer:
    """What `transfer` found, and the page that shows it."""

    out: Path
    report: Path
    results: TransferResults
    matrix: Matrix

    @property
    def failed(self) -> list[Row]:
        """Rows without figures."""
        return [row for row in self.results.rows if row.failure is not None]

    def to_dict(self) -> dict[str, Any]:
        """What results.json holds, and the answer in words."""
        return {**self.results.to_dict(), "answer": self.matrix.answer(), "report": str(self.report)}

    def to_text(self) -> str:
        """The answer, the matrix, and where to look next."""
        lines = [text_matrix(self.matrix), *self.matrix.answer()]
        if self.failed:
            lines.append(
                f"{len(self.failed)} of {len(self.results.rows)} rows failed, see {self.report}; the same "
                "command measures them again and keeps the others."
            )
        return "\n".join([*lines, f"Open {self.report} in a browser."])


def transfer(
    model: str | Path,
    *,
    against: Sequence[str] = (),
    suite: str | Path = SUITE,
    seeds: int = 3,
    tasks: Sequence[str] = (),
    out: str | Path | None = None,
    processes: int | None = None,
    leaderboard: str | Path | None = None,
    store: bool = True,
    progress: bool = True,
) -> Transfer:
    """Measure a run or network on every task of a suite, beside the same network untrained and others.

    against: runs or names of networks besides "random", which is always there. suite: "procedural", a YAML
    file, or a folder of the user's own labelled data. seeds: trainings of each head, draws of each probe,
    initialisations of the untrained network. tasks: some of the suite's, all by default. out: a folder; rows
    that it holds and that still hold are kept, others are measured. processes: one for each GPU by default.
    leaderboard: a file that gets a line for every row, beside `out` by default. store: keep features of
    frozen backbones in the cache folder.

    Raises ConfigError for unknown names, suites or tasks, ModelError for a wrong model, RunError where
    nothing can be written, InterruptedRunError after a signal. A task that fails is a row with its reason.
    """
    began = time.perf_counter()
    if process().num_processes > 1:
        raise ConfigError(
            "transfer measures each row in one process; start it without a launcher, with --processes "
            f"{process().num_processes} where there are that many devices"
        )
    if seeds < 1:
        raise ConfigError(f"seeds={seeds}; at least 1, and 3 for an interval over seeds")
    asked = contenders(str(model), [str(one) for one in against])
    chosen = load_suite(str(suite))
    measurements = dict(chosen.measurements)
    if unknown := [name for name in tasks if name not in measurements]:
        raise ConfigError(f"suite {chosen} has no task '{unknown[0]}'; it has {', '.join(measurements)}")
    if tasks:
        measurements = {name: measurements[name] for name in measurements if name in tasks}
    subjects = [one.described() for one in asked]  # refuses a wrong model before anything is measured
    place = Path(out) if out is not None else Path("transfer") / f"{asked[0].name}-{chosen.id}"
    bench = Bench(place, measurements, asked, chosen.resamples, store)
    jobs = [Job(task, one.name, seed) for task in measurements for one in asked for seed in range(seeds)]
    count = processes if processes is not None else max(1, torch.cuda.device_count())
    with ExitStack() as stack:
        try:
            place.mkdir(parents=True, exist_ok=True)
            stack.enter_context(working_alone(place))
            replace_text(place / "suite.yaml", chosen.to_yaml())
        except OSError as error:
            raise RunError(f"cannot write in {place}: {error}; choose another --out") from error
        line = stack.enter_context(ProgressLine(total=len(jobs), shown=progress, label="transfer"))
        bench.say = line.say
        overlaps = _overlaps(bench, asked, line)
        opened = time.perf_counter()
        rows = _rows(bench, jobs, count, line)
    ended = time.perf_counter()
    results = TransferResults(
        suite=str(chosen),
        command=_command(str(model), against, str(suite), seeds, tasks, place),
        environment=_environment(count),
        tasks={name: _described(bench, name) for name in measurements},
        subjects=tuple(subjects),
        rows=tuple(rows),
        overlaps=tuple(overlaps),
        seconds={"opening": round(opened - began, 2), "measuring": round(ended - opened, 2)},
    )
    results.write(place)
    append_rows(Path(leaderboard) if leaderboard is not None else place.parent / "leaderboard.jsonl", results)
    report = write_transfer_report(results, place)
    return Transfer(place, report, results, build_matrix([results]))


def _overlaps(bench: Bench, asked: Sequence[Contender], line: ProgressLine) -> list[Overlap]:
    """Which test samples each backbone has seen, told before any score."""
    found: list[Overlap] = []
    known: dict[tuple[str, str], Overlap] = {}
    for name in bench.measurements:
        task = bench.task(name)
        if isinstance(task, str):
            line.say(f"task {name} cannot be measured: {task}")
            continue
        for one in asked:
            if one.untrained:
                continue
            key = one.name, task.test.fingerprint
            if key not in known:
                known[key] = overlap_of(one.model, task.test, subject=one.name, task=name, progress=False)
                if known[key].twins or known[key].reason:
                    line.say(describe(known[key]))
            found.append(replace(known[key], task=name))
    return found


def _rows(bench: Bench, jobs: Sequence[Job], processes: int, line: ProgressLine) -> list[Row]:
    rows: list[Row] = []
    failed = 0
    try:
        for row in measure_all(bench, jobs, processes=processes):
            rows.append(row)
            if row.failure is not None:
                failed += 1
                if not any(other.failure == row.failure for other in rows[:-1]):
                    line.say(f"{row.task} on {row.subject}, seed {row.seed}: {row.failure}")
            shown = {"": f"{row.task}, {row.subject}"}
            line.update(len(rows), {**shown, **({"failed": str(failed)} if failed else {})})
    except (KeyboardInterrupt, InterruptedRunError) as error:
        number = error.exit_code - 128 if isinstance(error, InterruptedRunError) else signal.SIGINT
        raise InterruptedRunError(
            f"stopped after {len(rows)} of {len(jobs)} rows, kept in {bench.out}; the same command goes on",
            number,
        ) from None
    place = {(job.task, job.subject, job.seed): number for number, job in enumerate(jobs)}
    return sorted(rows, key=lambda row: place[row.task, row.subject, row.seed])


def _described(bench: Bench, name: str) -> dict[str, Any]:
    """What a reader needs to repeat a task by hand."""
    task = bench.task(name)
    given = bench.measurements[name]
    told = {**asdict(given), "settings": list(given.settings)}
    if isinstance(task, str):
        return {**told, "failure": task}
    metric, higher = task.metric
    return {
        **told,
        "note": task.note,
        "metric": metric,
        "higher_is_better": higher,
        "protocol_id": str(task.protocol),
        "protocol_file": task.protocol.to_dict(),
        "train_samples": 0 if task.train is None else len(task.train),
        "test_samples": len(task.test),
        "classes": list(task.test.classes),
    }


def _command(
    model: str, against: Sequence[str], suite: str, seeds: int, tasks: Sequence[str], out: Path
) -> str:
    words = ["sslkit", "transfer", model]
    for one in against:
        words += ["--against", str(one)]
    words += ["--suite", suite, "--seeds", str(seeds)]
    for one in tasks:
        words += ["--task", one]
    return shlex.join([*words, "--out", str(out)])


def _environment(processes: int) -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    return {
        "sslkit": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "processes": processes,
    }
