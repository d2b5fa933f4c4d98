"""Automatic domain randomisation: algorithm 1 in plain loops, pins by key alone, views at their ends."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit.contracts import Embeddings, Samples, Views
from sslkit.data.views.policy import POLICIES, ViewPolicy
from sslkit.data.views.randomisation import Randomisation, RandomisedViews, first_finds_second
from sslkit.errors import CheckpointError, ConfigError, SslkitError, UnknownNameError
from sslkit.keyed_random import Keys

SIMCLR = POLICIES["simclr"]
NAMES = [
    "crop_resize_flip.scale",
    "color_jitter.brightness",
    "color_jitter.contrast",
    "color_jitter.saturation",
    "color_jitter.hue",
    "gaussian_blur.sigma",
]
JITTER = {"op": "color_jitter", "p": 0.5, "brightness": 0.6, "contrast": 0.6, "saturation": 0.6, "hue": 0.2}
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
SEED, EPOCH = 5, 2


def outcome(found: list[bool]) -> Embeddings:
    """Outputs of two views in which exactly these rows find their other view."""
    first = torch.eye(len(found) + 1)[1:]
    second = torch.where(torch.tensor(found)[:, None], first, -first)
    return Embeddings(first, (first, second))


def observed(randomisation: Randomisation, ids: Tensor, found: list[bool], step: int) -> None:
    randomisation.observe(outcome(found), Samples.of(ids), seed=SEED, epoch=EPOCH, step=step)


def batch(count: int, side: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    return pixels, torch.tensor([[0, 0, side, side]]).repeat(count, 1), torch.arange(count) * 3 + 7


def views_of(randomisation: Randomisation, **options: Any) -> RandomisedViews:
    policy = ViewPolicy(randomisation.spec, size=16, mean=MEAN, std=STD, **options)
    return RandomisedViews(policy, randomisation)


class Twin:
    """Algorithm 1, a list of scores for each range; a verdict once a batch, as all of it had one strength."""

    def __init__(
        self, ranges: int, start: float, step: float, above: float, below: float, window: int
    ) -> None:
        self.scores: list[list[int]] = [[] for _ in range(ranges)]
        self.strengths = [start] * ranges
        self.step, self.above, self.below, self.window = step, above, below, window
        self.history: list[tuple[int, int, float, float]] = []

    def take(self, which: list[int], found: list[bool], step: int) -> None:
        for place, hit in zip(which, found, strict=True):
            if place >= 0:
                self.scores[place].append(int(hit))
        for place, scores in enumerate(self.scores):
            if len(scores) < self.window:
                continue
            mean, old = sum(scores) / len(scores), self.strengths[place]
            new = old
            if mean > self.above:
                new = min(1.0, old + self.step)
            elif mean < self.below:
                new = max(0.0, old - self.step)
            if abs(new - old) > 1e-9:
                self.history.append((step, place, old, new))
            self.strengths[place] = new
            scores.clear()


@pytest.mark.parametrize(
    ("rows", "window", "boundary"), [(4, 1, 1.0), (16, 5, 0.5), (30, 64, 0.25), (64, 3, 1.0)]
)
def test_strengths_follow_algorithm_1(rows: int, window: int, boundary: float) -> None:
    given = {"start": 0.3, "step": 0.05, "widen_above": 0.7, "narrow_below": 0.4}
    randomisation = Randomisation(SIMCLR, window=window, boundary=boundary, **given)  # type: ignore[arg-type]
    twin = Twin(6, 0.3, 0.05, 0.7, 0.4, window)
    chance = random.Random(0)
    for step in range(160):
        ids = torch.tensor(chance.sample(range(5000), rows))
        which = randomisation.pinned(Keys(SEED, EPOCH, ids)).tolist()
        # Each range has an ease of its own, and it falls as the range widens, so that both ways are taken.
        found = [chance.random() < 1.1 - 0.2 * place - 0.3 * twin.strengths[max(place, 0)] for place in which]
        observed(randomisation, ids, found, step)
        twin.take(which, found, step)
        assert list(randomisation.strengths.values()) == pytest.approx(twin.strengths, abs=1e-9)
    moves = [(change.step, NAMES.index(change.range)) for change in randomisation.history]
    assert moves == [(step, place) for step, place, _, _ in twin.history]
    ways = {change.new > change.old for change in randomisation.history}
    assert ways == {True, False}


def test_a_network_that_finds_all_widens_to_the_most_and_one_that_finds_none_narrows_to_nothing() -> None:
    for hit, most, end in ((True, 1.0, 1.0), (True, 1.5, 1.5), (False, 1.0, 0.0)):
        randomisation = Randomisation(SIMCLR, window=4, boundary=1.0, step=0.4, most=most)
        for step in range(12):
            observed(randomisation, torch.arange(64) + 64 * step, [hit] * 64, step)
        assert set(randomisation.strengths.values()) == {end}
        assert randomisation.history[-1].new == end
        # A strength at its end does not move, and a move that is none is not told.
        assert len(randomisation.history) == 6 * (1 if not hit else round((most - 0.3) / 0.4 + 0.4))


def test_between_the_thresholds_nothing_moves_and_the_window_begins_anew() -> None:
    randomisation = Randomisation([[JITTER]] * 2, window=4, boundary=1.0, ranges=["color_jitter.hue"])
    ids = torch.arange(2)
    for step, found in enumerate([[True, False], [True, False], [True, True], [True, True]]):
        assert randomisation.history == []
        observed(randomisation, ids, found, step)
    # Scores of the first window would have made it 6 of 8.
    assert [tuple(change) for change in randomisation.history] == [(3, "color_jitter.hue", 0.3, 0.35, 1.0)]


def test_only_pinned_rows_count() -> None:
    randomisation = Randomisation(SIMCLR, window=1, boundary=0.2)
    ids = torch.arange(400)
    which = randomisation.pinned(Keys(SEED, EPOCH, ids))
    observed(randomisation, ids, (which < 0).tolist(), 0)
    assert {change.score for change in randomisation.history} == {0.0}
    assert len(randomisation.history) == 6


def test_the_order_of_gathered_rows_changes_nothing() -> None:
    order = torch.randperm(60, generator=torch.Generator().manual_seed(4))
    states = []
    for rows in (torch.arange(60), order):
        randomisation = Randomisation(SIMCLR, window=7, boundary=0.9)
        for step in range(6):
            ids = torch.arange(60) + 60 * step
            found = ids % 3 > 0
            observed(randomisation, ids[rows], found[rows].tolist(), step)
        states.append(randomisation.state_dict())
    assert states[0] == states[1]
    assert states[0]["history"]


@pytest.mark.parametrize(("count", "width"), [(1, 3), (2, 1), (9, 4), (20, 3)])
def test_who_is_found_is_what_loops_find(count: int, width: int) -> None:
    generator = torch.Generator().manual_seed(count)
    first = torch.randn(count, width, generator=generator)
    second = first + torch.randn(count, width, generator=generator)
    groups = torch.arange(count) // 2
    rows = torch.arange(0, count, 2)
    expected = []
    for row in rows.tolist():
        similarities = [
            float(first[row].double() @ second[other].double() / first[row].norm() / second[other].norm())
            for other in range(count)
        ]
        rivals = [value for other, value in enumerate(similarities) if groups[other] != groups[row]]
        expected.append(all(similarities[row] > value for value in rivals))
    assert first_finds_second(first, second, rows, groups).tolist() == expected
    if count == 20:
        assert set(expected) == {True, False}


def test_a_collapsed_network_finds_nothing_and_copies_of_a_sample_are_no_rivals() -> None:
    same = torch.ones(6, 4)
    rows, groups = torch.arange(6), torch.arange(6)
    assert not first_finds_second(same, same, rows, groups).any()
    assert first_finds_second(same, same, rows, torch.zeros(6, dtype=torch.int64)).all()


def test_state_goes_round_to_the_bit_and_the_run_goes_on_alike() -> None:
    def took(randomisation: Randomisation, steps: range) -> None:
        for step in steps:
            ids = torch.arange(40) + 40 * step
            observed(randomisation, ids, (ids % 10 > 1).tolist(), step)

    whole = Randomisation(SIMCLR, window=9, boundary=0.5, widen_above=0.75)
    took(whole, range(20))
    begun = Randomisation(SIMCLR, window=9, boundary=0.5, widen_above=0.75)
    took(begun, range(8))
    state = begun.state_dict()
    kept = copy.deepcopy(state)
    resumed = Randomisation(SIMCLR, window=9, boundary=0.5, widen_above=0.75)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == begun.state_dict()
    took(begun, range(8, 14))
    took(resumed, range(8, 20))
    assert resumed.state_dict() == whole.state_dict()
    assert state == kept  # what goes on does not reach into the state that was taken
    assert any(state["counted"])
    assert len(whole.history) > len(state["history"]) > 0


def test_a_state_survives_a_checkpoint_that_unpickles_nothing(tmp_path: Any) -> None:
    randomisation = Randomisation(SIMCLR, window=2, boundary=1.0)
    observed(randomisation, torch.arange(80), [True] * 80, 3)
    torch.save(randomisation.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = Randomisation(SIMCLR, window=2, boundary=1.0)
    resumed.load_state_dict(state)
    assert resumed.history == randomisation.history
    assert resumed.history[0].range == NAMES[0]


def test_history_replays_to_the_strengths() -> None:
    randomisation = Randomisation(SIMCLR, window=6, boundary=0.6, start=0.5)
    for step in range(40):
        ids = torch.arange(50) + 50 * step
        observed(randomisation, ids, ((ids // 7) % (2 + step // 20) == 0).tolist(), step)
    strengths = dict.fromkeys(NAMES, 0.5)
    for change in randomisation.history:
        assert strengths[change.range] == change.old
        strengths[change.range] = change.new
    assert strengths == randomisation.strengths
    assert [change.step for change in randomisation.history] == sorted(c.step for c in randomisation.history)


def test_a_state_of_other_ranges_is_refused() -> None:
    state = Randomisation(SIMCLR).state_dict()
    with pytest.raises(
        CheckpointError, match=r"randomises crop_resize_flip.scale, .* this run color_jitter.hue"
    ):
        Randomisation(SIMCLR, ranges=["color_jitter.hue"]).load_state_dict(state)


def test_a_pin_follows_the_key_alone() -> None:
    randomisation = Randomisation(SIMCLR)
    ids = torch.arange(6000)
    keys = Keys(SEED, EPOCH, ids)
    which = randomisation.pinned(keys)
    order = torch.randperm(6000, generator=torch.Generator().manual_seed(0))[:100]
    assert torch.equal(randomisation.pinned(replace(keys, ids=ids[order])), which[order])
    randomisation.strengths = dict.fromkeys(NAMES, 0.9)
    assert torch.equal(randomisation.pinned(keys), which)  # whatever the strengths
    for other in (Keys(SEED + 1, EPOCH, ids), Keys(SEED, EPOCH + 1, ids)):
        assert not torch.equal(randomisation.pinned(other), which)
    shares = [(which == place).float().mean().item() for place in range(-1, 6)]
    assert shares == pytest.approx([0.75] + [0.25 / 6] * 6, abs=0.02)


def test_pinned_rows_lie_at_the_end_of_their_range_and_all_others_are_drawn_as_ever() -> None:
    randomisation = Randomisation(SIMCLR, boundary=0.6, ranges=[*NAMES, "color_drop.p"])
    ids, rectangles = torch.arange(900), torch.tensor([[0, 0, 400, 340]]).repeat(900, 1)
    keys = Keys(SEED, EPOCH, ids)
    which = randomisation.pinned(keys)
    plain = ViewPolicy(randomisation.scaled(), size=16, mean=MEAN, std=STD).parameters(rectangles, keys)
    drawn = views_of(randomisation).parameters(rectangles, keys)
    (crop, jitter, drop, blur), free = drawn[0], plain[0]
    for place in range(1, 5):
        rows = which == place
        spread = 0.3 * (0.2 if place == 4 else 0.8)
        middle = 0.0 if place == 4 else 1.0
        amounts = jitter["amounts"][rows, place - 1]
        torch.testing.assert_close((amounts - middle).abs(), torch.full_like(amounts, spread))
        assert 0.3 < (amounts > middle).float().mean() < 0.7
        assert jitter["chosen"][rows].all()
        others = [column for column in range(4) if column != place - 1]
        assert torch.equal(jitter["amounts"][rows][:, others], free[1]["amounts"][rows][:, others])
    # Wide boxes do not fit here, so a later attempt is taken in every fifth row.
    area = (crop["boxes"][:, 2] * crop["boxes"][:, 3]).float() / (400 * 340)
    low = 0.3 * 0.08 + 0.7
    torch.testing.assert_close(area[which == 0], torch.full_like(area[which == 0], low), atol=0.003, rtol=0)
    assert (area[which != 0] > low + 0.01).float().mean() > 0.9
    assert torch.equal(crop["mirrored"], free[0]["mirrored"])
    torch.testing.assert_close(blur["sigma"][which == 5], torch.full_like(blur["sigma"][which == 5], 0.6))
    assert blur["chosen"][which == 5].all()
    assert drop["chosen"][which == 6].all()
    for numbers, expected, own in zip(drawn[0], free, ([0], [1, 2, 3, 4], [6], [5]), strict=True):
        loose = ~torch.isin(which, torch.tensor(own))
        for name, values in numbers.items():
            assert torch.equal(values[loose], expected[name][loose])
    for numbers, expected in zip(drawn[1], plain[1], strict=True):  # the second view is never pinned
        assert all(torch.equal(values, expected[name]) for name, values in numbers.items())


def test_an_operation_that_stands_twice_is_pinned_where_it_stands_first() -> None:
    randomisation = Randomisation([[JITTER, JITTER]] * 2, boundary=1.0, ranges=["color_jitter.hue"])
    _, rectangles, ids = batch(50)
    drawn = views_of(randomisation).parameters(rectangles, Keys(0, 0, ids))[0]
    hues = [numbers["amounts"][:, 3].abs() for numbers in drawn[1:]]
    torch.testing.assert_close(hues[0], torch.full((50,), 0.06))
    assert (hues[1] < 0.06).float().mean() > 0.9


def test_at_strength_0_jitter_is_no_jitter() -> None:
    crop = {"op": "crop_resize_flip", "scale": [0.3, 1.0]}
    names = [f"color_jitter.{option}" for option in ("brightness", "contrast", "saturation", "hue")]
    randomisation = Randomisation([[crop, JITTER]] * 2, start=0.0, ranges=names)
    pixels, rectangles, ids = batch(30)
    keys = Keys(SEED, EPOCH, ids)
    made = views_of(randomisation)(pixels, rectangles, keys)
    expected = ViewPolicy([[crop]] * 2, size=16, mean=MEAN, std=STD)(pixels, rectangles, keys)
    for view, plain in zip(made, expected, strict=True):
        torch.testing.assert_close(view, plain, atol=2e-5, rtol=0)
    randomisation.strengths = dict.fromkeys(names, 1.0)
    changed = views_of(randomisation)(pixels, rectangles, keys)
    assert (changed[0] - expected[0]).abs().amax() > 0.5


@pytest.mark.parametrize("engine", ["exact", "fused"])
def test_views_change_when_a_strength_moves_and_at_1_are_the_policy_s_but_for_pins(engine: str) -> None:
    randomisation = Randomisation(SIMCLR, start=0.95, window=1, boundary=0.5)
    views = views_of(randomisation, engine=engine)
    pixels, rectangles, ids = batch(60)
    keys = Keys(SEED, EPOCH, ids)
    before = views(pixels, rectangles, keys)
    observed(randomisation, ids, [True] * 60, 0)
    after = views(pixels, rectangles, keys)
    assert set(randomisation.strengths.values()) == {1.0}
    assert not torch.equal(before[1], after[1])
    policy = ViewPolicy(SIMCLR, size=16, mean=MEAN, std=STD, engine=engine)(pixels, rectangles, keys)
    loose = randomisation.pinned(keys) < 0
    assert torch.equal(after[0][loose], policy[0][loose])
    assert torch.equal(after[1], policy[1])
    assert not torch.equal(after[0][~loose], policy[0][~loose])


def test_a_row_is_the_same_to_the_last_bit_in_any_batch() -> None:
    views = views_of(Randomisation(SIMCLR, boundary=0.7))
    pixels, rectangles, ids = batch(19)
    whole = views(pixels, rectangles, Keys(4, 2, ids))
    for order in ([0], [18], [3, 4], list(range(18, -1, -1)), [5, 1, 17, 5]):
        part = views(pixels[order], rectangles[order], Keys(4, 2, ids[order]))
        assert all(torch.equal(made, expected[order]) for made, expected in zip(part, whole, strict=True))
    empty = views(pixels[:0], rectangles[:0], Keys(4, 2, ids[:0]))
    assert [tuple(view.shape) for view in empty] == [(0, 3, 16, 16)] * 2


def test_clips_have_one_pin_for_all_their_frames() -> None:
    randomisation = Randomisation([[JITTER]] * 2, boundary=1.0, ranges=["color_jitter.brightness"])
    views = views_of(randomisation)
    still, rectangles, ids = batch(6)
    clips = still[:, None, None].repeat(1, 2, 3, 1, 1, 1)
    keys = Keys(SEED, EPOCH, ids)
    made, expected = views(clips, rectangles, keys), views(still, rectangles, keys)
    for clip, view in zip(made, expected, strict=True):
        assert all(torch.equal(clip[:, frame], view) for frame in range(3))


def test_another_engine_keeps_the_randomisation() -> None:
    views = views_of(Randomisation(SIMCLR), shared=True).with_engine("fused")
    assert isinstance(views, Views)
    assert isinstance(views, RandomisedViews)
    assert (views.engine, views.shared, views.count, views.size, views.sizes) == (
        "fused",
        True,
        2,
        16,
        (16, 16),
    )
    apart = views.with_engine("exact", shared=False)
    assert (apart.engine, apart.shared, apart.randomisation) == ("exact", False, views.randomisation)
    _, rectangles, ids = batch(40)
    first, second = views.parameters(rectangles, Keys(0, 0, ids))
    assert torch.equal(first[1]["amounts"], second[1]["amounts"])


@pytest.mark.parametrize(
    ("spec", "options", "kind", "told"),
    [
        (SIMCLR, {"ranges": ["color_jitter.hju"]}, UnknownNameError, "'color_jitter.hue'"),
        (SIMCLR, {"ranges": ["solarize.p"]}, UnknownNameError, "range of the first view 'solarize.p'"),
        (SIMCLR, {"ranges": []}, ConfigError, "a list of names"),
        (SIMCLR, {"ranges": "color_jitter.hue"}, ConfigError, "a list of names"),
        ([[{"op": "flip"}]] * 2, {}, ConfigError, r"name probabilities in randomise.ranges \(flip.p\)"),
        ([[{"op": "original"}]] * 2, {}, ConfigError, "no range that can widen"),
        (SIMCLR[:1], {}, ConfigError, "has one view, give it two"),
        (SIMCLR, {"start": 1.1}, ConfigError, "randomise.start is 1.1"),
        (SIMCLR, {"most": 2.5}, ConfigError, "randomise.most is 2.5"),
        (SIMCLR, {"step": 0.0}, ConfigError, "must be above 0"),
        (SIMCLR, {"boundary": 0.0}, ConfigError, "must be above 0"),
        (SIMCLR, {"boundary": 1.5}, ConfigError, "randomise.boundary is 1.5"),
        (SIMCLR, {"window": 0}, ConfigError, "randomise.window is 0"),
        (SIMCLR, {"window": 1.5}, ConfigError, "randomise.window is 1.5"),
        (SIMCLR, {"widen_above": 0.3}, ConfigError, "randomise.narrow_below is 0.4"),
    ],
)
def test_options_that_cannot_work_are_refused(
    spec: Any, options: dict[str, Any], kind: type[SslkitError], told: str
) -> None:
    with pytest.raises(kind, match=told):
        Randomisation(spec, **options)


def test_an_objective_of_one_view_is_refused() -> None:
    one = Embeddings(torch.eye(3), (torch.eye(3),))
    with pytest.raises(ConfigError, match="the objective gives those of one"):
        Randomisation(SIMCLR).observe(one, Samples.of(torch.arange(3)), seed=0, epoch=0, step=0)
