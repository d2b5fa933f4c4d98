"""The memory bank: one slot for each sample, holding the newest output the loop has computed for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sslkit.errors import CheckpointError, ConfigError, RunError

MAPPED_BYTES = 2 << 30
"""A bank larger than this belongs in a file; 1,000,000 x 128 takes an eighth of it."""

_LEAST_BLEND = 1e-3  # a moving average shorter than this has lost its direction


@dataclass(frozen=True)
class Snapshot:
    """A bank as it was at one step.

    vectors: float16 (M, P), unit rows, zero where nothing was written. filled: int64 (F,), the written slots
    in order.
    """

    vectors: NDArray[np.float16]
    filled: NDArray[np.int64]

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these slots (...,) was written; ids lie within the bank."""
        held: NDArray[np.bool_] = self._mask[ids]
        return held

    @cached_property
    def _mask(self) -> NDArray[np.bool_]:
        mask = np.zeros(len(self.vectors), dtype=np.bool_)
        mask[self.filled] = True
        return mask


class Bank:
    """One float16 unit vector of width `dim` for each of `count` samples, addressed by id; on the CPU.

    momentum: in [0, 1), of a moving average in each slot; 0 keeps the newest, and from about .999 on a change
    drowns in the rounding of float16. mapped: a file to keep the vectors in, which is replaced; `wants_file`
    says when that is wise.

    written: int64 (count,), the step of each slot's last write, -1 where there was none. refused: how many
    rows were not written because they were not finite or all zero.

    Raises ConfigError for options out of range, RunError when the file cannot be made.
    """

    def __init__(self, count: int, dim: int, *, momentum: float = 0.0, mapped: Path | None = None) -> None:
        if count < 1 or dim < 1:
            raise ConfigError(f"a bank of {count} slots of width {dim}; both must be at least 1")
        if not 0 <= momentum < 1:
            raise ConfigError(f"mining.momentum is {momentum}; it must be at least 0 and less than 1")
        self.momentum, self.mapped, self.refused = momentum, mapped, 0
        self.written = np.full(count, -1, dtype=np.int64)
        self._vectors = np.zeros((count, dim), np.float16) if mapped is None else _in_file(mapped, count, dim)

    def __len__(self) -> int:
        return len(self.written)

    @property
    def dim(self) -> int:
        """Width P of the vectors."""
        return int(self._vectors.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors, in memory or in the file."""
        return vector_bytes(len(self), self.dim)

    @property
    def filled(self) -> NDArray[np.int64]:
        """The slots that were written, int64 (F,), in order."""
        return np.flatnonzero(self.written >= 0)

    @torch.no_grad()
    def write(self, ids: Tensor, vectors: Tensor, step: int) -> None:
        """Keep vectors (N, P) of any float type at unit length in the slots `ids`, int64 (N,).

        Of rows with one id the last is kept; rows that are not finite or all zero are left out and counted.
        Raises ConfigError for ids outside the bank and for shapes that do not fit.
        """
        slots = self._slots(ids)
        if slots.ndim != 1 or vectors.shape != (len(slots), self.dim):
            raise ConfigError(
                f"vectors of shape {tuple(vectors.shape)} for ids of shape {tuple(ids.shape)}; a bank of "
                f"width {self.dim} takes (N, {self.dim}) for (N,)"
            )
        rows = vectors.detach().to("cpu", torch.float32)
        largest = rows.abs().amax(dim=1)
        sound = largest.isfinite() & (largest > 0)
        self.refused += int((~sound).sum())
        kept = sound.nonzero()[:, 0].numpy()
        _, first_from_end = np.unique(slots[kept][::-1], return_index=True)
        kept = kept[::-1][first_from_end]  # the last row of each id
        slots = slots[kept]
        unit = F.normalize(rows[kept] / largest[kept, None], dim=1)
        self._vectors[slots] = self._blended(slots, unit).numpy().astype(np.float16)
        self.written[slots] = step

    def read(self, ids: Tensor) -> Tensor:
        """The vectors of the slots `ids` (...,) as float32 (..., P) at unit length, on the CPU.

        Slots never written are zero. Raises ConfigError for ids outside the bank.
        """
        # float16 rounds lengths by some 1e-4; zero stays zero.
        return F.normalize(torch.from_numpy(self._vectors[self._slots(ids)]).float(), dim=-1)

    def age(self, ids: Tensor, step: int) -> Tensor:
        """Steps since the slots `ids` (...,) were written, int64 of the same shape; -1 where never."""
        written = torch.from_numpy(self.written[self._slots(ids)])
        return torch.where(written >= 0, step - written, -1)

    def snapshot(self) -> Snapshot:
        """A copy that later writes leave alone; of a mapped bank it is in an unnamed file beside it."""
        if self.mapped is None:
            return Snapshot(self._vectors.copy(), self.filled)
        copy = _in_file(None, len(self), self.dim, folder=self.mapped.parent)
        copy[:] = self._vectors
        return Snapshot(copy, self.filled)

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors that share memory with the bank, as those of an nn.Module do; of a mapped bank too."""
        return {
            "vectors": torch.from_numpy(self._vectors),
            "written": torch.from_numpy(self.written),
            "refused": torch.tensor(self.refused),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over another bank's content; CheckpointError where it is of another size."""
        found = tuple(state["vectors"].shape)
        if found != self._vectors.shape:
            raise CheckpointError(
                f"the checkpoint holds a bank of {' x '.join(map(str, found))}, this run needs one of "
                f"{len(self)} x {self.dim}; resume with the data and the projector the run was started with"
            )
        self._vectors[:] = state["vectors"].numpy()
        self.written[:] = state["written"].numpy()
        self.refused = int(state["refused"])

    def _slots(self, ids: Tensor) -> NDArray[np.int64]:
        slots = ids.detach().cpu().numpy()
        if slots.dtype != np.int64:
            raise ConfigError(f"ids of a bank are {ids.dtype}; int64 is needed")
        bad = slots[(slots < 0) | (slots >= len(self))]
        if bad.size:
            raise ConfigError(
                f"id {bad.flat[0]} is outside a bank of {len(self)} slots; ids run from 0 to "
                f"{len(self) - 1}, as positions in the source do"
            )
        return slots

    def _blended(self, slots: NDArray[np.int64], unit: Tensor) -> Tensor:
        """New unit rows (N, P), moved towards what the slots hold where they hold something."""
        if self.momentum == 0:
            return unit
        old = F.normalize(torch.from_numpy(self._vectors[slots]).float(), dim=1)
        blend = self.momentum * old + (1 - self.momentum) * unit
        length = blend.norm(dim=1, keepdim=True)
        # A slot never written is zero, so that its blend points where the new row does.
        return torch.where(length < _LEAST_BLEND, unit, blend / length.clamp(min=_LEAST_BLEND))


def vector_bytes(count: int, dim: int) -> int:
    """Bytes that the vectors of a bank take: 256 MB for 1,000,000 x 128."""
    return 2 * count * dim


def wants_file(count: int, dim: int) -> bool:
    """Whether a bank of this size should be memory-mapped."""
    return vector_bytes(count, dim) > MAPPED_BYTES


def _in_file(path: Path | None, count: int, dim: int, *, folder: Path | None = None) -> NDArray[np.float16]:
    """Zeros in a file of this name, or in one without a name in `folder` that vanishes with the array."""
    place, size = folder or Path(path or ".").parent, vector_bytes(count, dim)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place, prefix=".bank-", ignore_cleanup_errors=True) as aside:
            made = Path(aside) / "vectors"
            with made.open("wb+") as file:
                # The room is claimed now: a disk that fills up under a mapped file kills without a word.
                if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
                    os.posix_fallocate(file.fileno(), 0, size)
                array = np.memmap(file, dtype=np.float16, mode="w+", shape=(count, dim))
            if path is not None:  # ranks may name the same: each maps its own, none is cut under another
                made.replace(path)
            return array
    except OSError as error:
        raise RunError(
            f"a bank of {count} x {dim} needs a file of {size:,} bytes in {place} ({error}); free space or "
            "mend the folder"
        ) from error
