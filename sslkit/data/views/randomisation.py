"""Automatic domain randomisation: every range of a policy as wide as the network can follow.

Akkaya et al. (2019), "Solving Rubik's Cube with a Robot Hand", section 5, algorithm 1, with views for worlds.
Each range has a strength: at 0 it changes nothing, at 1 it is the policy's own. In a share of the samples the
first view has one range pinned to its end. Whether such a view still finds the second view of its sample is
the score of the range: where nearly all do it widens, where few do it narrows. It is sought among the
gathered batch, so a larger batch asks for more.

    strengths -> ranges -> views -> outputs -> found or not -> strengths

What is pinned is a function of the keys, and the strengths one of what all ranks gathered, so runs repeat and
resume to the bit. Strengths move between steps: views cannot be made ahead of the loop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import Embeddings, Samples
from sslkit.data.views.operation import Parameters, check_number
from sslkit.data.views.policy import ViewPolicy
from sslkit.data.views.ranges import Range, at_strengths, ranges_of
from sslkit.data.views.specs import Spec
from sslkit.errors import CheckpointError, ConfigError, UnknownNameError
from sslkit.keyed_random import Keys, Stream


class Change(NamedTuple):
    """A strength that moved: after which step, of which range, and the share of positives found."""

    step: int
    range: str
    old: float
    new: float
    score: float


class Randomisation:
    """The strengths of a policy's ranges, moved by what the network still recognises.

    start: strength of every range at first. step: one move. widen_above, narrow_below: shares of positives
    found past which a range moves. window: positives counted for a verdict. boundary: share of samples with a
    pinned range. most: the largest strength, 2 at most; above 1 ranges pass the policy's own, as far as an
    operation allows. ranges: names as "color_jitter.hue"; by default all of the first view but probabilities,
    which take part when named, as "color_drop.p".

    strengths: by range. history: every move so far; start and history give the strengths at any step.

    Raises ConfigError for options out of range or a policy with nothing to measure, UnknownNameError for a
    range that the first view does not have.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        start: float = 0.3,
        step: float = 0.05,
        widen_above: float = 0.8,
        narrow_below: float = 0.4,
        window: int = 256,
        boundary: float = 0.25,
        most: float = 1.0,
        ranges: Sequence[str] | None = None,
    ) -> None:
        check_number("randomise", "most", most, 0.0, 2.0)
        check_number("randomise", "start", start, 0.0, most)
        check_number("randomise", "step", step, 0.0, most)
        check_number("randomise", "boundary", boundary, 0.0, 1.0)
        check_number("randomise", "widen_above", widen_above, 0.0, 1.0)
        check_number("randomise", "narrow_below", narrow_below, 0.0, widen_above)
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise ConfigError(
                f"randomise.window is {window!r}; it counts positives: 1 or more, 256 by default."
            )
        if step == 0 or boundary == 0:
            raise ConfigError(
                f"randomise.step is {step} and randomise.boundary {boundary}; both must be above 0, or no "
                "range would ever move. Leave `randomise` out to keep the policy's own ranges."
            )
        if len(spec) < 2:
            raise ConfigError(
                "randomise measures whether one view finds the other; the policy has one view, give it two."
            )
        self.spec, self.most, self.boundary, self.window = spec, most, boundary, window
        self.step, self.widen_above, self.narrow_below = step, widen_above, narrow_below
        self._pinnable = _chosen(ranges_of(spec), ranges)
        self.strengths = dict.fromkeys(self._pinnable, float(start))
        self.history: list[Change] = []
        self._found, self._counted = ([0] * len(self.strengths) for _ in range(2))

    def scaled(self) -> Spec:
        """The policy with every range at its strength, in all its views."""
        return at_strengths(self.spec, self.strengths)

    def pinned(self, keys: Keys) -> Tensor:
        """Which range each sample has pinned in its first view: int64 (N,), a place in `strengths` or -1."""
        return _pins(keys, self.boundary, len(self.strengths))[0]

    def pin(self, keys: Keys) -> Keys:
        """The same keys, but that numbers of pinned ranges lie at an end of theirs."""
        return _PinnedKeys(keys.seed, keys.epoch, keys.ids, self.boundary, tuple(self._pinnable.values()))

    @torch.no_grad()
    def observe(self, embeddings: Embeddings, samples: Samples, *, seed: int, epoch: int, step: int) -> None:
        """Score the pinned rows among gathered rows, identical on every rank, and move what has a verdict.

        seed, epoch: of the keys that the views were made with. All scores of a batch were measured at one
        strength, so a range moves at most once. Raises ConfigError where outputs are of one view only.
        """
        if len(embeddings.outputs) < 2:
            raise ConfigError(
                "randomise compares the outputs of two views, but the objective gives those of one; leave "
                "`randomise` out, or choose another objective."
            )
        which = self.pinned(Keys(seed, epoch, samples.ids))
        rows = (which >= 0).nonzero().squeeze(1)
        if rows.numel() == 0:
            return
        found = first_finds_second(embeddings.outputs[0], embeddings.outputs[1], rows, samples.groups)
        # Both in one tensor: an accelerator is waited for once.
        for place, hit in torch.stack([which[rows], found.long()], dim=1).tolist():
            self._counted[place] += 1
            self._found[place] += hit
        for place, name in enumerate(self.strengths):
            if self._counted[place] >= self.window:
                self._judge(name, self._found[place] / self._counted[place], step)
                self._found[place] = self._counted[place] = 0

    def _judge(self, name: str, score: float, step: int) -> None:
        old = self.strengths[name]
        way = int(score > self.widen_above) - int(score < self.narrow_below)
        # Rounded, so that as many moves back as there were forth lead to the same number.
        new = round(min(max(old + way * self.step, 0.0), self.most), 9)
        if new != old:
            self.strengths[name] = new
            self.history.append(Change(step, name, old, new, score))

    def state_dict(self) -> dict[str, Any]:
        """Strengths, counts and history as plain data."""
        return {
            "strengths": dict(self.strengths),
            "found": list(self._found),
            "counted": list(self._counted),
            "history": [tuple(change) for change in self.history],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; raises CheckpointError where it is one of other ranges."""
        if list(state["strengths"]) != list(self.strengths):
            raise CheckpointError(
                f"the checkpoint randomises {', '.join(state['strengths'])}, this run "
                f"{', '.join(self.strengths)}; resume with the view policy and the ranges of the checkpoint."
            )
        self.strengths = dict(state["strengths"])
        self._found, self._counted = list(state["found"]), list(state["counted"])
        self.history = [Change(*change) for change in state["history"]]


def first_finds_second(first: Tensor, second: Tensor, rows: Tensor, groups: Tensor) -> Tensor:
    """Whether a row of `first` is nearer to its own row of `second` than to those of all other groups.

    first, second: (N, P), compared by cosine in float32. rows: int64 (R,), who is asked. groups: int64 (N,).
    Returns bool (R,). Equal similarities are no find: a network that maps all to one point finds none.
    """
    queries, candidates = F.normalize(first[rows].float(), dim=1), F.normalize(second.float(), dim=1)
    similarities = queries @ candidates.T
    own = similarities.gather(1, rows[:, None]).squeeze(1)
    fellows = groups[rows][:, None] == groups[None, :]
    found: Tensor = own > similarities.masked_fill(fellows, -math.inf).amax(dim=1)
    return found


class RandomisedViews(ViewPolicy):
    """The views of a policy with its ranges where a `Randomisation` of its spec has them now.

    Only the drawing of numbers differs from the policy: every engine works, and none is built again when a
    strength moves. Where views are shared, so is what is pinned.
    """

    def __init__(self, policy: ViewPolicy, randomisation: Randomisation) -> None:
        super().__init__(
            randomisation.spec,
            size=policy.size,
            mean=policy.mean,
            std=policy.std,
            engine=policy.engine,
            shared=policy.shared,
        )
        self.randomisation = randomisation
        self._drawn_at: dict[str, float] = {}

    def with_engine(self, name: str, *, shared: bool | None = None) -> RandomisedViews:
        """The same views, with the same randomisation, computed by another engine."""
        return RandomisedViews(super().with_engine(name, shared=shared), self.randomisation)

    def parameters(self, rectangles: Tensor, keys: Keys) -> list[list[Parameters]]:
        """The numbers drawn for each view at the present strengths, those of pinned ranges at their ends."""
        if self._drawn_at != self.randomisation.strengths:
            self._drawn_at = dict(self.randomisation.strengths)
            self._drawing = ViewPolicy(
                self.randomisation.scaled(), size=self.size, mean=self.mean, std=self.std, shared=self.shared
            )
        return self._drawing.parameters(rectangles, self.randomisation.pin(keys))


def _chosen(known: Mapping[str, Range], names: Sequence[str] | None) -> dict[str, Range]:
    if names is None:
        chosen = {name: place for name, place in known.items() if not name.endswith(".p")}
        if not chosen:
            hint = f"name probabilities in randomise.ranges ({', '.join(known)}), or " if known else ""
            raise ConfigError(
                "randomise has nothing to do: the first view of the policy has no range that can widen; "
                f"{hint}leave `randomise` out."
            )
        return chosen
    if isinstance(names, str) or not names:
        raise ConfigError(f"randomise.ranges is {names!r}; it is a list of names, as [color_jitter.hue].")
    for name in names:
        if name not in known:
            raise UnknownNameError("range of the first view", str(name), known)
    return {name: known[name] for name in names}


def _pins(keys: Keys, boundary: float, ranges: int) -> tuple[Tensor, Tensor]:
    """For each sample the place of its pinned range or -1, int64 (N,), and a coin for its end, (N,)."""
    numbers = Keys.stream(keys, 0, "randomisation").uniform(3)
    place = (numbers[:, 1] * ranges).long().clamp_(max=ranges - 1)
    return torch.where(numbers[:, 0] < boundary, place, -1), numbers[:, 2]


@dataclass(frozen=True)
class _PinnedKeys(Keys):
    """Keys whose streams hold the pinned ranges at their ends; whoever draws from them need not know."""

    boundary: float
    ranges: tuple[Range, ...]

    @cached_property
    def _pins(self) -> tuple[Tensor, Tensor]:
        return _pins(self, self.boundary, len(self.ranges))

    def stream(self, view: int, operation: str) -> Stream:
        plain = super().stream(view, operation)
        own = [(place, own) for place, own in enumerate(self.ranges) if own.operation == operation]
        if view != 0 or not own:
            return plain
        which, coin = self._pins
        return _PinnedStream(plain.keys, tuple((which == place, coin, pinned) for place, pinned in own))


@dataclass(frozen=True)
class _PinnedStream(Stream):
    """A stream in which some numbers of some rows are those that stand for the end of a range."""

    pins: tuple[tuple[Tensor, Tensor, Range], ...]

    def uniform(self, *shape: int) -> Tensor:
        numbers = super().uniform(*shape)
        flat = numbers.view(len(self.keys), math.prod(shape))
        for rows, coin, pinned in self.pins:
            end = torch.where(coin < 0.5, pinned.ends[0], pinned.ends[-1])
            for column in pinned.columns:
                flat[:, column] = torch.where(rows, end, flat[:, column])
            if pinned.certain:
                flat[:, 0] = torch.where(rows, 0.0, flat[:, 0])
        return numbers
