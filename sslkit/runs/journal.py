"""What a run tells: the diary, the progress line, the list of skipped samples, the trackers."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from sslkit.contracts import Skipped
from sslkit.errors import DataError
from sslkit.runs.assembly import Parts
from sslkit.runs.run_folder import RunFolder
from sslkit.runs.step import Taken
from sslkit.runs.watch import Watch
from sslkit.training.checkpoint import Position
from sslkit.training.monitor import Diary
from sslkit.training.progress import ProgressLine
from sslkit.training.stopwatch import told


class Journal:
    """Written by the main process; the others keep time and count skipped samples only."""

    def __init__(self, parts: Parts, folder: RunFolder, position: Position, *, progress: bool) -> None:
        self._parts, self._folder = parts, folder
        self._main = parts.accelerator.is_main_process
        self._diary = Diary(folder.metrics, resume_step=position.step) if self._main else None
        self._line = ProgressLine(
            total=parts.total_steps, done=position.step, shown=progress and self._main, label="pretrain"
        )
        self._watch = Watch(parts) if self._main else None
        self._skipped = _already_skipped(folder)
        self._skipped_before = len(self._skipped)  # by all processes; what comes is this process's own
        self._figures: dict[str, str] = {}
        self._rows = 0
        self._split: dict[str, float] = {}

    def __enter__(self) -> Journal:
        if self._parts.recipe.trackers:
            self._parts.accelerator.init_trackers(self._folder.path.name)
        self._line.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.__exit__(kind, error, trace)
        if self._diary:
            self._diary.close()
        if self._watch:
            self._watch.close()
        if self._parts.recipe.trackers:
            self._parts.accelerator.end_training()

    def say(self, line: str) -> None:
        """A lasting line above the progress bar."""
        self._line.say(line)

    def skipped(self, samples: Sequence[Skipped]) -> None:
        """List samples that could not be decoded; raises DataError when they are too large a share."""
        fresh = [sample for sample in samples if sample.id not in self._skipped]
        if not fresh:
            return
        self._skipped.update(sample.id for sample in fresh)
        with self._folder.skipped.open("a", encoding="utf-8") as file:
            file.writelines(f"{_one_line(s.id, s.name, s.reason)}\n" for s in fresh)
        total, allowed = len(self._parts.source), self._parts.recipe.data.max_skipped
        own = len(self._skipped) - self._skipped_before
        count = self._skipped_before + own * self._parts.accelerator.num_processes
        if count > allowed * total:
            raise DataError(
                f"{count} of {total} samples could not be decoded, more than the "
                f"{allowed:.0%} that data.max_skipped allows; the first: {fresh[0].name}: {fresh[0].reason}; "
                f"all are listed in {self._folder.skipped}"
            )

    def step(self, position: Position, rows: int, lr: float, taken: Taken) -> None:
        """Count a step; write its figures where it was measured, which waits for the device."""
        self._rows += rows
        if self._parts.miner is not None:
            reports = self._parts.miner.refresher.reports
            while reports:
                self.say(reports.pop(0))
        if not taken.figures:
            return
        split = self._parts.stopwatch.take()
        seconds = max(sum(split.values()), 1e-9)
        for phase, spent in split.items():
            self._split[phase] = self._split.get(phase, 0.0) + spent
        outcome = taken.outcome
        figures = {
            "epoch": position.epoch,
            "loss": float(outcome.loss),
            **{name: float(value) for name, value in {**outcome.terms, **taken.figures}.items()},
            "lr": lr,
            "images_per_second": self._rows / seconds,
            **{f"share_{phase}": spent / seconds for phase, spent in split.items()},
        }
        self._rows = 0
        self._write("step", position.step, figures)
        self._figures |= {
            "loss": f"{figures['loss']:.3f}",
            "images/s": f"{figures['images_per_second']:.0f}",
            "wait": f"{figures['share_wait']:.0%}",
        }
        self._line.update(position.step, self._figures)

    def look(self, position: Position) -> None:
        """Let the online monitor look at the backbone, on the main process."""
        if self._watch is None:
            return
        figures = self._watch.look(self._parts)
        if "knn" in figures:
            self._figures["k-NN"] = f"{figures['knn']:.3f}"
        self._write("monitor", position.step, {"epoch": position.epoch, **figures})
        self._line.update(position.step, self._figures)

    def tell_split(self) -> None:
        """Say where the time of the steps so far went."""
        shares = told(self._split)
        if shares:
            self.say(f"a step's time: {shares}")

    def _write(self, kind: str, step: int, figures: dict[str, Any]) -> None:
        if self._diary:
            self._diary.write(kind, step, figures)
        if self._parts.recipe.trackers:
            self._parts.accelerator.log({f"{kind}/{name}": v for name, v in figures.items()}, step=step)


def _already_skipped(folder: RunFolder) -> set[int]:
    if not folder.skipped.exists():
        return set()
    lines = (line.split("\t") for line in folder.skipped.read_text("utf-8").splitlines())
    # A killed process may have left half a line.
    return {int(fields[0]) for fields in lines if len(fields) >= 3 and fields[0].isdecimal()}


def _one_line(id: int, name: str, reason: str) -> str:
    """Names may hold tabs, newlines and undecodable bytes; the list stays one sample a line."""
    shown = (part.encode("unicode_escape").decode("ascii") for part in (name, reason))
    return "\t".join([str(id), *shown])
