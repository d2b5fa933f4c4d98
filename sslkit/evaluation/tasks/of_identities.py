"""Is it the same one? Frozen embeddings compared with each other, on classes that were never learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sslkit.contracts import Measurement, TransferTask
from sslkit.evaluation.tasks.labelled_folders import labelled

MANY = 8
"""Persons or things below which those of a folder are taken for ordinary classes."""

FEW = (2, 20)
"""Pictures of most of them."""

_PERSONS = Measurement(
    head="verification",
    data="identities:count=400,identities=40,size=64,split=test",
    domain="drawn persons",
    synthetic=True,
)


def recognise_verification(folder: Path) -> Measurement | None:
    """A folder for each of 8 or more persons or things, most with 2 to 20 pictures."""
    return _of("verification", folder)


def recognise_identification(folder: Path) -> Measurement | None:
    """The same as for verification."""
    return _of("identification", folder)


def recognise_retrieval(folder: Path) -> Measurement | None:
    """The same as for verification."""
    return _of("retrieval", folder)


def _of(head: str, folder: Path) -> Measurement | None:
    found = labelled(folder)
    if found is None or len(found.judged_counts) < MANY:
        return None
    # Nothing is fitted: where there is a test part, that alone is looked at.
    return Measurement(head, found.judged) if FEW[0] <= found.usual <= FEW[1] else None


VERIFICATION = TransferTask(_PERSONS, recognise_verification)
IDENTIFICATION = TransferTask(replace(_PERSONS, head="identification"), recognise_identification)
RETRIEVAL = TransferTask(replace(_PERSONS, head="retrieval"), recognise_retrieval)
