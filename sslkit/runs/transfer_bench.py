"""Where rows of the transfer matrix are measured: one after the other, or by a process for each device."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch

from sslkit.atomic import replace_text
from sslkit.contracts import Measurement
from sslkit.errors import InterruptedRunError, SslkitError
from sslkit.evaluation.report import finite
from sslkit.evaluation.rows import Row
from sslkit.models.weights import weights_hash
from sslkit.registry import names
from sslkit.runs.bookkeeping import domains
from sslkit.runs.head_evaluation import folder_name
from sslkit.runs.head_task import HeadTask
from sslkit.runs.probe_task import ProbeTask
from sslkit.runs.subjects import Contender
from sslkit.training.feature_store import FeatureStore

ROW, IDENTITY, FAILURE = "row.json", "identity.json", "failure.txt"
OpenTask = ProbeTask | HeadTask


@dataclass(frozen=True)
class Job:
    """One row to measure."""

    task: str
    subject: str
    seed: int


@dataclass
class Bench:
    """Measures rows, and remembers what it has opened. out: the folder of the matrix."""

    out: Path
    measurements: Mapping[str, Measurement]
    contenders: Sequence[Contender]
    resamples: int
    stored: bool = True
    say: Callable[[str], None] | None = None
    _tasks: dict[str, OpenTask | str] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens its own, and only the first one has a line to say things on.
        kept = {name: value for name, value in self.__dict__.items() if name != "_store"}
        return {**kept, "_tasks": {}, "say": None}

    @cached_property
    def _store(self) -> FeatureStore | None:
        return FeatureStore(say=self.say) if self.stored else None

    def task(self, name: str) -> OpenTask | str:
        """An opened task, or the reason why it cannot be opened."""
        if name not in self._tasks:
            measurement = self.measurements[name]
            try:
                if measurement.head in names("probe"):
                    self._tasks[name] = ProbeTask.open(measurement)
                else:
                    self._tasks[name] = HeadTask.open(measurement, self.out / "tasks" / folder_name(name))
            except (SslkitError, OSError) as error:
                self._tasks[name] = str(error)
        return self._tasks[name]

    def row(self, job: Job) -> Row:
        """The row of a job: what was measured before and still holds, else measured now.

        Whatever goes wrong is a row with its reason, the trace in failure.txt; only a signal ends the work.
        """
        folder = row_folder(self.out, job.task, job.subject, job.seed)
        task = self.task(job.task)
        if isinstance(task, str):
            return self.failed(job, task)
        try:
            return self._measured(job, task, folder)
        except (InterruptedRunError, KeyboardInterrupt):
            raise
        except Exception as error:  # a plugin's head may raise anything; the other tasks go on
            folder.mkdir(parents=True, exist_ok=True)
            (folder / FAILURE).write_text(traceback.format_exc())
            reason = str(error) if isinstance(error, SslkitError) else f"{type(error).__name__}: {error}"
            return self._bare(job, task, failure=reason or type(error).__name__)

    def _measured(self, job: Job, task: OpenTask, folder: Path) -> Row:
        contender = next(one for one in self.contenders if one.name == job.subject)
        embedder = contender.embedder(job.seed)
        modes = [module.training for module in embedder.backbone.modules()]
        identity = {
            "protocol": str(task.protocol),
            "weights": weights_hash(embedder.backbone.network),
            "train": None if task.train is None else task.train.fingerprint,
            "test": task.test.fingerprint,
            "transfer": None if task.elsewhere is None else task.elsewhere.fingerprint,
            "resamples": self.resamples,
        }
        if _text(folder / IDENTITY) == json.dumps(identity):
            if (kept := _text(folder / ROW)) is not None:
                return Row.from_dict(json.loads(kept))
        else:  # of another suite, model or data: nothing of it may be taken for this one's
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            replace_text(folder / IDENTITY, json.dumps(identity))
        (folder / FAILURE).unlink(missing_ok=True)
        found = task.measure(embedder, job.seed, folder, resamples=self.resamples, store=self._store)
        assert modes == [module.training for module in embedder.backbone.modules()]
        source, target = domains(contender.model, contender.untrained, task.measurement)
        row = self._bare(
            job,
            task,
            figures=finite(_numbers(found.figures)),
            per_class=finite(_numbers(found.per_class)),
            curves=found.curves,
            resamples=found.resamples,
            resampling=f"{task.test.fingerprint[:16]}, {self.resamples} times" if found.resamples else "",
            weights=identity["weights"],
            train=found.train,
            test=found.test,
            source=source,
            target=target,
            parameters=found.parameters,
            transfer=found.transfer,
            seconds={name: round(value, 3) for name, value in found.seconds.items()},
            sheet="sheet.png" if (folder / "sheet.png").is_file() else None,
        )
        replace_text(folder / ROW, json.dumps(row.to_dict(), indent=1, allow_nan=False) + "\n")
        return row

    def _bare(self, job: Job, task: OpenTask, **found: Any) -> Row:
        metric, higher = task.metric
        return Row(
            job.task,
            job.subject,
            job.seed,
            head=task.measurement.head,
            protocol=str(task.protocol),
            metric=metric,
            higher_is_better=higher,
            data=task.note,
            classes=len(task.test.classes),
            **found,
        )

    def failed(self, job: Job, reason: str) -> Row:
        """The row of a job that could not even begin."""
        head = self.measurements[job.task].head
        return Row(job.task, job.subject, job.seed, head=head, failure=reason)


def row_folder(out: Path, task: str, subject: str, seed: int) -> Path:
    """Where a row of the matrix in folder `out` lies."""
    return out / "tasks" / folder_name(task) / folder_name(subject) / f"seed-{seed}"


def measure_all(bench: Bench, jobs: Sequence[Job], *, processes: int) -> Iterator[Row]:
    """The rows of all jobs, as they are done; with several processes each has a device of its own."""
    if processes <= 1:
        for job in jobs:
            yield bench.row(job)
        return
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // processes)
    waiting = list(reversed(jobs))
    busy: dict[Any, tuple[Any, Job]] = {}  # what each process works on, by the end of its pipe
    with ExitStack() as stack:
        stack.enter_context(_terminated())
        for number in range(min(processes, len(jobs))):
            ours, theirs = context.Pipe()
            with _device(number):
                worker = context.Process(target=_work, args=(bench, theirs, threads), daemon=True)
                worker.start()
            theirs.close()  # so that the end of the process ends the pipe
            stack.callback(_end, worker, ours)
            busy[ours] = worker, waiting.pop()
            ours.send(busy[ours][1])
        while busy:
            for pipe in cast("list[Any]", wait(list(busy))):
                worker, job = busy.pop(pipe)
                try:
                    said = pipe.recv()
                except (EOFError, ConnectionError):  # the system's out-of-memory killer, a crash in a kernel
                    worker.join()
                    yield bench.failed(job, f"its process ended with code {worker.exitcode}")
                    continue
                if isinstance(said, BaseException):
                    raise said
                yield said
                if waiting:
                    busy[pipe] = worker, waiting.pop()
                    pipe.send(busy[pipe][1])
    for job in reversed(waiting):
        yield bench.failed(job, "no process was left to measure it")


def _work(bench: Bench, pipe: Any, threads: int) -> None:
    threading.Thread(target=_follow, daemon=True).start()
    torch.set_num_threads(threads)
    with suppress(EOFError, ConnectionError):  # the first process has ended
        while True:
            job = pipe.recv()
            try:
                said: Row | BaseException = bench.row(job)
            except (InterruptedRunError, KeyboardInterrupt) as error:  # the first process tells how to go on
                said = error
            pipe.send(said)


def _follow() -> None:
    """End where the first process has ended, however it did; a training saves a checkpoint on the way."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM ends what is inside as Ctrl-C does, so that no process is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers belong to the main thread
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise InterruptedRunError("stopped", number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _device(number: int) -> Iterator[None]:
    """The environment of a process that sees one GPU alone, where there are any."""
    count, name = torch.cuda.device_count(), "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    visible = before.split(",") if before else [str(place) for place in range(count)]
    if count:
        os.environ[name] = visible[number % count]
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
        else:
            os.environ.pop(name, None)


def _end(worker: Any, pipe: Any) -> None:
    pipe.close()  # one that waits for a job ends by itself
    worker.join(timeout=0.1)
    if worker.is_alive():
        worker.terminate()  # a training saves a checkpoint on SIGTERM
        worker.join(timeout=30)
        if worker.is_alive():
            worker.kill()


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except OSError:
        return None


def _numbers(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float("nan") if value is None else float(value) for name, value in figures.items()}
