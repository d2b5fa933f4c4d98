"""When the frames of a clip are taken."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from sslkit.contracts import Moment
from sslkit.data.clips import Clips
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.keyed_random import Keys


def moment(start: float = 4.0, length: float = 1.0, duration: float = 10.0, rate: float = 25.0) -> Moment:
    return Moment(Path("walk.avi"), start, length, duration, rate)


def drawn(clips: Clips, of: Moment, count: int = 400) -> np.ndarray:
    """(count, M, T) of as many ids."""
    return np.stack([clips.times(of, seed=3, epoch=5, id=id) for id in range(count)])


def slowly(clips: Clips, of: Moment, seed: int, epoch: int, id: int) -> list[list[float]]:
    """The same in the words of the docstring, with the numbers of `sslkit.keyed_random`."""
    stream = Keys(seed, epoch, torch.tensor([id])).stream(0, "clip")
    first, second, *rest = stream.uniform(6)[0].double().tolist()
    options = [rest[:2], rest[:2] if clips.positives == "temporal" else rest[2:]]
    count = {"crop": 1, "temporal": 2, "both": 2}[clips.positives]
    steps = [
        clips.stride / of.rate * (1 + clips.stride_jitter) ** (2 * options[number][0] - 1)
        for number in range(count)
    ]
    latest = of.duration - (clips.frames - 1) * max(steps)  # that any of the clips may start
    latest = max(latest, 0.0)
    low = of.start - (clips.frames - 1) * steps[0] / 2
    low, high = (min(max(edge, 0.0), latest) for edge in (low, low + of.length))
    starts = [low + first * (high - low)]
    low, high = max(starts[0] - clips.max_gap, 0.0), min(starts[0] + clips.max_gap, latest)
    starts.append(low + second * (high - low))
    found = []
    for number in range(count):
        clip = []
        for frame in range(clips.frames):
            clip.append(min(starts[number] + frame * steps[number], of.duration))
        found.append(clip[::-1] if options[number][1] < clips.reversal else clip)
    return found


@pytest.mark.parametrize("positives", ["crop", "temporal", "both"])
@pytest.mark.parametrize(("frames", "stride", "jitter"), [(1, 1.0, 0.0), (8, 2.0, 0.5), (16, 4.0, 3.0)])
def test_times_are_those_of_the_definition(positives: str, frames: int, stride: float, jitter: float) -> None:
    clips = Clips(frames, stride, positives, max_gap=0.7, stride_jitter=jitter, reversal=0.5)  # type: ignore[arg-type]
    moments = (moment(), moment(0.0), moment(9.0), moment(1.0, 0.5, 1.5), moment(0.0, 0.04, 0.04))
    for of, seed, epoch, id in product(moments, (0, -7, 2**40), (0, 300), (0, 1, 2**33)):
        found = clips.times(of, seed, epoch, id)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, slowly(clips, of, seed, epoch, id), rtol=0, atol=1e-12)


def test_the_middle_of_the_first_clip_is_uniform_in_the_moment() -> None:
    middles = drawn(Clips(frames=9, stride=2.0), moment(4.0, 1.0), 2000)[:, 0].mean(-1)
    assert 4.0 <= middles.min() < 4.01
    assert 4.99 < middles.max() < 5.0
    assert np.abs(np.histogram(middles, 10, (4.0, 5.0))[0] - 200).max() < 60  # 4.5 standard deviations


@pytest.mark.parametrize("start", [0.0, 9.0])
def test_at_an_end_clips_lie_inside_the_video_and_are_spread_over_what_is_left(start: float) -> None:
    times = drawn(Clips(frames=26), moment(start), 1000)[:, 0]  # a second long: half of the middles are left
    assert times.min() >= 0
    assert times.max() <= 10
    middles = times.mean(-1)
    low = 0.5 if start == 0 else 9.0
    assert np.abs(np.histogram(middles, 5, (low, low + 0.5))[0] - 200).max() < 60


@pytest.mark.parametrize("positives", ["temporal", "both"])
@pytest.mark.parametrize("duration", [10.0, 2.0])
def test_the_second_clip_starts_at_most_the_gap_away_on_either_side(positives: str, duration: float) -> None:
    clips = Clips(8, 4.0, positives, max_gap=0.5, stride_jitter=1.0, reversal=0.5)  # type: ignore[arg-type]
    times = drawn(clips, moment(duration - 1, duration=duration))
    gaps = np.subtract(*times.min(-1).T)
    assert np.abs(gaps).max() <= 0.5
    assert gaps.min() < -0.2
    assert gaps.max() > 0.2
    assert times.min() >= 0


def test_the_second_start_is_uniform_over_the_gap() -> None:
    times = drawn(Clips(4, positives="both", max_gap=2.0), moment(5.0), 2000)
    gaps = times[:, 1, 0] - times[:, 0, 0]
    assert np.abs(np.histogram(gaps, 8, (-2, 2))[0] - 250).max() < 65


def test_no_gap_is_one_clip_twice() -> None:
    times = drawn(Clips(4, positives="temporal", max_gap=0.0, stride_jitter=1.0, reversal=0.5), moment())
    assert np.array_equal(times[:, 0], times[:, 1])


def test_a_crop_is_the_first_clip_of_both() -> None:
    options = {"frames": 5, "reversal": 0.5}
    assert np.array_equal(
        drawn(Clips(positives="crop", **options), moment()),
        drawn(Clips(positives="both", **options), moment())[:, :1],
    )


def test_clips_of_temporal_differ_by_time_alone_and_those_of_both_by_all() -> None:
    def looks(positives: str) -> np.ndarray:
        clips = Clips(4, 2.0, positives, stride_jitter=0.5, reversal=0.5)  # type: ignore[arg-type]
        return np.diff(drawn(clips, moment()))[..., 0].round(9)  # the step, negative where played backwards

    assert np.array_equal(*looks("temporal").T)
    one, other = looks("both").T
    assert (one != other).all()
    assert 0.3 < (np.sign(one) != np.sign(other)).mean() < 0.7


def test_strides_are_jittered_alike_in_both_directions_and_never_past_the_bound() -> None:
    steps = np.diff(drawn(Clips(2, 3.0, stride_jitter=0.5), moment(), 2000))[:, 0, 0]
    factors = steps * 25 / 3
    assert 1 / 1.5 <= factors.min() < 0.68
    assert 1.48 < factors.max() <= 1.5
    assert 0.45 < (factors < 1).mean() < 0.55


@pytest.mark.parametrize(("reversal", "low", "high"), [(0.0, 0, 0), (0.3, 0.22, 0.38), (1.0, 1, 1)])
def test_a_share_of_clips_is_played_backwards(reversal: float, low: float, high: float) -> None:
    clips = drawn(Clips(3, reversal=reversal), moment())
    forwards = drawn(Clips(3), moment())
    backwards = clips[:, 0, 0] > clips[:, 0, -1]
    assert low <= backwards.mean() <= high
    assert np.array_equal(np.sort(clips), forwards)


def test_a_video_shorter_than_the_clip_repeats_its_last_frame() -> None:
    times = Clips(frames=8, positives="both").times(moment(0.0, 0.12, 0.12), 0, 0, 0)
    np.testing.assert_allclose(times, [[0, 0.04, 0.08, 0.12, 0.12, 0.12, 0.12, 0.12]] * 2)


def test_other_keys_give_other_times_and_the_same_key_the_same() -> None:
    clips = Clips(4, positives="both", reversal=0.5, stride_jitter=0.2)
    keys = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    times = [clips.times(moment(), *key) for key in keys]
    assert len({one.tobytes() for one in times}) == 4
    assert np.array_equal(times[0], clips.times(moment(), 0, 0, 0))


def test_the_still_clip_lies_in_the_middle_and_draws_nothing() -> None:
    clips = Clips(frames=5, stride=5.0, positives="both", stride_jitter=1.0, reversal=1.0)
    np.testing.assert_allclose(clips.still(moment(4.0)), [[4.1, 4.3, 4.5, 4.7, 4.9]])
    np.testing.assert_allclose(clips.still(moment(0.0, 0.2)), [[0.0, 0.2, 0.4, 0.6, 0.8]])
    np.testing.assert_allclose(clips.still(moment(8.8, 1.0)), [[8.9, 9.1, 9.3, 9.5, 9.7]])
    np.testing.assert_allclose(clips.still(moment(9.9, 0.1)), [[9.2, 9.4, 9.6, 9.8, 10.0]])
    np.testing.assert_allclose(clips.still(moment(0.0, 0.3, 0.3)), [[0.0, 0.2, 0.3, 0.3, 0.3]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "frames=0: use a whole number >= 1"),
        ({"frames": 2.5}, "frames=2.5"),
        ({"stride": 0.0}, "stride=0.0: use a number above 0"),
        ({"stride": float("nan")}, "stride=nan"),
        ({"max_gap": -1.0}, "max_gap=-1.0: use seconds >= 0"),
        ({"max_gap": float("inf")}, "max_gap=inf"),
        ({"stride_jitter": -0.1}, "stride_jitter=-0.1"),
        ({"reversal": 1.5}, "reversal=1.5: use a probability"),
    ],
)
def test_options_that_cannot_work_are_refused_with_what_can(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Clips(**options)  # type: ignore[arg-type]


def test_unknown_positives_name_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'temporal'"):
        Clips(positives="tempral")  # type: ignore[arg-type]
