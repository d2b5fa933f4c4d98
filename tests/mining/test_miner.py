"""The miner end to end on a bank whose neighbours are known."""

import numpy as np
import pytest
import torch

from sslkit.contracts import Embeddings, Samples
from sslkit.errors import ConfigError
from sslkit.mining.bank import Bank
from sslkit.mining.batches import HardBatches
from sslkit.mining.choice import Band, Bands
from sslkit.mining.miner import Miner
from sslkit.mining.refresh import Refresher
from sslkit.mining.weights import Weighting

COUNT, WIDTH = 60, 8


def on_an_arc(count: int = COUNT) -> torch.Tensor:
    """Rows along a half circle: sample i's neighbours are i-1, i+1, i-2, i+2, ..."""
    angle = torch.linspace(0, torch.pi, count)
    rows = torch.zeros(count, WIDTH)
    rows[:, 0], rows[:, 1] = angle.cos(), angle.sin()
    return rows


def embeddings(rows: torch.Tensor) -> Embeddings:
    return Embeddings(rows, (rows, rows))


def miner(rows: torch.Tensor, *, start: int = 0, lag: int = 0, **options) -> Miner:
    bank = Bank(len(rows), WIDTH)
    bank.write(torch.arange(len(rows)), rows, step=0)
    refresher = Refresher(bank, every=10, lag=lag, start=start)
    options = {"negatives": 4, "candidates": 30, "strategy": "hard", "bands": Bands(), **options}
    made = Miner(bank, refresher, **options)
    made.before_step(0)
    return made


def test_nothing_is_mined_before_the_first_index() -> None:
    rows = on_an_arc()
    early = miner(rows, start=5)
    assert early.mine(embeddings(rows[:3]), Samples.of(torch.arange(3)), step=0) is None
    early.close()


def test_hard_negatives_are_the_nearest_that_the_band_leaves() -> None:
    rows = on_an_arc()
    mined = miner(rows, bands=Bands(skip_nearest=2)).mine(
        embeddings(rows[30:31]), Samples.of(torch.tensor([30])), step=1
    )
    assert set(mined.negatives.ids[0].tolist()) == {28, 32, 27, 33}
    found = mined.negatives.embeddings[0]
    torch.testing.assert_close(found, rows[mined.negatives.ids[0]], atol=1e-3, rtol=0)
    assert mined.positives is None


def test_an_anchor_is_looked_up_as_it_was_when_the_snapshot_was_taken() -> None:
    """A fresh embedding far away does not change which neighbours the sample had."""
    rows = on_an_arc()
    moved = embeddings(-rows[30:31])
    mined = miner(rows).mine(moved, Samples.of(torch.tensor([30])), step=1)
    assert set(mined.negatives.ids[0].tolist()) == {29, 31, 28, 32}


def test_negatives_are_read_as_the_bank_is_now() -> None:
    rows = on_an_arc()
    at = miner(rows)
    new = torch.zeros(1, WIDTH)
    new[0, 5] = 1.0
    at.write(embeddings(new), Samples.of(torch.tensor([31])), step=3)
    mined = at.mine(embeddings(rows[30:31]), Samples.of(torch.tensor([30])), step=4)
    place = mined.negatives.ids[0].tolist().index(31)
    torch.testing.assert_close(mined.negatives.embeddings[0, place], new[0], atol=1e-3, rtol=0)


def test_samples_of_one_group_are_no_negatives_of_each_other() -> None:
    rows = on_an_arc()
    groups = np.arange(COUNT) // 3  # 30, 31, 32 are one video
    samples = Samples(torch.tensor([30]), torch.tensor([10]), torch.tensor([-1]))
    mined = miner(rows, groups=groups).mine(embeddings(rows[30:31]), samples, step=1)
    assert not set(mined.negatives.ids[0].tolist()) & {30, 31, 32}
    assert (mined.negatives.ids >= 0).all()


def test_an_attracted_band_gives_positives_and_no_negatives() -> None:
    rows = on_an_arc()
    bands = Bands(bands=(Band((0, 1), "attract", 0.5),))
    mined = miner(rows, positives=2, bands=bands).mine(
        embeddings(rows[30:31]), Samples.of(torch.tensor([30])), step=1
    )
    assert set(mined.positives.ids[0].tolist()) == {29, 31}
    torch.testing.assert_close(mined.positives.weights, torch.full((1, 2), 0.5))
    assert set(mined.negatives.ids[0].tolist()) == {28, 32, 27, 33}


def test_where_too_few_are_left_the_rest_has_weight_zero() -> None:
    rows = on_an_arc()
    bank = Bank(COUNT, WIDTH)
    bank.write(torch.tensor([3, 5, 9]), rows[[3, 5, 9]], step=0)
    made = Miner(bank, Refresher(bank, every=10, lag=0, start=0), negatives=4, candidates=30, strategy="hard")
    made.before_step(0)
    mined = made.mine(embeddings(rows[3:4]), Samples.of(torch.tensor([3])), step=1)
    assert sorted(mined.negatives.ids[0].tolist()) == [-1, -1, 5, 9]
    assert ((mined.negatives.weights > 0) == (mined.negatives.ids >= 0)).all()


