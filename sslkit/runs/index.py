"""An index made, grown and kept in order: `sslkit index build | add | remove | compact | verify | info`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from sslkit.data.subset import Subset
from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours.picker import Fill, Wanted
from sslkit.registry import open_source
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.changes import refuse_foreign
from sslkit.retrieval.embed import FILES, EmbeddingSet, read_embeddings
from sslkit.retrieval.filters import Where
from sslkit.retrieval.interchange import ITEM_COLUMNS, imported
from sslkit.retrieval.metadata import read_metadata, read_rows
from sslkit.runs.embed import address_of, embed
from sslkit.runs.embedder import open_embedder
from sslkit.runs.shards import led
from sslkit.runs.state import on_main


def build_index(
    source: str | Path,
    data: str | Path | None,
    out: str | Path,
    *,
    wanted: Wanted | None = None,
    metadata: str | Path | None = None,
    items: str | Path | None = None,
    model_hash: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Build an index from a model and the `data` to embed, an embeddings folder, or an .npy file of vectors.

    wanted: how well and how quickly it should find; by default chosen for a recall@10 of .95. metadata: a
    table (.csv, .json, .jsonl, .parquet) whose column `name` says which sample a row is of. items: the same
    for an .npy file, with ids, names, labels and times beside the metadata; model_hash: names the model of
    its vectors. Stopped while it embeds, the same call goes on; started by `accelerate launch` or torchrun,
    all processes embed, and fill the search structure.

    Raises ConfigError when `out` exists (and `overwrite` is false) or what is wanted cannot be had,
    DataError when nothing decodes, ArtifactError for vectors that cannot be indexed. Returns `out`.
    """
    out = Path(out)
    if data is None:
        embeddings = _given(Path(source), items, model_hash)
        known = _known(items, ITEM_COLUMNS, embeddings) | _known(metadata, (), embeddings)
        led(partial(_build, embeddings, out, wanted, known, overwrite, progress))
        return out
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists and would be lost; choose another folder or ask to overwrite it")
    kept = out.with_name(f"{out.name}.embeddings")
    embeddings = _embedded(source, data, kept, None, progress)
    known = _known(metadata, (), embeddings)
    led(partial(_build, embeddings, out, wanted, known, overwrite, progress))
    on_main(lambda: _forget(kept))
    return out


def add_to_index(
    index: str | Path,
    data: str | Path,
    *,
    update: bool = False,
    new: bool = False,
    metadata: str | Path | None = None,
    model: str | Path | None = None,
    progress: bool = True,
) -> NDArray[np.int64]:
    """Embed `data` with the index's model and add it, or add an embeddings folder; ids int64 (N,).

    update: samples that are there already get their new vector. new: they are left out, and not embedded.
    Otherwise they are refused. model: where the index's model is now; default: where it was.

    Raises ArtifactError for vectors of another model or samples that are there already, ConfigError when
    both or neither way is possible.
    """
    if update and new:
        raise ConfigError("update and new exclude each other: known samples are embedded again, or left out")
    with Index.load(index) as opened:
        if (Path(data) / "embed.json").is_file():
            embeddings = read_embeddings(Path(data))
            if new:
                embeddings = _without(embeddings, opened)
            return opened.add(embeddings, update=update, metadata=_known(metadata, (), embeddings))
        model = model or _model_of(opened)
        refuse_foreign(open_embedder(model).model_hash, opened.model_hash, opened.path)
        unknown, total = _unknown(opened, str(data))
        if not update and not new and len(unknown) < total:
            raise ArtifactError(
                f"{total - len(unknown)} of {total} samples of {data} are in {index} already; update them "
                "(--update), or add the others alone (--new)"
            )
        if new and not len(unknown):
            return unknown
        only = unknown if new else None
        kept = _beside(opened.path, str(data), only)
        embeddings = _embedded(model, data, kept, only, progress)
        ids = opened.add(embeddings, update=update, metadata=_known(metadata, (), embeddings))
        _forget(kept)
        return ids


def remove_from_index(
    index: str | Path, ids: Iterable[int] = (), where: Where | None = None, *, dry_run: bool = False
) -> NDArray[np.int64]:
    """Remove items by id and by condition; the ids removed, int64 (M,), with `dry_run` those that would be.

    Raises ConfigError when neither is given or the condition cannot be used, ArtifactError for unknown ids.
    """
    wanted = np.fromiter(ids, np.int64)
    if not len(wanted) and not where:
        raise ConfigError("nothing to remove: name ids, or a condition such as --where \"label = 'cat'\"")
    with Index.load(index) as opened:
        opened.items(wanted.tolist())  # refuses unknown ones
        found = np.union1d(wanted, opened.select(where)) if where else np.unique(wanted)
        if len(found) and not dry_run:
            opened.remove(found.tolist())
        return found


