"""What measuring one task on one backbone with one seed gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sslkit.contracts import Curve, Measurement


@dataclass(frozen=True)
class Found:
    """The part of a row that is measured; see `Row`."""

    figures: Mapping[str, float]
    per_class: Mapping[str, float]
    curves: Mapping[str, Curve]
    resamples: tuple[float, ...]
    train: int
    test: int
    parameters: Mapping[str, int] = field(default_factory=dict)
    transfer: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


def gap(
    measurement: Measurement,
    metric: str,
    here: Mapping[str, float | None],
    there: Mapping[str, float | None],
) -> dict[str, Any]:
    """Figures on the data of another domain, and by how much the one that counts differs from the test's."""
    first, second = here.get(metric), there.get(metric)
    return {
        "data": measurement.transfer_to,
        "figures": dict(there),
        "gap": None if first is None or second is None else second - first,
    }
