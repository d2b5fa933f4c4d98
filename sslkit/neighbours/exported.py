"""A file that FAISS alone can search: `faiss.read_index(file).search(queries, k)` gives cosines and ids.

Queries must be of unit length, as the vectors in it are. An approximate structure looks as hard as it was
tuned to, and its candidates are ranked by the exact vectors, which are in the file too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError
from sslkit.neighbours.structure import Effort
from sslkit.neighbours.structure_file import read_description

_MAPPED = faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_SKIP_STORAGE


def write_exported(
    out: Path,
    ids: NDArray[np.int64],
    vectors: Path,
    structure: Path | None = None,
    effort: Effort | None = None,
) -> str:
    """Write an IndexIDMap2 over a saved `FlatIndex` and, where given, its saved `Structure`; its class names.

    ids: int64 (N,), of the rows of `vectors`. effort: how hard the structure looks. Only what FAISS needs to
    walk is in memory, the vectors are not.

    Raises ArtifactError when the files do not belong together or `out` cannot be written.
    """
    flat: Any = faiss.read_index(str(vectors), faiss.IO_FLAG_MMAP_IFC)
    if flat.ntotal != len(ids):
        raise ArtifactError(
            f"{len(ids)} ids for the {flat.ntotal} vectors of {vectors}; one for each is needed"
        )
    # What is alive here owns what the index points to, for as long as it is written.
    held = [flat]
    index = flat
    if structure is not None and effort is not None:
        index = _tuned(structure, flat, effort, held)
    named: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(flat.d))  # it takes an empty one alone
    named.index, named.own_fields, named.ntotal = index, False, flat.ntotal
    faiss.copy_array_to_vector(np.ascontiguousarray(ids), named.id_map)
    try:
        faiss.write_index(named, str(out))
    except RuntimeError as error:
        raise ArtifactError(f"the index cannot be written to {out}: {error}") from error
    return " over ".join(["IndexIDMap2", *(type(part).__name__ for part in reversed(held))])


def _tuned(path: Path, flat: Any, effort: Effort, held: list[Any]) -> Any:
    described = read_description(path, checked=True)
    base: Any = faiss.read_index(str(path), _MAPPED)
    if (base.ntotal, base.d) != (flat.ntotal, flat.d):
        raise ArtifactError(
            f"{path} is of {base.ntotal} vectors of {base.d} dimensions, not of {flat.ntotal} of {flat.d}"
        )
    held.append(base)
    if described["plan"]["kind"] == "hnsw":
        base.storage, base.own_fields, base.hnsw.efSearch = flat, False, effort.ef_search
        return base
    base.nprobe = effort.probes
    # The lists compare by L2, which FAISS's class refuses though it ranks by its own metric alone.
    metric, base.metric_type = base.metric_type, faiss.METRIC_INNER_PRODUCT
    refined: Any = faiss.IndexRefine(base, flat)
    base.metric_type, refined.k_factor = metric, effort.candidates
    held.append(refined)
    return refined
