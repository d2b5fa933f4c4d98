"""What a person sees while a run goes on: a live line on a terminal, a plain one now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET_SECONDS = 10.0
"""Seconds between plain lines when the output is not a terminal."""


class ProgressLine:
    """Shows steps done of all steps with the latest figures; `shown=False` shows nothing."""

    def __init__(self, *, total: int, done: int = 0, shown: bool = True, label: str = "pretrain") -> None:
        self._console = Console(stderr=True, quiet=not shown)
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (shown and self._live),
        )
        self._task: TaskID = self._progress.add_task(label, total=total, completed=done, figures="")
        self._label, self._total = label, total
        self._started, self._first, self._last = time.monotonic(), done, 0.0

    def __enter__(self) -> ProgressLine:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, done: int, figures: Mapping[str, str]) -> None:
        """Show that `done` steps are done, with figures such as {"loss": "1.23"}."""
        text = "  ".join(f"{name} {value}" for name, value in figures.items())
        self._progress.update(self._task, completed=done, figures=text)
        now = time.monotonic()
        if not self._live and (now - self._last >= QUIET_SECONDS or done == self._total):
            self._last = now
            remaining = (now - self._started) / max(1, done - self._first) * (self._total - done)
            self._console.print(
                f"{self._label} {done}/{self._total}  {text}  eta {remaining:.0f} s",
                highlight=False,
                soft_wrap=True,
            )

    def say(self, line: str) -> None:
        """Print a lasting line above the bar."""
        self._progress.console.print(line, highlight=False, soft_wrap=True, markup=False)
