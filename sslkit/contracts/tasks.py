"""Tasks of the transfer matrix: what is measured on which data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measurement:
    """A head or probe on data, by a protocol: one row of the transfer matrix.

    data: trained or fitted on, a DATA argument; test: judged on, None takes the split or the part that is
    held out. transfer_to: data of another domain that is judged on as well. protocol: a name or file, "" is
    the head's own. settings: changes of it, such as "training.steps=500". domain: what the data show, in a
    word or two; "" takes the data's name. synthetic: whether they were drawn by a program.
    """

    head: str
    data: str
    test: str | None = None
    transfer_to: str | None = None
    protocol: str = ""
    settings: tuple[str, ...] = ()
    domain: str = ""
    synthetic: bool = False


@dataclass(frozen=True)
class TransferTask:
    """A task that a plugin brings to every transfer matrix.

    procedural: the measurement on generated data that stands for it where nothing is downloaded, None for
    none. recognise: finds the task in a user's folder, and gives the measurement on it, None where the folder
    holds something else. It looks at names and at the first bytes of few files, and raises nothing.
    """

    procedural: Measurement | None
    recognise: Callable[[Path], Measurement | None]
