"""The searchable index on disk: the INDEX folder.

items.sqlite   the items, and which files hold their vectors: what counts
vectors-N, ids-N, search-N   a segment, a part that never changes (segments.py)
index.json     which model made the vectors, how they are found, and how well: a copy for people and programs

A change is a generation (generation.py). Any number of processes may search while one changes the index; each
search sees one generation whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours.picker import Fill, Wanted
from sslkit.neighbours.sharded import fill
from sslkit.retrieval import changes, store
from sslkit.retrieval.arrivals import Metadata
from sslkit.retrieval.changes import passport_of, refuse_foreign
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.retrieval.filters import Where, selected
from sslkit.retrieval.items import IndexedItem, read_items, read_names, read_places
from sslkit.retrieval.reader import Answer, ChangedError, Reader
from sslkit.retrieval.snapshot import Masks, Snapshot


@dataclass(frozen=True)
class Hit(IndexedItem):
    """One neighbour. similarity: cosine."""

    similarity: float = field(default=0.0, kw_only=True)


class Index:
    """Nearest-neighbour search over the embeddings of one model, by cosine; for any number of threads.

    Close it when done, or use it as `with Index.load(path) as index`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = Reader(path)

    @classmethod
    def build(
        cls,
        embeddings: EmbeddingSet,
        out: Path | str,
        *,
        wanted: Wanted | None = None,
        metadata: Metadata | None = None,
        overwrite: bool = False,
        progress: Callable[[str], None] | None = None,
        filled: Fill = fill,
    ) -> Index:
        """Build the INDEX folder of an embedding set, whole or not at all, and load it.

        wanted: how well and how quickly it should find. metadata: of items by name, values that JSON has.
        filled: takes the vectors into a trained search structure; by default in this process.

        Raises:
            ConfigError: `out` exists and `overwrite` is false, the place cannot be written to, or what is
                wanted cannot be had.
            ArtifactError: there is no vector, or one is not finite or all zero; the message names the rows.
        """
        out = Path(out)
        wanted = wanted or Wanted()
        changes.build(
            out,
            embeddings,
            wanted,
            metadata=metadata,
            overwrite=overwrite,
            progress=progress,
            filled=filled,
        )
        return cls(out)

    @classmethod
    def load(cls, path: Path | str) -> Index:
        """Open an INDEX folder; vectors stay in their files until a search reads them.

        Raises ArtifactError when a file is missing or cut short, or another sslkit wrote it. What is read by
        heart, the search structure, is checked byte by byte when first used; `verify` checks the rest.
        """
        return cls(Path(path))

    def close(self) -> None:
        """Let go of the database; the index can no longer be used."""
        self._reader.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._reader.now().count

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._reader.now().passport["dim"])

    @property
    def generation(self) -> int:
        """Number of changes so far, the first build included."""
        return self._reader.now().generation

    @property
    def model_hash(self) -> str:
        """Hash of the weights that made the vectors; only their queries can be searched."""
        return str(self._reader.now().passport["model_hash"])

    @property
    def classes(self) -> Sequence[str]:
        """Class names of the labels; empty without labels."""
        return self._reader.now().classes

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How pixels were prepared before the model, as the embedding set recorded it."""
        return dict(self._reader.now().passport["preprocessing"])

    @property
    def keys(self) -> Sequence[str]:
        """Keys of the metadata, which conditions may name."""
        return self._reader.now().keys

    @property
    def passport(self) -> dict[str, Any]:
        """What index.json says, of the present generation."""
        with self._reader.reading() as (connection, _):
            return passport_of(connection, self.path / store.NAME)

    def search(
        self,
        vectors: NDArray[np.float32],
        k: int,
        *,
        model_hash: str,
        where: Where | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Up to k nearest items for each query of float32 (Q, D), most similar first; fewer where fewer are.

        model_hash: of the weights that made the queries. where: only items that it means are found, however
        few. exact: look at every vector.

        Raises:
            ArtifactError: another model made the queries (both hashes are named), one is not finite or all
                zero, the index is empty, or a file was damaged.
            ConfigError: k < 1, the queries have another width or type, or the condition cannot be used.
        """

        def answer(snapshot: Snapshot, masks: Masks) -> list[list[Hit]]:
            ids, similarities = snapshot.nearest(vectors, k, masks, exact=exact)
            wanted = np.unique(ids[ids >= 0]).tolist()
            with self._reader.reading() as (connection, now):
                if now is not snapshot:
                    raise ChangedError
                items = read_items(connection, wanted)
            if len(items) < len(wanted):
                raise ArtifactError(
                    f"{self.path / store.NAME} lacks items that have vectors: it is damaged; build it again"
                )
            return [
                [_hit(items[id], similarity) for id, similarity in zip(row, values, strict=True) if id >= 0]
                for row, values in zip(ids.tolist(), similarities.tolist(), strict=True)
            ]

        return self._answered(answer, k, model_hash, where)

    def nearest(
        self,
        vectors: NDArray[np.float32],
        k: int,
        *,
        model_hash: str,
        where: Where | None = None,
        exact: bool = False,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As `search`, without the items: ids int64 (Q, k), cosines float32 (Q, k), padded by -1 and -inf."""

        def answer(snapshot: Snapshot, masks: Masks) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            return snapshot.nearest(vectors, k, masks, exact=exact)

        return self._answered(answer, k, model_hash, where)

    def ids(self) -> NDArray[np.int64]:
        """Ids of all items, int64 (N,), ascending."""
        return self._reader.now().ids()

    def items(self, ids: Iterable[int]) -> list[IndexedItem]:
        """The items of some ids, in their order; ArtifactError names the first that is not there."""
        wanted = [int(id) for id in ids]
        with self._reader.reading() as (connection, _):
            found = read_items(connection, wanted)
        missing = [id for id in wanted if id not in found]
        if missing:
            raise ArtifactError(f"no item {missing[0]} in {self.path}; `ids` gives those there are")
        return [found[id] for id in wanted]

    def select(self, where: Where) -> NDArray[np.int64]:
        """Ids of the items that a condition means, int64 (M,), ascending; ConfigError when it is none."""
        with self._reader.reading() as (connection, snapshot):
            ids = (id for (id,) in selected(connection, where, "id", snapshot.keys))
            return np.fromiter(ids, np.int64)

    def names(self, source: str) -> set[str]:
        """Names of the items of one data set, by its address."""
        with self._reader.reading() as (connection, _):
            return read_names(connection, source)

    def vectors(self, ids: Iterable[int]) -> NDArray[np.float32]:
        """The unit vectors of some ids, float32 (M, D), in their order; ArtifactError for one not there."""
        wanted = [int(id) for id in ids]
        with self._reader.reading() as (connection, snapshot):
            places = read_places(connection, wanted)
        missing = [id for id in wanted if id not in places]
        if missing:
            raise ArtifactError(f"no item {missing[0]} in {self.path}; `ids` gives those there are")
        return snapshot.vectors(np.array(wanted, np.int64), [places[id] for id in wanted])

    def blocks(self, rows: int = 16384) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Ids int64 (B,) and unit vectors float32 (B, D) of all items of one generation, B at most `rows`."""
        return self._reader.now().blocks(rows)

    def add(
        self, embeddings: EmbeddingSet, *, update: bool = False, metadata: Metadata | None = None
    ) -> NDArray[np.int64]:
        """Add an embedding set as one generation; the id of each of its rows, int64 (N,).

        update: what has the same name in the same data set keeps its id and gets the new vector, label and,
        where given, metadata. Otherwise such rows are refused.

        Raises ArtifactError for vectors of another model or width, not finite or all zero, or there already.
        """
        return changes.add(self.path, embeddings, update=update, metadata=metadata or {})

    def remove(self, ids: Iterable[int]) -> int:
        """Remove items as one generation; their number. Ids are never given again.

        Raises ArtifactError naming those that are not there; then none is removed.
        """
        return changes.remove(self.path, np.fromiter(ids, np.int64))

    def compact(self, *, wanted: Wanted | None = None, progress: Callable[[str], None] | None = None) -> None:
        """Write what is left into one segment with a new search structure, as first wanted or as `wanted`."""
        changes.compact(self.path, wanted, progress)

    def verify(self) -> None:
        """Check every byte of every file, and that each item has its vector; ArtifactError names a fault."""

        def verified(snapshot: Snapshot, _: Masks) -> None:
            with self._reader.reading() as (connection, now):
                if now is not snapshot:
                    raise ChangedError
                snapshot.verify_items(connection)
            snapshot.verify_files()

        self._reader.on_one_generation(verified)

    def _answered(
        self,
        answer: Callable[[Snapshot, Masks], Answer],
        k: int,
        model_hash: str,
        where: Where | None,
    ) -> Answer:
        if k < 1:
            raise ConfigError(f"k={k} neighbours asked for; at least 1 is needed")

        def checked(snapshot: Snapshot, masks: Masks) -> Answer:
            refuse_foreign(model_hash, str(snapshot.passport["model_hash"]), self.path)
            if not snapshot.count:
                raise ArtifactError(f"the index {self.path} is empty: every item was removed; add some first")
            return answer(snapshot, masks)

        return self._reader.on_one_generation(checked, where)


def _hit(item: IndexedItem, similarity: float) -> Hit:
    return Hit(**item.__dict__, similarity=similarity)