def compact_index(index: str | Path, *, wanted: Wanted | None = None, progress: bool = True) -> None:
    """Write an index into one piece and build its search structure anew; see `Index.compact`."""
    with Index.load(index) as opened:
        opened.compact(wanted=wanted, progress=_teller(progress))


def verify_index(index: str | Path) -> int:
    """Check every byte of an index and that items and vectors belong together; the number of its items.

    Raises ArtifactError with what is wrong.
    """
    with Index.load(index) as opened:
        opened.verify()
        return len(opened)


def index_info(index: str | Path) -> dict[str, Any]:
    """The passport of an index: what it holds, of which model, and how well it finds."""
    with Index.load(index) as opened:
        return {"index": str(opened.path), **opened.passport}


def _given(source: Path, items: str | Path | None, model_hash: str | None) -> EmbeddingSet:
    if source.suffix == ".npy":
        return imported(source, None if items is None else Path(items), model_hash=model_hash)
    if not (source / "embed.json").is_file():
        raise ConfigError(
            f"{source} is no embeddings folder and no .npy file; name the images to embed after the model"
        )
    return read_embeddings(source)


def _known(
    table: str | Path | None, leave_out: Collection[str], embeddings: EmbeddingSet
) -> dict[str, Mapping[str, Any]]:
    """Metadata of a table by name; raises ConfigError for one that is of other data."""
    if table is None or (leave_out and not any("name" in row for row in read_rows(Path(table)))):
        return {}
    found = read_metadata(table, leave_out=leave_out)
    if found and not any(name in found for name in embeddings.names):
        raise ConfigError(
            f"{table} names no sample of the data; it has names such as {next(iter(found))!r}, the data "
            f"such as {embeddings.names[0]!r}: write the paths inside the data set"
        )
    return dict(found)


def _build(
    embeddings: EmbeddingSet,
    out: Path,
    wanted: Wanted | None,
    metadata: Mapping[str, Mapping[str, Any]],
    overwrite: bool,
    progress: bool,
    filled: Fill,
) -> None:
    Index.build(
        embeddings,
        out,
        wanted=wanted,
        metadata=metadata,
        overwrite=overwrite,
        progress=_teller(progress),
        filled=filled,
    ).close()


def _teller(shown: bool) -> Any:
    console = Console(stderr=True, quiet=not shown)
    return lambda line: console.print(line, highlight=False, soft_wrap=True)


def _model_of(index: Index) -> str:
    model = index.preprocessing.get("model")
    if model is None:
        raise ConfigError(f"index {index.path} does not remember its model; name it with --model RUN")
    return str(model)


def _embedded(
    model: str | Path, data: str | Path, kept: Path, only: NDArray[np.int64] | None, progress: bool
) -> EmbeddingSet:
    """Embeddings of some samples under their ids, from `kept` where a call that was stopped left them."""
    source = open_source(str(data))
    part = source if only is None else Subset(source, only)
    if kept.exists():
        found = read_embeddings(kept)
        stale = (found.model_hash, found.source_fingerprint) != (
            open_embedder(model).model_hash,
            part.fingerprint,
        )
    if not kept.exists() or stale:
        embed(model, data, kept, only=only, overwrite=True, progress=progress)
        found = read_embeddings(kept)
    if only is None:
        return found
    return replace(found, ids=only[found.ids], source_fingerprint=source.fingerprint)


def _unknown(index: Index, data: str) -> tuple[NDArray[np.int64], int]:
    """Samples of a data set that are not in the index, by id, and how many it has in all."""
    source, known = open_source(data), index.names(address_of(data))
    unknown = [id for id in range(len(source)) if source[id].name not in known]
    return np.array(unknown, np.int64), len(source)


def _without(embeddings: EmbeddingSet, index: Index) -> EmbeddingSet:
    known = index.names(embeddings.address)
    return embeddings.rows([row for row, name in enumerate(embeddings.names) if name not in known])


def _beside(index: Path, data: str, only: NDArray[np.int64] | None) -> Path:
    """Where what is added is embedded: the same place when the same call comes again."""
    chosen = b"" if only is None else only.tobytes()
    key = hashlib.sha256(address_of(data).encode("utf-8", "surrogateescape") + chosen).hexdigest()[:8]
    return index.with_name(f"{index.name}.{key}.embeddings")


def _forget(embeddings: Path) -> None:
    """Remove a folder that this file made."""
    for name in FILES:
        (embeddings / name).unlink(missing_ok=True)
    embeddings.rmdir()
