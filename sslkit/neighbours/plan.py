"""What an approximate search structure is made of, and how hard a search may look.

Sizes follow FAISS's guidelines (wiki, "Guidelines to choose an index") where they say something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from sslkit.errors import ConfigError, UnknownNameError
from sslkit.neighbours.lists import IVF_ROWS, LIST_SAMPLE, list_count, subspace_count

Kind = Literal["hnsw", "ivf_fastscan", "ivf_rabitq", "ivf_sq8"]

GRAPH_LISTS = 32_768
"""From so many lists on, a graph over their centres finds the nearest (Baranchuk et al., 2018)."""

USUAL = 10
"""Neighbours that an effort is measured for; it looks no less hard for fewer."""

_LINKS = 32  # of each vector to others in a graph, twice as many on its lowest level
# Up to so many lists, so many candidates: what the codes lose shows once little else is missed.
_CANDIDATES = {
    "ivf_fastscan": ((4, 10), (64, 20), (512, 40)),
    "ivf_rabitq": ((4, 10), (16, 20), (512, 40)),
    "ivf_sq8": ((512, 2),),
}


@dataclass(frozen=True)
class Plan:
    """A structure for vectors of width dim.

    hnsw          a graph over the exact vectors themselves (Malkov and Yashunin, 2018)
    ivf_fastscan  inverted lists of 4-bit product codes, compared in registers (André et al., 2017)
    ivf_rabitq    inverted lists of one bit a dimension (Gao and Long, 2024): the smallest
    ivf_sq8       inverted lists of one byte a dimension: the fewest candidates to re-rank

    lists: of the inverted kinds; subspaces: of the product quantiser; links: of each vector of the graph.
    """

    kind: Kind
    dim: int
    lists: int = 0
    subspaces: int = 0
    links: int = 0

    @property
    def factory(self) -> str:
        """FAISS's name of the structure."""
        if self.kind == "hnsw":
            return f"HNSW{self.links},Flat"
        graph = "_HNSW32" if self.lists >= GRAPH_LISTS else ""
        codes = {"ivf_fastscan": f"PQ{self.subspaces}x4fs", "ivf_rabitq": "RaBitQ", "ivf_sq8": "SQ8"}
        return f"IVF{self.lists}{graph},{codes[self.kind]}"

    @property
    def training(self) -> int:
        """Vectors to learn from, as many as there are at most; 0 for a graph."""
        return max(LIST_SAMPLE * self.lists, 4_096) if self.lists else 0


@dataclass(frozen=True)
class Effort:
    """How hard a search looks: lists probed, or length of the queue that walks the graph.

    candidates: to re-rank exactly for each neighbour asked for.
    """

    probes: int | None = None
    ef_search: int | None = None
    candidates: int = 1

    def __str__(self) -> str:
        reach = f"ef {self.ef_search}" if self.probes is None else f"{self.probes} lists"
        return reach if self.candidates == 1 else f"{reach}, {self.candidates} candidates each"


def planned(kind: Kind, count: int, dim: int) -> Plan:
    """The structure of a kind for `count` vectors of width `dim`.

    Raises UnknownNameError for another kind, ConfigError where inverted lists have too few vectors to learn
    from.
    """
    if kind not in get_args(Kind):
        raise UnknownNameError("search structure", kind, get_args(Kind))
    if kind == "hnsw":
        return Plan(kind, dim, links=_LINKS)
    if count < IVF_ROWS:
        raise ConfigError(
            f"a structure of kind {kind} over {count} vectors; it needs at least {IVF_ROWS}: use hnsw, or "
            "exact search"
        )
    subspaces = subspace_count(dim) if kind == "ivf_fastscan" else 0
    return Plan(kind, dim, lists=list_count(count, per_root=4), subspaces=subspaces)


def ladder(kind: Kind, lists: int) -> tuple[Effort, ...]:
    """Efforts from quick to thorough; `lists` of the structure, 0 for a graph."""
    if kind == "hnsw":
        return tuple(Effort(ef_search=ef) for ef in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024))
    rungs = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
    return tuple(
        Effort(probes=probes, candidates=next(factor for most, factor in _CANDIDATES[kind] if probes <= most))
        for probes in rungs
        if probes <= max(lists // 2, 1)
    )
