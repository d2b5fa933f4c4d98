"""A data set embedded into an EMB folder, which goes on where it was whenever it was stopped."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray

from sslkit.contracts import Moment, Skipped, Source
from sslkit.data.reader import holds_video
from sslkit.data.subset import Subset
from sslkit.errors import ArtifactError, ConfigError, DataError, InterruptedRunError
from sslkit.registry import open_source
from sslkit.retrieval.embed import FILES, Dtype, read_embeddings, write_embeddings
from sslkit.retrieval.embedding_parts import EmbeddingParts, PartWriter, StoredRows
from sslkit.retrieval.folder import written_aside
from sslkit.runs.embedder import Embedder, left_out, open_embedder
from sslkit.runs.interruption import Interruption
from sslkit.runs.one_at_a_time import working_alone
from sslkit.runs.state import on_main
from sslkit.training.progress import ProgressLine
from sslkit.version import __version__

_PATIENCE = timedelta(days=30)
"""How long processes wait for the slowest; the launcher ends them where one of them dies."""
_NAMED = 10
"""Samples that could not be decoded, of all that are counted."""


def embed(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    dtype: Dtype = "float32",
    batch_size: int = 128,
    only: NDArray[np.int64] | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write the embedding of every image or moment of `data` into folder `out`; returns it.

    What is done is kept in .NAME.parts beside it, so that the same call goes on after an interruption, with
    the same result to the bit; that folder is removed at the end. Started by `accelerate launch` or torchrun,
    every process embeds a share. Samples that cannot be decoded have no row; the ids of the others stay what
    they are. batch_size: samples computed at a time. only: samples, by id, which are numbered from 0 then.

    Raises ConfigError when `out` exists or parts of another model, other data or settings lie there (and
    `overwrite` is false), DataError when nothing decodes, RunError when another process writes the same
    folder, InterruptedRunError after a signal.
    """
    if dtype not in ("float32", "float16"):
        raise ConfigError(f"dtype={dtype!r}: embeddings are written as 'float32' or 'float16'")
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: at least one sample is computed at a time; 128 is usual")
    out = Path(out)
    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=_PATIENCE)
    source = open_source(str(data))
    source = source if only is None else Subset(source, only)
    task = _task(open_embedder(model), source, out, batch_size, dtype)
    with ExitStack() as held:
        missing = on_main(lambda: _begun(task, held, overwrite))
        if missing is None:
            return out
        share = np.array_split(missing, state.num_processes)[state.process_index]
        with ProgressLine(
            total=len(task.source),
            done=len(task.source) - task.samples_of(missing),
            shown=progress and state.is_main_process,
            label="embed",
        ) as line:
            _embed_share(task, share, line, task.samples_of(missing), state.num_processes)
            state.wait_for_everyone()
            skipped = on_main(lambda: _joined(task, address_of(str(data)), overwrite))
            if skipped:
                line.say(left_out(skipped, len(task.source)))
            for skip in skipped[1:_NAMED]:
                line.say(f"  {skip.name}: {skip.reason}")
    return out


@dataclass(frozen=True)
class _Task:
    embedder: Embedder
    source: Source
    batch_size: int
    parts: EmbeddingParts
    out: Path

    def samples_of(self, batches: NDArray[np.int64]) -> int:
        """How many samples some batches hold, whose numbers ascend."""
        last = len(batches) > 0 and batches[-1] == self.parts.batches - 1
        return len(batches) * self.batch_size - (-len(self.source) % self.batch_size if last else 0)


def _task(embedder: Embedder, source: Source, out: Path, batch_size: int, dtype: Dtype) -> _Task:
    batch_size = min(batch_size, len(source))
    shaping = {
        "model_hash": embedder.model_hash,
        "source_fingerprint": source.fingerprint,
        "samples": len(source),
        "preprocessing": embedder.preprocessing,
        "clips": asdict(embedder.clips) if holds_video(source) else None,
        "batch_size": batch_size,
        "sslkit": __version__,
    }
    batches = math.ceil(len(source) / batch_size)
    return _Task(
        embedder, source, batch_size, EmbeddingParts(out, shaping, batches=batches, dtype=dtype), out
    )


