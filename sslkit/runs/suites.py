"""Finds the suite that `--suite` names: all tasks on generated data, a file, or a folder of one's own."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from sslkit.config.suite import Suite, SuiteTask, read_suite
from sslkit.contracts import Measurement, TransferTask
from sslkit.errors import ConfigError, DataError, PluginError, UnknownNameError
from sslkit.hookspecs import Kind
from sslkit.registry import names, resolve
from sslkit.registry.lookup import absence, find, loaded

PROCEDURAL = "procedural"
VERSION = 1
"""Of the suites made here; their tasks are in their hash."""

_SPLITS = ("train", "val", "valid", "validation", "test")

Say = Callable[[str], None]


def load_suite(name: str, *, say: Say | None = None) -> Suite:
    """The suite "procedural", that of a .yaml or .yml file, or what is found in a folder of one's own data.

    procedural: every registered task on its generated data, those of sslkit first, then plugin by plugin. A
    file: relative paths of data in it start at the working directory. A folder: every registered task looks
    at it and at its direct subfolders; what is found there is named SUBFOLDER-TASK.

    say: told, a line each, what was recognised as what, and which tasks cannot be loaded; stderr by default.
    A plugin whose task fails costs that task alone.

    Raises ConfigError for a wrong file and for what is neither of the three, UnknownNameError for a head that
    nobody registered, DataError for a folder in which no task finds anything, with what each looks for.
    """
    say = say or _to_stderr
    if name == PROCEDURAL:
        return _procedural(say)
    path = Path(name).expanduser()
    if path.is_dir():
        return _of_folder(path, say)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(
            f"suite '{name}': it is '{PROCEDURAL}', a .yaml file of tasks, or a folder with your own data"
            + ("" if path.exists() else f"; there is no '{name}' here")
        )
    suite = read_suite(path)
    for task, measured in suite.measurements.items():
        _check_head(measured.head, f"{path}, task '{task}'")
    return suite


def _procedural(say: Say) -> Suite:
    found = {
        name: task.procedural
        for name, task in _registered(say).items()
        if task.procedural is not None and _sound(name, task.procedural, say)
    }
    if not found:
        raise ConfigError("no registered task has generated data; `sslkit plugins list --hooks` shows all")
    return Suite.of(PROCEDURAL, VERSION, found)


def _of_folder(folder: Path, say: Say) -> Suite:
    tasks = _registered(say)
    found = _recognised(tasks, folder, say)
    inside = _folders(folder)
    if found:  # train and test of a set that was found are parts of it
        inside = [one for one in inside if one.name.casefold() not in _SPLITS]
    rest = {
        name: task for name, task in tasks.items() if name not in found
    }  # what it is of, its parts are of
    for one in inside:
        for name, measured in _recognised(rest, one, say).items():
            found[_free(f"{_plain(one.name)}-{name}", found)] = measured
    if not found:
        wanted = "".join(f"\n  {name}: {_looks_for(task)}" for name, task in tasks.items())
        raise DataError(
            f"no task finds its data in {folder} or its {len(inside)} subfolders; they look for:{wanted}\n"
            "for other layouts write a suite file, such as tasks: {cars: {head: knn, data: list:cars.txt}}"
        )
    for name, measured in found.items():
        judged = "" if measured.test is None else f", judged on {measured.test}"
        say(f"{name}: {measured.head} on {measured.data}{judged} ({measured.domain or 'your own data'})")
    return Suite.of(_plain(folder.resolve().name) or "folder", VERSION, found)


def _registered(say: Say) -> dict[str, TransferTask]:
    """All tasks that can be loaded, built-ins first, each plugin's in the order it gives them."""
    order = list(dict.fromkeys(loaded().targets["task"].values()))
    found: dict[str, TransferTask] = {}
    for name in sorted(names("task"), key=lambda name: order.index(find("task", name))):
        try:
            task = resolve("task", name)
        except PluginError as error:
            say(f"left out: {error}")
            continue
        if not isinstance(task, TransferTask):
            say(f"left out: task '{name}' is a {type(task).__name__}, not a TransferTask")
            continue
        found[name.replace(":", "-")] = task
    return found


def _recognised(tasks: dict[str, TransferTask], folder: Path, say: Say) -> dict[str, Measurement]:
    found = {}
    for name, task in tasks.items():
        try:
            measured = task.recognise(folder)
        except Exception as error:  # it should raise nothing, and is a stranger's code
            say(f"task '{name}' left out of {folder}: {type(error).__name__}: {error}")
            continue
        if _sound(name, measured, say):
            found[name] = cast(Measurement, measured)
    return found


def _sound(name: str, measured: Measurement | None, say: Say) -> bool:
    """Whether there is a measurement that a suite can hold."""
    if measured is None:
        return False
    try:
        SuiteTask(**vars(measured))
    except (TypeError, ValidationError) as error:
        say(f"left out: task '{name}' gives {measured!r}, which is no measurement ({type(error).__name__})")
        return False
    return True


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(one for one in folder.iterdir() if one.is_dir() and one.name[0] != ".")
    except OSError as error:
        raise DataError(f"cannot list the folder {folder}: {error.strerror}") from error


def _looks_for(task: TransferTask) -> str:
    """The first sentence of what recognises it."""
    told = inspect.getdoc(task.recognise) or "it does not say what"
    return " ".join(told.partition("\n\n")[0].split())


def _check_head(head: str, where: str) -> None:
    """Raise UnknownNameError for what is neither head nor probe, ConfigError for a name not clear."""
    kinds: tuple[Kind, ...] = ("probe", "head")
    for kind in kinds:
        with suppress(UnknownNameError):
            find(kind, head)
            return
    known = {*names("head"), *names("probe")}
    raise UnknownNameError("head or probe", head, known, f"({where}) {absence('head', head)}".rstrip())


def _plain(name: str) -> str:
    """A folder's name as part of a task's."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")


def _free(name: str, taken: dict[str, Measurement]) -> str:
    folded = {one.casefold() for one in taken}
    if name.casefold() not in folded:
        return name
    return next(f"{name}-{n}" for n in range(2, len(taken) + 3) if f"{name}-{n}".casefold() not in folded)


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"sslkit: {line}\n")
