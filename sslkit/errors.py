"""Every error sslkit raises on purpose.

    SslkitError
    ├── ConfigError           a recipe, key, option or argument is wrong (exit code 2)
    │   └── UnknownNameError  a name nobody registered; the nearest ones are offered
    ├── DataError             a data set cannot be used as asked
    │   └── DecodeError       one sample cannot be decoded; the run skips and counts it
    ├── ModelError            a backbone cannot be built or does not offer what was asked
    │   └── WeightsError      weights do not fit the backbone, with counts
    ├── RunError              a run cannot start, continue or finish
    │   ├── CheckpointError   a checkpoint is missing, damaged or of another version
    │   ├── DivergedError     the loss is no longer finite
    │   └── InterruptedRunError  stopped by a signal after saving a checkpoint (exit code 128 + signal)
    ├── ArtifactError         embeddings or an index are damaged or belong to another model
    └── PluginError           a plugin is broken; the run goes on unless plugins are strict

A message says what was given, the rule, and what would work.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SslkitError(Exception):
    """Root of all errors that are the caller's to mend; the command line prints them without a traceback."""

    exit_code = 1


class ConfigError(SslkitError):
    """A recipe, key, option or argument is wrong."""

    exit_code = 2


class UnknownNameError(ConfigError):
    """A name nobody registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name = kind, name
        super().__init__(f"unknown {kind} '{name}'{did_you_mean(name, known)}{' ' + hint if hint else ''}")


class DataError(SslkitError):
    """A data set cannot be used as asked."""


class DecodeError(DataError):
    """One sample cannot be decoded."""


class ModelError(SslkitError):
    """A backbone cannot be built or does not offer what was asked."""


class WeightsError(ModelError):
    """Weights do not fit the backbone."""


class RunError(SslkitError):
    """A run cannot start, continue or finish."""


class CheckpointError(RunError):
    """A checkpoint is missing, damaged or of another version."""


class DivergedError(RunError):
    """The loss is no longer finite."""


class InterruptedRunError(RunError):
    """The run was stopped by a signal after a checkpoint was saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (str(self), self.exit_code - 128)  # so that one process can tell another


class ArtifactError(SslkitError):
    """Embeddings or an index are damaged or belong to another model."""


class PluginError(SslkitError):
    """A plugin is broken."""


def did_you_mean(name: str, known: Iterable[str], *, shown: int = 12) -> str:
    """The end of an error message: the nearest known names, or the first few when none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(repr(n) for n in near)}?"
    if not names:
        return "; none is known."
    more = f" ... ({len(names)} in all)" if len(names) > shown else ""
    return f"; known: {', '.join(names[:shown])}{more}."