def _begun(task: _Task, held: ExitStack, overwrite: bool) -> NDArray[np.int64] | None:
    """The batches that are still to be embedded; None where an earlier run was killed after its last one."""
    if not overwrite and task.parts.own and _finished(task):
        task.parts.remove()
        return None
    with suppress(_OnlyAskedError), written_aside(task.out, FILES, overwrite=overwrite):
        raise _OnlyAskedError  # what would be refused at the end is refused before any work
    task.parts.make_folder()
    held.enter_context(working_alone(task.parts.folder))
    task.parts.begin(anew=overwrite)
    return task.parts.missing()


class _OnlyAskedError(Exception):
    pass


def _finished(task: _Task) -> bool:
    """Whether `out` holds the very embeddings that the parts were for."""
    try:
        found = read_embeddings(task.out)
    except ArtifactError:
        return False
    wanted = (task.embedder.model_hash, task.source.fingerprint, task.parts.dtype)
    return (found.model_hash, found.source_fingerprint, str(found.vectors.dtype)) == wanted


def _embed_share(
    task: _Task, share: NDArray[np.int64], line: ProgressLine, missing: int, processes: int
) -> None:
    """Embed some batches into parts. The line shows all processes, taken to be as far as this one."""
    kept, done, skipped = len(task.source) - missing, 0, 0
    started = time.monotonic()
    with Interruption() as stop, PartWriter(task.parts) as writer:
        embedded = task.embedder.batches(task.source, batch_size=task.batch_size, only=share)
        for number, features in zip(share.tolist(), embedded, strict=True):
            writer.add(number, features)
            done += len(features) + len(features.skipped)
            skipped += len(features.skipped)
            rate = done * processes / (time.monotonic() - started)
            figures = {"rate": f"{rate:.0f}/s"} | ({"undecodable": str(skipped)} if skipped else {})
            line.update(kept + min(done * processes, missing), figures)
            if stop.signal is not None:
                embedded.close()
                break
    if stop.signal is not None:
        kept = len(task.source) - task.samples_of(task.parts.missing())
        raise InterruptedRunError(
            f"stopped by {signal.Signals(stop.signal).name}: {kept} of {len(task.source)} samples are kept "
            f"in {task.parts.folder}; the same command goes on from there",
            stop.signal,
        )


def _joined(task: _Task, address: str, overwrite: bool) -> Sequence[Skipped]:
    """Make the folder of the parts and remove them; what could not be decoded."""
    source, skipped, count = task.source, list[Skipped](), 0

    def rows() -> Iterator[StoredRows]:
        nonlocal count
        for part in task.parts.rows():
            skipped.extend(part.skipped)
            count += len(part.ids)
            yield part

    def times_of(id: int) -> tuple[float, float] | None:
        moment = source[id].content
        return (moment.start, moment.start + moment.length) if isinstance(moment, Moment) else None

    try:
        write_embeddings(
            task.out,
            rows(),
            lambda id: source[id].name,
            dtype=task.parts.dtype,
            model_hash=task.embedder.model_hash,
            preprocessing={**task.embedder.preprocessing, "model": task.embedder.model, "data": address},
            source_fingerprint=source.fingerprint,
            classes=source.classes,
            address=address,
            times_of=times_of if holds_video(source) else None,
            overwrite=overwrite,
        )
    except ArtifactError as error:
        if count or not skipped:
            raise
        raise DataError(f"{left_out(skipped, len(source))}; there is nothing to embed") from error
    task.parts.remove()
    return skipped


def address_of(data: str) -> str:
    """The address of the data from anywhere on this machine."""
    return str(Path(data).resolve()) if Path(data).exists() else data
