"""A suite: the tasks of a transfer matrix, as a YAML file writes them down."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, field_validator

from sslkit.config.problems import describe
from sslkit.config.section import Section
from sslkit.contracts import Measurement
from sslkit.errors import ConfigError, did_you_mean
from sslkit.yaml_text import line_of, parse_yaml

_NAME = re.compile(r"\w[\w.-]*")
_Text = Annotated[str, Field(min_length=1)]


class SuiteTask(Section):
    """One task, as `sslkit.contracts.Measurement` says it; head and data are needed."""

    head: _Text
    data: _Text
    test: _Text | None = None
    transfer_to: _Text | None = None
    protocol: str = ""
    settings: Annotated[tuple[str, ...], Field(strict=False)] = ()
    domain: str = ""
    synthetic: bool = False

    @property
    def measurement(self) -> Measurement:
        """The same for those who know no recipes."""
        return Measurement(**dict(self))


class Suite(Section):
    """What a backbone is measured on.

    tasks: by name, in the order of the matrix. resamples: bootstrap resamples of the test samples of each
    task. A task's name is that of a folder too: letters, digits, `_`, `-` and `.`.
    """

    id: _Text
    version: Annotated[int, Field(ge=1)]
    resamples: Annotated[int, Field(ge=1)] = 200
    tasks: Annotated[dict[str, SuiteTask], Field(min_length=1)]

    @field_validator("tasks")
    @classmethod
    def _plain_names(cls, tasks: dict[str, SuiteTask]) -> dict[str, SuiteTask]:
        for name in tasks:
            if not _NAME.fullmatch(name):
                raise ValueError(f"the name '{name}' is no name of a folder; use letters, digits, _, - and .")
        folded = [name.casefold() for name in tasks]
        for name in tasks:
            if folded.count(name.casefold()) > 1:
                raise ValueError(f"'{name}' is given in two spellings, and some disks tell no case apart")
        return tasks

    @property
    def measurements(self) -> dict[str, Measurement]:
        """The tasks in the words of the contract, in their order."""
        return {name: task.measurement for name, task in self.tasks.items()}

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of all that is measured, whatever the order of the tasks."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return f"{self.id}@{self.hash}"

    def to_yaml(self) -> str:
        """The suite as YAML; `read_suite` reads it back to an equal one."""
        plain = self.model_dump(mode="json", exclude={"tasks"})
        tasks = {
            name: task.model_dump(mode="json", exclude_defaults=True) for name, task in self.tasks.items()
        }
        return yaml.safe_dump({**plain, "tasks": tasks}, sort_keys=False, allow_unicode=True, width=110)

    @classmethod
    def of(cls, id: str, version: int, measurements: Mapping[str, Measurement]) -> Suite:
        """A suite of measurements by name."""
        tasks = {name: SuiteTask(**vars(measured)) for name, measured in measurements.items()}
        return cls(id=id, version=version, tasks=tasks)


def read_suite(path: str | Path) -> Suite:
    """The suite of a YAML file; relative paths of data start at the working directory, as they do elsewhere.

    Raises ConfigError when the file is missing or no YAML, and for keys that are wrong, unknown or missing.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"suite file {path} cannot be read: {error}") from error
    return parse_suite(text, f"suite {path}")


def parse_suite(text: str, where: str) -> Suite:
    """The suite of a YAML text that is called `where`; raises ConfigError."""
    given = parse_yaml(text, where)
    tasks = given.get("tasks") or {}
    if not isinstance(tasks, dict):
        raise ConfigError(
            f"{where}: 'tasks' maps names to tasks, as {{cars: {{head: knn, data: photos/cars}}}}; "
            f"it has {tasks!r}"
        )
    read = {str(name): _task(text, where, str(name), task) for name, task in tasks.items()}
    problems = [problem for problem in read.values() if isinstance(problem, str)]
    sound = {name: task for name, task in read.items() if isinstance(task, SuiteTask)}
    try:
        suite = Suite.model_validate({**given, "tasks": sound})
    except ValidationError as error:
        told = describe(error, Suite, lambda path: _place(text, where, path)).splitlines()
        # Tasks that are wrong were left out: of their number nothing is said twice.
        problems = [line for line in told if not (problems and line.startswith("tasks:"))] + problems
    if problems:
        raise ConfigError("\n".join(problems))
    return suite


def _task(text: str, where: str, name: str, given: Any) -> SuiteTask | str:
    """The task, or what is wrong with it, one line for each key."""
    if not isinstance(given, dict):
        return (
            f"tasks.{name}: {given!r} is no task; write {{head: knn, data: photos/cars}} "
            f"({_place(text, where, f'tasks.{name}')})"
        )
    known = list(SuiteTask.model_fields)
    lines = [
        f"tasks.{name}.{key}: unknown key{did_you_mean(str(key), known)} "
        f"({_place(text, where, f'tasks.{name}.{key}')})"
        for key in given
        if key not in known
    ]
    try:
        task = SuiteTask.model_validate({key: value for key, value in given.items() if key in known})
    except ValidationError as error:
        told = describe(error, SuiteTask, lambda path: _place(text, where, f"tasks.{name}.{path}"))
        lines += [f"tasks.{name}.{line}" for line in told.splitlines()]
    return "\n".join(lines) if lines else task


def _place(text: str, where: str, path: str) -> str:
    line = line_of(text, path)
    return f"{where}, line {line}" if line else where