def test_a_sample_that_was_never_written_is_looked_up_as_it_is() -> None:
    rows = on_an_arc()
    bank = Bank(COUNT, WIDTH)
    known = torch.tensor([i for i in range(COUNT) if i != 30])
    bank.write(known, rows[known], step=0)
    made = Miner(bank, Refresher(bank, every=10, lag=0, start=0), negatives=2, candidates=30, strategy="hard")
    made.before_step(0)
    mined = made.mine(embeddings(rows[30:31]), Samples.of(torch.tensor([30])), step=1)
    assert set(mined.negatives.ids[0].tolist()) == {29, 31}


@pytest.mark.parametrize("strategy", ["random", "distance_weighted", "semi_hard", "hard"])
def test_what_is_mined_is_a_function_of_ids_and_step(strategy) -> None:
    """Not of the place in the batch, nor of the other rows."""
    torch.manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(COUNT, WIDTH), dim=1)
    at = miner(rows, strategy=strategy)
    ids = torch.tensor([4, 17, 33, 50])
    straight = at.mine(Embeddings(rows[ids], (rows[ids], rows[ids])), Samples.of(ids), step=7).negatives
    order = torch.tensor([2, 0])
    part = at.mine(
        Embeddings(rows[ids[order]], (rows[ids[order]], rows[ids[order]])), Samples.of(ids[order]), step=7
    ).negatives
    assert torch.equal(straight.ids[order], part.ids)
    torch.testing.assert_close(straight.weights[order], part.weights)


def test_all_identical_embeddings_still_give_other_samples() -> None:
    rows = torch.ones(COUNT, WIDTH)
    mined = miner(rows).mine(embeddings(rows[:2]), Samples.of(torch.tensor([0, 1])), step=1)
    ids = mined.negatives.ids
    assert (ids >= 0).all()
    assert 0 not in ids[0].tolist()
    assert 1 not in ids[1].tolist()
    assert mined.negatives.weights.isfinite().all()


def test_embeddings_that_are_not_finite_never_enter_the_bank() -> None:
    rows = on_an_arc()
    at = miner(rows)
    bad = torch.full((1, WIDTH), torch.nan)
    at.write(embeddings(bad), Samples.of(torch.tensor([31])), step=2)
    mined = at.mine(embeddings(bad), Samples.of(torch.tensor([30])), step=3)
    assert mined.negatives.embeddings.isfinite().all()
    assert mined.negatives.weights.isfinite().all()


def test_state_goes_on_where_it_was_left() -> None:
    torch.manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(COUNT, WIDTH), dim=1)
    options = {"lag": 3, "strategy": "random"}
    one, other = miner(rows, **options), None
    seen = []
    for step in range(30):
        ids = (torch.arange(6) * 7 + step) % COUNT
        batch = Embeddings(rows[ids], (rows[ids] + 0.01 * step, rows[ids]))
        if step == 11:  # between the start of a refresh and its takeover
            other = miner(torch.rand(COUNT, WIDTH), **options)
            other.load_state_dict(one.state_dict(step))
        both = [one] if other is None else [one, other]
        results = []
        for at in both:
            at.before_step(step)
            mined = at.mine(batch, Samples.of(ids), step)
            at.write(batch, Samples.of(ids), step)
            results.append(None if mined is None else (mined.negatives.ids, mined.negatives.embeddings))
        if len(results) == 2:
            seen.append(results[0] is not None)
            for a, b in zip(results[0], results[1], strict=True):
                assert torch.equal(a, b), step
    assert all(seen)
    one.close()
    other.close()


def test_hard_batches_put_neighbours_together_and_hold_for_a_resumed_epoch() -> None:
    rows = on_an_arc()
    at = miner(rows, hard_batches=HardBatches(cluster=4, start_epoch=1))
    assert at.order(0, 12, resumed=False) is None
    order = at.order(1, 12, resumed=False)
    assert sorted(order.tolist()) == list(range(COUNT))
    gaps = [abs(a - b) for a, b in zip(order.tolist(), order.tolist()[1:], strict=False)]
    assert sorted(gaps)[len(gaps) // 2] <= 3
    other = miner(torch.rand(COUNT, WIDTH), hard_batches=HardBatches(cluster=4, start_epoch=1))
    other.load_state_dict(at.state_dict(5))
    assert torch.equal(other.order(1, 12, resumed=True), order)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"negatives": 31, "candidates": 30}, r"31.*30"),
        ({"negatives": 20, "candidates": 30, "bands": Bands(skip_nearest=15)}, "lower skip_nearest"),
        ({"negatives": 70, "candidates": 500}, "60 samples"),
        ({"negatives": 1, "bands": Bands(skip_nearest=59)}, "leaves no candidate"),
    ],
)
def test_counts_that_cannot_work_together_are_refused(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        miner(on_an_arc(), **options)


def test_weights_reach_the_loss() -> None:
    rows = on_an_arc()
    plain = miner(rows, weighting=Weighting(hardness=0.0, prior=0.0))
    hard = miner(rows, weighting=Weighting(hardness=2.0, prior=0.0, mass=3.0))
    one, other = (
        at.mine(embeddings(rows[30:31]), Samples.of(torch.tensor([30])), step=1).negatives.weights[0]
        for at in (plain, hard)
    )
    torch.testing.assert_close(one, torch.ones(4))
    assert float(other.sum()) == pytest.approx(12.0)
    assert other[0] > other[3]
