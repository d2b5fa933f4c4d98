"""MoCo against the paper in plain loops and other libraries; its queue; the objective contract."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.contracts import Embeddings, Samples
from sslkit.errors import ConfigError
from sslkit.objectives import moco
from sslkit.objectives.moco import MoCo, Queue
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, example_views, first_losses
from sslkit.testing.ranks import many_ranks_step, one_rank_step

SMALL = {"projector_hidden": 32, "projector_outputs": 16}
V2 = {**SMALL, "queue": 30, "momentum": 0.9}
V3 = {**SMALL, "version": 3, "momentum": 0.9, "predictor_hidden": 32}


def cosine(a, b) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def slow_moco(queries, keys, temperature, queue=None, excluded=None) -> float:
    """He et al. 2020, equation 1, one query at a time in Python floats."""
    queries, keys = queries.tolist(), keys.tolist()
    candidates = keys if queue is None else queue.tolist()
    total = 0.0
    for i, query in enumerate(queries):
        terms = [math.exp(cosine(query, keys[i]) / temperature)]
        for j, candidate in enumerate(candidates):
            if (queue is None and j == i) or (excluded is not None and bool(excluded[i][j])):
                continue
            terms.append(math.exp(cosine(query, candidate) / temperature))
        total -= math.log(terms[0] / sum(terms))
    return total / len(queries)


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("width", [1, 3, 16])
@pytest.mark.parametrize("slots", [None, 1, 9])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_moco_is_the_paper(count, width, slots, temperature) -> None:
    queries, keys = rows(2, count, width)
    queue = None if slots is None else rows(slots, width, seed=1)
    ours = float(moco(queries, keys, temperature=temperature, queue=queue))
    assert ours == pytest.approx(slow_moco(queries, keys, temperature, queue), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("slots", [None, 9])
def test_an_excluded_candidate_is_no_negative(slots) -> None:
    queries, keys = rows(2, 5, 8)
    queue = None if slots is None else rows(slots, 8, seed=1)
    excluded = rows(5, slots or 5, seed=2) > 0
    ours = float(moco(queries, keys, temperature=0.2, queue=queue, excluded=excluded))
    assert ours == pytest.approx(slow_moco(queries, keys, 0.2, queue, excluded), rel=1e-10)
    assert ours < float(moco(queries, keys, temperature=0.2, queue=queue))


def test_without_any_negative_the_loss_is_zero_and_its_gradient_finite() -> None:
    queries, keys = rows(2, 4, 8)
    queries.requires_grad_()
    loss = moco(queries, keys, temperature=0.2, excluded=torch.ones(4, 4, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert queries.grad.isfinite().all()


def test_the_queue_form_equals_another_library_with_the_same_bank() -> None:
    """lightly starts with random vectors in its bank and counts them as negatives; here it is given ours."""
    loss = pytest.importorskip("lightly.loss", reason="lightly is in the dev extra")
    queries, keys, queue = (rows(n, 16, seed=n).float() for n in (8, 8, 40))
    theirs = loss.NTXentLoss(temperature=0.2, memory_bank_size=(40, 16))
    theirs.memory_bank.bank = F.normalize(queue, dim=1)
    ours = float(moco(queries, keys, temperature=0.2, queue=queue))
    assert ours == pytest.approx(float(theirs(queries, keys)), rel=1e-5)


def test_the_form_without_a_queue_equals_another_library() -> None:
    losses = pytest.importorskip(
        "pytorch_metric_learning.losses", reason="pytorch-metric-learning is in the dev extra"
    )
    queries, keys, labels = *rows(2, 8, 16).float(), torch.arange(8)
    # The same tensor as labels and ref_labels would tell it to drop the diagonal, the positives.
    theirs = losses.NTXentLoss(temperature=0.2)(queries, labels, ref_emb=keys, ref_labels=labels.clone())
    assert float(moco(queries, keys, temperature=0.2)) == pytest.approx(float(theirs), rel=1e-5)


def test_gradient_flows_into_queries_alone_and_is_right_where_naive_code_overflows() -> None:
    exact = rows(3, 8, 16)
    queries, keys, queue = (part.float().requires_grad_() for part in exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = moco(queries, keys, temperature=0.005, queue=queue)
    loss.backward()
    assert keys.grad is None
    assert queue.grad is None
    truth = exact[0].clone().requires_grad_()
    moco(truth, exact[1], temperature=0.005, queue=exact[2]).backward()
    torch.testing.assert_close(queries.grad.double(), truth.grad, rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------------------- the queue


def put(queue: Queue, *values: float) -> None:
    """Keys whose angle is their id, in a group of their own."""
    ids = torch.tensor(values)
    queue.put(ids.long(), ids.long() * 10, torch.stack([ids.cos(), ids.sin()], dim=1))


def held(queue: Queue) -> set[int]:
    groups = queue.groups[queue.filled]
    angles = groups / 10.0
    expected = torch.stack([angles.cos(), angles.sin()], dim=1)
    torch.testing.assert_close(queue.keys[queue.filled], expected)  # each key kept its group
    return {int(group) // 10 for group in groups}


def test_the_queue_keeps_the_newest_keys_whatever_the_count_of_each_step() -> None:
    queue = Queue(5, 2)
    assert held(queue) == set()
    for step, expected in [
        ([1, 2], {1, 2}),
        ([3, 4], {1, 2, 3, 4}),
        ([5], {1, 2, 3, 4, 5}),
        ([6, 7, 8, 9], None),
        ([10], {6, 7, 8, 9, 10}),
        ([11, 12, 13, 14, 15], {11, 12, 13, 14, 15}),
    ]:
        put(queue, *step)
        assert set(step) <= held(queue)
        assert expected is None or held(queue) == expected
    assert int(queue.written) == 15


def test_of_more_keys_than_slots_a_slotful_is_kept_and_not_by_the_size_of_the_id() -> None:
    queue = Queue(50, 2)
    put(queue, *range(1, 201))
    kept = held(queue)
    assert len(kept) == 50
    assert 0.25 < sum(id > 100 for id in kept) / 50 < 0.75


def test_the_order_of_rows_does_not_change_the_queue() -> None:
    first, second = Queue(5, 2), Queue(5, 2)
    for step in ([1, 2, 3, 4], [5, 6, 7], [8, 9, 10, 11]):
        put(first, *step)
        put(second, *reversed(step))
    for one, other in zip(first.buffers(), second.buffers(), strict=True):
        assert torch.equal(one, other)


# ------------------------------------------------------------------------------------------ the module


def embedded(seed: int, count: int = 4) -> Embeddings:
    queries, keys = rows(2, count, 16, seed=seed).float()
    return Embeddings(queries, (queries.requires_grad_(),), (keys,))


def test_the_batch_serves_until_the_queue_holds_keys_and_not_after() -> None:
    backbone = TinyBackbone()
    objective = MoCo(backbone, **V2)
    before, later = embedded(0), embedded(1)
    loss = objective.loss(before, Samples.of(torch.arange(4))).loss
    assert float(loss.detach()) == pytest.approx(
        slow_moco(before.outputs[0], before.targets[0], 0.2), rel=1e-5
    )
    objective.after_step(backbone, 0.1)
    loss = objective.loss(later, Samples.of(torch.arange(4, 8))).loss
    expected = slow_moco(later.outputs[0], later.targets[0], 0.2, queue=before.targets[0])
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_a_key_of_the_own_sample_or_group_is_never_a_negative() -> None:
    backbone = TinyBackbone()
    objective = MoCo(backbone, **V2)
    before, later = embedded(0), embedded(1)
    labels = torch.full((4,), -1)
    objective.loss(before, Samples(torch.arange(4), torch.tensor([0, 0, 2, 3]), labels))
    objective.after_step(backbone, 0.1)
    samples = Samples(torch.tensor([0, 2, 7, 8]), torch.tensor([0, 2, 7, 7]), labels)
    excluded = samples.groups[:, None] == torch.tensor([0, 0, 2, 3])
    expected = slow_moco(later.outputs[0], later.targets[0], 0.2, before.targets[0], excluded)
    assert float(objective.loss(later, samples).loss.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", [V2, {**V2, "symmetric": True}, V3], ids=["v2", "symmetric", "v3"])
def test_members_of_one_group_are_no_negatives_within_the_batch(options) -> None:
    backbone = TinyBackbone()
    objective = MoCo(backbone, **options)
    embeddings = objective.embed(backbone, example_views(rows=6))
    groups = torch.zeros(6, dtype=torch.int64)
    loss = objective.loss(embeddings, Samples(torch.arange(6), groups, groups)).loss
    assert float(loss.detach()) == 0.0


def test_version_3_adds_both_directions_at_twice_the_temperature() -> None:
    objective = MoCo(TinyBackbone(), temperature=0.3, **V3)
    first, second, first_key, second_key = rows(4, 6, 16).float()
    embeddings = Embeddings(first, (first, second), (first_key, second_key))
    expected = 2 * 0.3 * (slow_moco(first, second_key, 0.3) + slow_moco(second, first_key, 0.3))
    loss = objective.loss(embeddings, Samples.of(torch.arange(6))).loss
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_every_key_of_an_accumulated_step_enters_once() -> None:
    backbone = TinyBackbone()
    objective = MoCo(backbone, **V2)
    parts = [(embedded(0), torch.arange(4)), (embedded(1, 3), torch.arange(4, 7))]
    for embeddings, ids in [*parts, parts[0]]:  # the first part is computed once more
        objective.loss(embeddings, Samples.of(ids))
    with torch.no_grad():  # a loss that is only looked at
        objective.loss(embedded(2), Samples.of(torch.arange(20, 24)))
    objective.after_step(backbone, 0.1)
    objective.after_step(backbone, 0.2)
    assert int(objective.queue.written) == 7
    assert sorted(objective.queue.groups[:7].tolist()) == list(range(7))
    keys = F.normalize(torch.cat([embeddings.targets[0] for embeddings, _ in parts]), dim=1)
    torch.testing.assert_close(objective.queue.keys[:7][objective.queue.groups[:7].argsort()], keys)


def test_symmetric_training_enqueues_the_keys_of_both_views() -> None:
    backbone = TinyBackbone()
    objective = MoCo(backbone, symmetric=True, **V2)
    embeddings = objective.embed(backbone, example_views(rows=6))
    objective.loss(embeddings, Samples.of(torch.arange(6)))
    objective.after_step(backbone, 0.1)
    assert objective.queue.groups[:12].bincount().tolist() == [2] * 6


def steps(backbone, objective, optimizer, numbers) -> list[float]:
    """Accumulated steps of 2 x 7 rows, so that the queue of 30 wraps round unevenly."""
    losses = []
    for number in numbers:
        for part in range(2):
            batch = 2 * number + part
            ids = (torch.arange(7) + 7 * batch) % 50
            outcome = objective.loss(
                objective.embed(backbone, example_views(rows=7, seed=batch)), Samples.of(ids)
            )
            outcome.loss.backward()
            losses.append(float(outcome.loss.detach()))
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step(backbone, number / 20)
    return losses


def started(options):
    torch.manual_seed(0)
    backbone = TinyBackbone()
    objective = MoCo(backbone, **options)
    trained = [p for p in [*backbone.parameters(), *objective.parameters()] if p.requires_grad]
    return backbone, objective, torch.optim.SGD(trained, lr=0.05, momentum=0.9)


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
@pytest.mark.parametrize("options", [V2, {**V2, "symmetric": True}, V3], ids=["v2", "symmetric", "v3"])
def test_resumed_training_is_uninterrupted_training_to_the_last_bit(options, stop) -> None:
    straight = started(options)
    whole = steps(*straight, range(9))
    first, resumed = started(options), started(options)
    before = steps(*first, range(stop))
    for old, new in zip(first, resumed, strict=True):
        new.load_state_dict(copy.deepcopy(old.state_dict()))
    assert before + steps(*resumed, range(stop, 9)) == whole
    for name, tensor in straight[1].state_dict().items():
        assert torch.equal(tensor, resumed[1].state_dict()[name]), name


def test_the_state_holds_keys_groups_and_pointer() -> None:
    assert {"queue.keys", "queue.groups", "queue.written"} <= MoCo(TinyBackbone(), **V2).state_dict().keys()


class FilledMoCo(MoCo):
    """A queue that wrapped round, with keys of groups that are in the batch."""

    def __init__(self, backbone, **options) -> None:
        super().__init__(backbone, **options)
        self.queue.put(torch.arange(35), torch.arange(35), rows(35, 16).float())


@pytest.mark.parametrize("sizes", [[6, 6], [5, 4, 3]], ids=["even", "uneven"])
@pytest.mark.parametrize(("objective", "options"), [(FilledMoCo, V2), (MoCo, V3)], ids=["queue", "v3"])
def test_many_ranks_equal_one_rank_with_the_global_batch(objective, options, sizes) -> None:
    one = one_rank_step(objective, options, rows=12)
    many = many_ranks_step(objective, options, sizes=sizes)
    assert many.loss == pytest.approx(one.loss, rel=1e-12)
    assert many.gradients.keys() == one.gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in one.gradients.values())
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(many.gradients[name], gradient, rtol=1e-9, atol=1e-12 * largest, msg=name)


@pytest.mark.parametrize("options", [V2, {**V2, "symmetric": True}, V3], ids=["v2", "symmetric", "v3"])
def test_moco_keeps_the_objective_contract(options) -> None:
    check_objective(lambda backbone: MoCo(backbone, **options))


@pytest.mark.parametrize(("options", "first", "last"), [(V2, 0.1, 0.1), (V3, 0.1, 0.0)], ids=["v2", "v3"])
def test_the_teacher_follows_by_a_constant_momentum_or_one_that_rises_to_1(options, first, last) -> None:
    backbone = TinyBackbone()
    objective = MoCo(backbone, **options)
    for progress, share in ((0.0, first), (1.0, last)):
        before = [p.clone() for p in objective.teacher.parameters()]
        students = [*backbone.parameters(), *objective.projector.parameters()]
        with torch.no_grad():
            for mine, its in zip(before, students, strict=True):
                its.copy_(mine + 1.0)
        objective.after_step(backbone, progress=progress)
        for old, new in zip(before, objective.teacher.parameters(), strict=True):
            torch.testing.assert_close(new, old + share)


def test_moco_v2_golden_losses() -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains."""
    losses = first_losses(lambda backbone: MoCo(backbone, **V2))
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN_V2, rel=2e-3)  # rounding grows


def test_moco_v3_golden_losses() -> None:
    losses = first_losses(lambda backbone: MoCo(backbone, **V3))
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN_V3, rel=2e-3)


GOLDEN_V2 = [1.8238066, 1.5811881, 1.0204670, 1.1387795]
GOLDEN_V3 = [2.6956353, 1.7443345, 0.8179577, 0.4588462]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 1}, "2 .a queue. and 3"),
        ({"queue": 0}, "at least 1 key"),
        ({"queue": -5}, "at least 1 key"),
        ({"version": 3, "queue": 64}, "version 3 keeps none"),
        ({"predictor_hidden": 64, "queue": 8}, "only version 3 has a predictor"),
        ({"temperature": 0.0}, "must be > 0"),
        ({"momentum": 1.5}, r"\[0, 1\]"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        MoCo(TinyBackbone(), **options)


@pytest.mark.parametrize("views", [1, 3])
def test_other_than_two_views_are_refused(views) -> None:
    backbone = TinyBackbone()
    with pytest.raises(ConfigError, match=f"2 views, given {views}"):
        MoCo(backbone, **V2).embed(backbone, example_views(views))
