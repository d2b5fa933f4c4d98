"""Which pictures of one set are in another one too, or nearly: saved again, cropped, brightened, mirrored.

No network is asked, so what is found does not depend on what was learnt. Two looks: the nearest of coarse
colour thumbnails are candidates; each is laid over the query by a small shift and stretch (enhanced
correlation, Evangelidis and Psarakis 2008), and judged by how far the edges of both agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from sslkit.contracts import Source
from sslkit.errors import ConfigError
from sslkit.neighbours.flat import FlatIndex
from sslkit.retrieval.overlaid import agreement
from sslkit.retrieval.thumbnails import Progress, Thumbnails, thumbnails

THRESHOLD = 0.93
"""Similarity from which two pictures are taken for one; docs/data.md tells how it was chosen."""

CANDIDATES = 5
"""Nearest pictures by the coarse look that are looked at closely, and as many of the mirrored query."""

ALIKE = 0.1
"""Share of the queries that would find a twin in the corpus by chance from which `STRICT` is asked instead.

It is the share that has one among the queries themselves, times how much larger the corpus is.
"""

STRICT = 0.97
"""Digits, plain drawings and frames of one video are alike by nature; of these only the nearest count."""

_COARSE = 8  # side of the coarse look; a crop of a twentieth moves it by less than half a pixel
_LEAST = 0.75  # coarse similarity below which nothing is looked at closely
_FLAT = 2.0  # grey levels of deviation below which a picture shows nothing to compare
_PAIRS = 512  # compared closely at a time


@dataclass(frozen=True)
class Twin:
    """A query and the picture of the corpus that is most like it, by id; similarity in -1..1."""

    query: int
    corpus: int
    similarity: float
    mirrored: bool


@dataclass(frozen=True)
class NearDuplicates:
    """twins: of each query that has any the nearest, by query. queries, corpus: samples that were compared;

    unread: of both, that could not be decoded; flat: of both, in which there is nothing to compare. alike:
    share of the queries that have a twin among the other queries. threshold: of the similarity, as applied.
    """

    twins: tuple[Twin, ...]
    queries: int
    corpus: int
    unread: int
    flat: int
    alike: float
    threshold: float


def near_duplicates(
    queries: Source,
    corpus: Source,
    *,
    threshold: float = THRESHOLD,
    channels: int = 3,
    progress: Progress | None = None,
) -> NearDuplicates:
    """The queries that the corpus holds too, or nearly.

    threshold: raised to `STRICT` where the queries are alike among themselves. channels: of the pixels of
    both, as a recipe's data.channels. progress: told of the samples of the corpus as they are read. Raises
    ConfigError for a threshold outside 0..1.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"threshold={threshold}: a similarity in 0..1 is needed, such as {THRESHOLD}")
    asked = _Looks(thumbnails(queries, channels=channels))
    known = _Looks(thumbnails(corpus, channels=channels, progress=progress))
    found = _nearest(asked, known, threshold)
    # Where nothing was found there is nothing to doubt.
    alike = len(_nearest(asked, asked, threshold, itself=False)) / len(asked.rows) if found else 0.0
    if alike * max(1.0, len(known.rows) / max(1, len(asked.rows))) > ALIKE:
        threshold = max(threshold, STRICT)
    return NearDuplicates(
        tuple(twin for twin in found if twin.similarity >= threshold),
        len(asked.rows),
        len(known.rows),
        asked.of.skipped + known.of.skipped,
        len(asked.of) - len(asked.rows) + len(known.of) - len(known.rows),
        alike,
        threshold,
    )


class _Looks:
    """Thumbnails with their coarse look; rows: of those that show anything, int64."""

    def __init__(self, of: Thumbnails) -> None:
        self.of, self.coarse = of, _described(of.pixels)
        self.rows = np.flatnonzero(self.coarse.any(1))


def _nearest(asked: _Looks, known: _Looks, threshold: float, *, itself: bool = True) -> list[Twin]:
    """The nearest of each query that reaches the threshold, by query; itself: a query may find its own id."""
    best: dict[int, Twin] = {}
    if not len(asked.rows) or not len(known.rows):
        return []
    index = FlatIndex.build(known.coarse[known.rows])
    for mirrored in (False, True):
        shown = asked.of.pixels[asked.rows]
        shown = shown[:, :, ::-1] if mirrored else shown
        # A symmetric picture is its own nearest when mirrored, too.
        places, coarse = index.search(_described(shown), min(CANDIDATES + (not itself), len(index)))
        query, rank = np.nonzero(coarse >= _LEAST)
        found = known.rows[places[query, rank]]
        other = np.ones(len(found), bool) if itself else found != asked.rows[query]
        query, found = query[other], found[other]
        near = _compared(shown[query], known.of, found)
        for row, place, similarity in zip(query.tolist(), found.tolist(), near.tolist(), strict=True):
            id = int(asked.of.ids[asked.rows[row]])
            if similarity >= threshold and (id not in best or similarity > best[id].similarity):
                best[id] = Twin(id, int(known.of.ids[place]), similarity, mirrored)
    return [best[id] for id in sorted(best)]


def _described(pixels: np.ndarray) -> np.ndarray:
    """The coarse look, float32 (N, 3 * 8 * 8), each colour centred; all zero for flat pictures."""
    rows = [_coarse(pixels[start : start + _PAIRS]) for start in range(0, len(pixels), _PAIRS)]
    return np.concatenate(rows) if rows else np.zeros((0, 3 * _COARSE**2), np.float32)


def _coarse(pixels: np.ndarray) -> np.ndarray:
    small = adaptive_avg_pool2d(_planes(pixels), _COARSE)
    centred = (small - small.mean(dim=(2, 3), keepdim=True)).flatten(1)
    centred[centred.square().mean(dim=1).sqrt() < _FLAT] = 0
    described: np.ndarray = centred.numpy()
    return described


def _compared(shown: np.ndarray, known: Thumbnails, places: np.ndarray) -> np.ndarray:
    """The close look at pictures (P, S, S, 3) and those of the corpus at `places` (P,): float32 (P,)."""
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(places), _PAIRS):
        part = slice(start, start + _PAIRS)
        one, other = _planes(shown[part]), _planes(known.pixels[places[part]])
        parts.append(agreement(one, other).numpy())
    return np.concatenate(parts)


def _planes(pixels: np.ndarray) -> Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
