"""What a search structure returns for exact ranking, and how a filter on the rows widens its search."""

from __future__ import annotations

import math
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from sslkit.neighbours.plan import GRAPH_LISTS, USUAL, Effort, Plan
from sslkit.neighbours.searching import search_numpy

_SCANNED = 2  # rows looked at for each candidate, at least
_MOST_SHARE = 0.8  # from this share of the rows on, a filter leaves the effort as it is
_GPU_MOST = 2_048  # candidates and probes a GPU index takes
_QUERY_BITS = 8  # of RaBitQ's queries

_faiss: Any = faiss  # its type information lacks some names and all keyword arguments


class Finder:
    """Finds candidates with a FAISS structure, or its copy on a GPU; nothing of either is changed by it."""

    def __init__(self, plan: Plan, index: Any, gpu: Any = None) -> None:
        self._plan, self._index, self._gpu = plan, index, gpu
        self._owners: NDArray[np.int32] | None = None

    def candidates(
        self,
        unit: NDArray[np.float32],
        count: int,
        effort: Effort,
        allowed: NDArray[np.bool_] | None,
        there: int,
    ) -> NDArray[np.int64]:
        """Rows (Q, C) that may be near, C >= count, -1 last. there: how many rows are allowed."""
        index = self._index
        options: dict[str, Any] = {} if allowed is None else {"sel": _selector(allowed)}
        thinned = index.ntotal / there if there < _MOST_SHARE * index.ntotal else 1.0
        if effort.ef_search is not None:
            walked = max(effort.ef_search, 2 * count if count > USUAL else 0)
            if allowed is not None:
                count = max(count, effort.ef_search)
            parameters = _faiss.SearchParametersHNSW(efSearch=math.ceil(walked * thinned), **options)
        else:
            probes = max(effort.probes or 1, _SCANNED * count * self._plan.lists / index.ntotal)
            if self._gpu is not None and allowed is None:
                index, count, probes = self._gpu, min(count, _GPU_MOST), min(probes, _GPU_MOST)
            if allowed is None or thinned == 1:
                options["nprobe"] = min(math.ceil(probes), self._plan.lists)
            else:
                options |= self._filtered(probes * thinned, allowed)
            parameters = self._parameters(options)
        found: NDArray[np.int64] = search_numpy(index)(unit, count, params=parameters)[1]
        return found

    def _filtered(self, probes: float, allowed: NDArray[np.bool_]) -> dict[str, Any]:
        """Probe lists that hold allowed rows, so many that as many rows are compared as without a filter."""
        holding = np.zeros(self._plan.lists, np.bool_)
        holding[self._owned()[allowed]] = True
        lists = int(np.count_nonzero(holding))
        wanted = min(math.ceil(probes * lists / self._plan.lists), lists)
        chosen = _selector(holding)
        if self._plan.lists >= GRAPH_LISTS:
            among = _faiss.SearchParametersHNSW(sel=chosen, efSearch=2 * wanted)
        else:
            among = _faiss.SearchParameters(sel=chosen)
        return {"nprobe": wanted, "quantizer_params": among}

    def _parameters(self, options: dict[str, Any]) -> Any:
        if self._plan.kind == "ivf_rabitq":
            return _faiss.IVFRaBitQSearchParameters(qb=_QUERY_BITS, **options)
        return _faiss.SearchParametersIVF(**options)

    def _owned(self) -> NDArray[np.int32]:
        """The list that each row is in, (N,); kept, since every filtered search asks."""
        owners = self._owners
        if owners is None:
            owners = np.empty(self._index.ntotal, np.int32)
            held = self._index.invlists
            for number in range(self._plan.lists):
                size = held.list_size(number)
                if size:
                    owners[faiss.rev_swig_ptr(held.get_ids(number), size)] = number
            self._owners = owners
        return owners


def _selector(allowed: NDArray[np.bool_]) -> Any:
    return _faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
