"""The miner: for each anchor, negatives (and positives) from the whole corpus, by the neighbours in the bank.

    bank (one slot per sample) -> snapshot -> index -> candidates -> rank band -> strategy -> weights -> Mined

Anchors are looked up by their own slot in the snapshot, so that query and candidates are of one age: a fresh
query against stale slots finds other neighbours than either age alone. What is handed to the loss is read
from the bank as it is now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import Embeddings, Mined, Neighbours, Samples
from sslkit.errors import ConfigError
from sslkit.mining.bank import Bank, Snapshot
from sslkit.mining.batches import HardBatches, hard_order
from sslkit.mining.choice import Bands, Strategy, candidate_uniform, choose, ranked
from sslkit.mining.refresh import Refresher
from sslkit.mining.weights import Weighting, weigh
from sslkit.neighbours.corpus import CorpusIndex

_SEARCH_ROWS = 4096  # queries of one search when the whole corpus is looked up


@dataclass(frozen=True)
class Found:
    """What was chosen for the anchors of one step, for monitoring; all (N, K)."""

    anchors: Tensor
    ids: Tensor
    ranks: Tensor
    similarities: Tensor
    ages: Tensor


class Miner:
    """Mines from a bank through an index that a refresher keeps.

    negatives, positives: how many of each for an anchor, 0 for none. candidates: how many of the nearest are
    considered. groups: int64 (len(bank),) or None; samples of one group are no candidates of each other.

    Raises ConfigError for counts that cannot work together.
    """

    def __init__(
        self,
        bank: Bank,
        refresher: Refresher,
        *,
        negatives: int = 64,
        positives: int = 0,
        candidates: int = 500,
        strategy: Strategy = "random",
        bands: Bands | None = None,
        weighting: Weighting | None = None,
        groups: np.ndarray | None = None,
        hard_batches: HardBatches | None = None,
        seed: int = 0,
    ) -> None:
        self.bank, self.refresher, self.hard_batches = bank, refresher, hard_batches
        self.negatives, self.positives, self.strategy, self.seed = negatives, positives, strategy, seed
        self.bands, self.weighting = bands or Bands(), weighting or Weighting()
        self.candidates = min(candidates, max(len(bank) - 1, 1))
        self._groups = None if groups is None else torch.from_numpy(np.asarray(groups, dtype=np.int64))
        self.found: Found | None = None
        self._order: Tensor | None = None
        self._check(negatives, candidates)

    def _check(self, negatives: int, candidates: int) -> None:
        room = self.candidates - self.bands.skip_nearest
        if self.bands.skip_nearest >= len(self.bank) - 1:
            raise ConfigError(
                f"mining.skip_nearest={self.bands.skip_nearest} leaves no candidate among the "
                f"{len(self.bank)} samples; use less than {len(self.bank) - 1}"
            )
        attracting = any(band.action == "attract" for band in self.bands.bands)
        if bool(self.positives) != attracting:
            raise ConfigError(
                f"mining.positives={self.positives} with {'an' if attracting else 'no'} attracting band; "
                "positives come from bands such as {ranks: [0, 0], action: attract}, so give both or neither"
            )
        if negatives > max(room, 0):
            raise ConfigError(
                f"mining.negatives={negatives} are asked from the {max(room, 0)} candidates that "
                f"mining.candidates={candidates} and mining.skip_nearest={self.bands.skip_nearest} leave of "
                f"{len(self.bank)} samples; ask for fewer, raise mining.candidates, or lower skip_nearest"
            )

    def before_step(self, step: int) -> None:
        """Begin or finish a refresh of the index where one is due at this step."""
        self.refresher.before_step(step)

    @torch.no_grad()
    def mine(self, embeddings: Embeddings, samples: Samples, step: int) -> Mined | None:
        """Negatives and positives for gathered rows; None without an index yet or when none is asked.

        The same on every rank, and a function of the bank, the index, the ids and the step.
        """
        self.found = None
        if self.refresher.current is None or not (self.negatives or self.positives):
            return None
        index, snapshot = self.refresher.current
        ids = samples.ids.cpu()
        fresh = F.normalize(embeddings.outputs[0].detach().float(), dim=1).cpu()
        rows, similarities = self._candidates(index, snapshot, ids, fresh)
        # The candidates' own groups decide, not those of the batch: most of them are not in it.
        ranks, allowed = ranked(rows, ids, samples.groups.cpu(), self._groups)
        uniform = candidate_uniform(ids, rows, step=step, seed=self.seed)
        positive = _positive_similarity(embeddings)
        repelled, attracted = self.bands.apply(similarities, ranks, allowed, positive)
        device = embeddings.outputs[0].device
        negatives = self._chosen(rows, similarities, ranks, repelled, uniform, positive, step, ids, device)
        positives = self._attracted(rows, similarities, ranks, attracted, device)
        return Mined(negatives, positives)

    def write(self, embeddings: Embeddings, samples: Samples, step: int) -> None:
        """Keep the first view's outputs of gathered rows in the bank."""
        self.bank.write(samples.ids, embeddings.outputs[0].detach(), step)

    def order(self, epoch: int, batch_size: int, *, resumed: bool) -> Tensor | None:
        """The order of samples in an epoch with hard batches; None for the keyed random one.

        resumed: the epoch was begun before, and its order is the one in the state.
        """
        if resumed:
            return self._order
        self._order = None
        plan, current = self.hard_batches, self.refresher.current
        if plan is None or current is None or epoch < plan.start_epoch:
            return None
        neighbours = self._neighbours_of_all(current[0], current[1], k=4 * plan.cluster)
        self._order = torch.as_tensor(
            hard_order(
                neighbours,
                batch_size=batch_size,
                seed=self.seed,
                epoch=epoch,
                cluster=plan.cluster,
                groups=None if self._groups is None else self._groups.numpy(),
                mix=plan.mix,
            )
        )
        return self._order

    def state_dict(self, step: int) -> dict[str, Any]:
        """Bank, refreshes under way and the order of the epoch: all that shapes what is mined next."""
        return {
            "bank": self.bank.state_dict(),
            "refresher": self.refresher.state_dict(step),
            "order": self._order,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the miner that gave the state; raises CheckpointError where it is of another size."""
        self.bank.load_state_dict(state["bank"])
        self.refresher.load_state_dict(state["refresher"])
        self._order = state["order"]

    def figures(self) -> dict[str, float]:
        """Scalars about the last step and the index, for the diary."""
        figures = dict(self.refresher.figures())
        if self.found is not None:
            there = self.found.ids >= 0
            count = max(int(there.sum()), 1)
            figures["mined_share"] = int(there.sum()) / max(there.numel(), 1)
            figures["mined_rank"] = float(self.found.ranks[there].sum()) / count
            figures["mined_age"] = float(self.found.ages[there].sum()) / count
        return figures

    def close(self) -> None:
        """Wait for a refresh under way and let it go."""
        self.refresher.close()

    def _candidates(
        self, index: CorpusIndex, snapshot: Snapshot, ids: Tensor, fresh: Tensor
    ) -> tuple[Tensor, Tensor]:
        queries = fresh.numpy()
        known = snapshot.holds(ids.numpy())
        queries[known] = snapshot.vectors[ids.numpy()[known]].astype(np.float32)
        rows, similarities = index.search(queries, self.candidates + 1)  # one of them is the anchor itself
        return torch.from_numpy(rows), torch.from_numpy(similarities)

    def _chosen(
        self,
        rows: Tensor,
        similarities: Tensor,
        ranks: Tensor,
        allowed: Tensor,
        uniform: Tensor,
        positive: Tensor | None,
        step: int,
        ids: Tensor,
        device: torch.device,
    ) -> Neighbours | None:
        if not self.negatives:
            return None
        columns, found = choose(
            similarities,
            allowed,
            ranks,
            count=self.negatives,
            strategy=self.strategy,
            uniform=uniform,
            positive_similarity=positive,
            dim=self.bank.dim,
        )
        picked = torch.where(found, rows.gather(1, columns), -1)
        near, rank = similarities.gather(1, columns), ranks.gather(1, columns)
        ages = self.bank.age(picked.clamp(min=0), step)
        weights = weigh(near, rank, ages, found, self.weighting, band_weights=self.bands.weights(rank))
        self.found = Found(ids, picked, rank, near, ages)
        return self._neighbours(picked, weights, device)

    def _attracted(
        self, rows: Tensor, similarities: Tensor, ranks: Tensor, allowed: Tensor, device: torch.device
    ) -> Neighbours | None:
        if not self.positives:
            return None
        columns, found = choose(
            similarities,
            allowed,
            ranks,
            count=self.positives,
            strategy="hard",
            uniform=similarities,
            positive_similarity=None,
            dim=self.bank.dim,
        )
        picked = torch.where(found, rows.gather(1, columns), -1)
        return self._neighbours(picked, self.bands.weights(ranks.gather(1, columns)) * found, device)

    def _neighbours(self, ids: Tensor, weights: Tensor, device: torch.device) -> Neighbours:
        vectors = self.bank.read(ids.clamp(min=0))
        return Neighbours(vectors.to(device), ids.to(device), weights.to(device))

    def _neighbours_of_all(self, index: CorpusIndex, snapshot: Snapshot, k: int) -> np.ndarray:
        neighbours = np.full((len(self.bank), k), -1, dtype=np.int64)
        for start in range(0, len(snapshot.filled), _SEARCH_ROWS):
            ids = snapshot.filled[start : start + _SEARCH_ROWS]
            rows, _ = index.search(snapshot.vectors[ids].astype(np.float32), k + 1)
            rows[rows == ids[:, None]] = -1  # a sample is not its own neighbour
            order = np.argsort(rows < 0, axis=1, kind="stable")
            neighbours[ids] = np.take_along_axis(rows, order, axis=1)[:, :k]
        return neighbours


def _positive_similarity(embeddings: Embeddings) -> Tensor | None:
    if len(embeddings.outputs) < 2:
        return None
    first, second = embeddings.outputs[0].detach(), embeddings.outputs[1].detach()
    return F.cosine_similarity(first.float(), second.float()).cpu()
