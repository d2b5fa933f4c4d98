"""One training or fit of one task on one backbone: a row of the transfer matrix, on disk row.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from sslkit.contracts import Curve


@dataclass(frozen=True)
class Row:
    """What was measured, and all that is needed to compare it with another row.

    task: the name in the suite; subject: the backbone's; seed: of the head, its data order, what a probe
    draws, and the weights of an untrained backbone. failure: why there are no figures. protocol: `id@hash`.
    metric: the figure that counts. resamples: of that figure, on bootstrap resamples of the test samples;
    resampling: names how they were drawn, so that two rows of one name were judged on the same resamples.
    weights: hash of the backbone's. train, test: numbers of samples; classes: number of classes.
    source, target: domain and task that were learnt before and are measured now. parameters: counts of the
    backbone's loaded, fresh, trained and frozen ones and of the head's. seconds: spent, by part. transfer:
    figures on data of another domain, with the gap to the test's. sheet: a picture of predictions, in the
    row's folder.
    """

    task: str
    subject: str
    seed: int
    head: str = ""
    protocol: str = ""
    metric: str = ""
    higher_is_better: bool = True
    failure: str | None = None
    figures: Mapping[str, float | None] = field(default_factory=dict)
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    resamples: tuple[float, ...] = ()
    resampling: str = ""
    weights: str = ""
    data: str = ""
    train: int = 0
    test: int = 0
    classes: int = 0
    source: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    transfer: Mapping[str, Any] | None = None
    sheet: str | None = None

    @property
    def value(self) -> float | None:
        """The figure that counts; None of a failure, or where there was nothing to make it of."""
        return self.figures.get(self.metric)

    def to_dict(self) -> dict[str, Any]:
        """In JSON terms; what is not finite is None."""
        return {one.name: in_json(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def from_dict(cls, read: Mapping[str, Any]) -> Row:
        """A row from its JSON terms; raises KeyError, TypeError or AttributeError for others."""
        curves = {
            name: Curve(_numbers(one["x"]), _numbers(one["y"]), one["x_label"], one["y_label"])
            for name, one in read["curves"].items()
        }
        return cls(**{**read, "curves": curves, "resamples": _numbers(read["resamples"])})


def in_json(value: Any) -> Any:
    """Data classes and mappings as dicts, tuples as lists, None for a number that is not finite."""
    if is_dataclass(value):
        return {one.name: in_json(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): in_json(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [in_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(read: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if one is None else float(one) for one in read)
