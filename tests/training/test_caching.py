"""Cached gradients: the large batch exactly, dropout and views replayed, BatchNorm named, ranks equal."""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from sslkit.contracts import Embeddings, Outcome, Samples
from sslkit.distributed import gather_rows
from sslkit.errors import ConfigError
from sslkit.keyed_random import Keys
from sslkit.models.projector import Projector
from sslkit.models.teacher import Teacher
from sslkit.objectives.byol import BYOL
from sslkit.objectives.simclr import SimCLR
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import example_views
from sslkit.training.caching import batchnorm_modules, refuse_batchnorm, statistics_kept, step_in_chunks
from sslkit.training.learner import Learner

ROWS = 12
SMALL = {"projector_hidden": 16, "projector_outputs": 8}


class RowBackbone(nn.Module):
    """Convolutions with GroupNorm and dropout: what a row gives depends on no other row."""

    embedding_dim = 16

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.GroupNorm(2, 8),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.GroupNorm(4, 16),
            nn.ReLU(),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels).mean(dim=(2, 3))


class RowBYOL(BYOL):
    """BYOL whose perceptrons have layer norm."""

    def __init__(self, backbone, norm="layer") -> None:
        super().__init__(backbone)
        self.projector = Projector(backbone.embedding_dim, hidden=16, outputs=8, norm=norm)
        self.predictor = Projector(8, hidden=16, outputs=8, norm=norm)
        self.teacher = Teacher(backbone, self.projector)
        with torch.no_grad():
            for parameter in self.teacher.parameters():
                parameter.mul_(1.1)


class LearnableTemperature(SimCLR):
    """A parameter of the second stage."""

    def __init__(self, backbone, **options) -> None:
        super().__init__(backbone, **options)
        self.log_temperature = nn.Parameter(torch.tensor(-1.0))

    def loss(self, embeddings, samples, mined=None):
        self.temperature = self.log_temperature.exp()
        return super().loss(embeddings, samples, mined)


def simclr(backbone, norm="layer") -> LearnableTemperature:
    return LearnableTemperature(backbone, **SMALL, projector_norm=norm)


def learner_of(objective, *, dropout: float = 0.0, backbone=None) -> Learner:
    torch.manual_seed(0)
    backbone = backbone or RowBackbone(dropout)
    return Learner(backbone, objective(backbone))


def pieces(views, sizes):
    """One function per chunk, each making its rows of the views."""
    ends = torch.tensor(sizes).cumsum(0).tolist()
    return [
        lambda own=slice(end - size, end): [view[own] for view in views]
        for size, end in zip(sizes, ends, strict=True)
    ]


def second_stage_of(learner):
    return [parameter for parameter in learner.objective.parameters() if parameter.requires_grad]


def loss_of(learner, rows: int = ROWS):
    ids = torch.arange(rows)

    def loss(local: Embeddings) -> Outcome:
        gathered, samples = gather_rows(local, Samples.of(ids))
        return learner.objective.loss(gathered, samples)

    return loss


def cached(learner, chunks, *, loss=None, backward=torch.autograd.backward, batchnorm="refuse"):
    """One step in chunks: the loss and every gradient by name."""
    learner.zero_grad()
    outcome = step_in_chunks(
        learner,
        chunks,
        loss or loss_of(learner),
        second_stage=second_stage_of(learner),
        backward=backward,
        no_sync=nullcontext,
        batchnorm=batchnorm,
    )
    return outcome.loss, gradients_of(learner)


def whole(learner, chunks, *, loss=None):
    """What `cached` must equal: all chunks kept alive with their graphs, one loss, one backward."""
    learner.zero_grad()
    parts = [learner(chunk()) for chunk in chunks]
    rows = Embeddings(
        torch.cat([part.embedding for part in parts]),
        tuple(torch.cat(rows) for rows in zip(*(part.outputs for part in parts), strict=True)),
        tuple(torch.cat(rows) for rows in zip(*(part.targets for part in parts), strict=True)),
    )
    outcome = (loss or loss_of(learner))(rows)
    outcome.loss.backward()
    return outcome.loss.detach(), gradients_of(learner)


def gradients_of(learner):
    return {name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None}


def assert_same(found, wanted, *, rel: float) -> None:
    """Loss and gradients equal, relative to the largest gradient of all; none missing, none added."""
    torch.testing.assert_close(found[0], wanted[0], rtol=rel, atol=0)
    assert found[1].keys() == wanted[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in wanted[1].values())
    assert largest > 0
    for name, gradient in wanted[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=0, atol=rel * largest, msg=name)


# ------------------------------------------------------------------------------------- the large batch


@pytest.mark.parametrize("sizes", [[6, 6], [5, 4, 3], [1] * 12, [11, 1]])
@pytest.mark.parametrize("objective", [simclr, RowBYOL])
@pytest.mark.parametrize(("dtype", "rel"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_chunks_give_the_loss_and_gradient_of_the_whole_batch(objective, sizes, dtype, rel) -> None:
    learner = learner_of(objective).to(dtype)
    views = [view.to(dtype) for view in example_views(rows=ROWS)]
    assert_same(cached(learner, pieces(views, sizes)), whole(learner, pieces(views, [ROWS])), rel=rel)


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_projectors_without_batchnorm_run_in_chunks(norm) -> None:
    learner = learner_of(lambda backbone: simclr(backbone, norm)).double()
    views = [view.double() for view in example_views(rows=ROWS)]
    assert_same(cached(learner, pieces(views, [7, 5])), whole(learner, pieces(views, [ROWS])), rel=1e-12)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_one_chunk_is_the_ordinary_step_to_the_bit_and_forwards_once(dropout) -> None:
    learner = learner_of(lambda backbone: simclr(backbone, "batch"), dropout=dropout)
    forwards = []
    learner.register_forward_hook(lambda *_: forwards.append(1))
    views = example_views(rows=ROWS)
    results = []
    for step in (cached, whole):
        torch.manual_seed(3)
        results.append(step(learner, pieces(views, [ROWS])))
    assert len(forwards) == 2
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1].keys() == results[1][1].keys()
    for name, gradient in results[1][1].items():
        assert torch.equal(results[0][1][name], gradient), name


def test_in_exact_arithmetic_chunks_give_the_bits_of_the_whole_batch() -> None:
    """Small integers add without rounding, so only a term too many, too few or approximate could show."""

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 4, bias=False)
            self.objective = nn.Module()
            with torch.no_grad():
                self.layer.weight.copy_(torch.arange(24).view(4, 6) % 5 - 2)

        def forward(self, views):
            rows = [self.layer(view) for view in views]
            return Embeddings(rows[0].detach(), tuple(rows))

    def loss(rows: Embeddings) -> Outcome:
        first, second = rows.outputs
        return Outcome((first @ second.T).square().sum(), {})  # ties every row to every other

    learner = Linear()
    views = [(torch.arange(72).view(12, 6) * step % 7 - 3).float() for step in (1, 3)]
    found = cached(learner, pieces(views, [5, 4, 3]), loss=loss)
    wanted = whole(learner, pieces(views, [ROWS]), loss=loss)
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1]["layer.weight"], wanted[1]["layer.weight"])


def test_gradients_are_added_to_those_that_are_there_and_pass_through_the_given_backward() -> None:
    learner = learner_of(simclr).double()
    views = [view.double() for view in example_views(rows=ROWS)]
    _, once = cached(learner, pieces(views, [7, 5]))
    step_in_chunks(
        learner,
        pieces(views, [7, 5]),
        loss_of(learner),
        second_stage=second_stage_of(learner),
        backward=lambda loss: (loss * 3.0).backward(),
        no_sync=nullcontext,
    )
    for name, gradient in gradients_of(learner).items():
        torch.testing.assert_close(gradient, 4.0 * once[name], rtol=1e-9, atol=1e-12, msg=name)


def test_ranks_sum_gradients_in_the_last_chunk_alone() -> None:
    learner = learner_of(simclr)
    events = []

    @contextmanager
    def apart():
        events.append("apart")
        yield
        events.append("together")

    step_in_chunks(
        learner,
        pieces(example_views(rows=ROWS), [5, 4, 3]),
        loss_of(learner),
        second_stage=second_stage_of(learner),
        backward=lambda loss: events.append("backward") or loss.backward(),
        no_sync=apart,
    )
    assert events == ["apart", "backward", "together"] * 2 + ["backward"]


def test_an_output_that_the_loss_does_not_use_and_a_frozen_parameter_get_no_gradient() -> None:
    learner = learner_of(simclr).double()
    learner.backbone.layers[0].weight.requires_grad_(False)
    views = [view.double() for view in example_views(rows=ROWS)]

    def first_alone(local: Embeddings) -> Outcome:
        return Outcome(local.outputs[0].square().mean(), {})

    found = cached(learner, pieces(views, [7, 5]), loss=first_alone)
    assert not {"objective.log_temperature", "backbone.layers.0.weight"} & found[1].keys()
    assert_same(found, whole(learner, pieces(views, [ROWS]), loss=first_alone), rel=1e-12)


# -------------------------------------------------------------------------------------------- replay


def test_dropout_draws_the_same_in_both_passes_and_the_generator_ends_as_after_one() -> None:
    learner = learner_of(simclr, dropout=0.5).double()
    chunks = pieces([view.double() for view in example_views(rows=ROWS)], [5, 4, 3])
    torch.manual_seed(5)
    found = cached(learner, chunks)
    drawn_after = torch.rand(3)
    torch.manual_seed(5)
    wanted = whole(learner, chunks)
    assert torch.equal(drawn_after, torch.rand(3))
    assert_same(found, wanted, rel=1e-12)
    assert not torch.equal(cached(learner, chunks)[0], found[0]), "without a seed the masks are new ones"


def test_what_is_drawn_between_the_passes_is_not_drawn_again() -> None:
    learner = learner_of(simclr, dropout=0.5)
    drawn = []

    def loss(local: Embeddings) -> Outcome:
        drawn.append(torch.rand(1))
        return loss_of(learner)(local)

    chunks = pieces(example_views(rows=ROWS), [6, 6])
    torch.manual_seed(5)
    cached(learner, chunks, loss=loss)
    after = torch.rand(1)
    torch.manual_seed(5)
    whole(learner, chunks, loss=loss)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(after, torch.rand(1))


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "torch's generator"])
def test_views_are_the_same_in_both_passes(keyed) -> None:
    images = example_views(1, rows=ROWS)[0].double()
    made: dict[int, list[Tensor]] = {0: [], 7: []}

    def chunk(start: int, stop: int):
        keys = Keys(0, 1, torch.arange(start, stop))

        def views() -> list[Tensor]:
            shape = images.shape[1:]
            noise = [
                keys.stream(view, "noise").normal(*shape) if keyed else torch.randn(stop - start, *shape)
                for view in range(2)
            ]
            views = [images[start:stop] + 0.3 * each.double() for each in noise]
            made[start].append(views[0])
            return views

        return views

    learner = learner_of(simclr, dropout=0.5).double()
    chunks = [chunk(0, 7), chunk(7, 12)]
    torch.manual_seed(5)
    found = cached(learner, chunks)
    assert [len(views) for views in made.values()] == [2, 2]
    assert all(torch.equal(first, second) for first, second in made.values())
    torch.manual_seed(5)
    assert_same(found, whole(learner, chunks), rel=1e-12)


@pytest.mark.parametrize("outer", [False, True], ids=["autocast inside", "autocast around all"])
def test_under_autocast_outputs_are_low_and_their_gradients_are_not(outer) -> None:
    """Weights that torch casts and keeps in the first pass, without gradient, have one in the second."""
    learner = learner_of(simclr)
    if not outer:
        inner = learner.forward

        def forward(views):
            with torch.autocast("cpu", torch.bfloat16):
                return inner(views)

        learner.forward = forward
    views = example_views(rows=ROWS)
    seen = []

    def loss(local: Embeddings) -> Outcome:
        seen.append({rows.dtype for rows in local.outputs})
        return loss_of(learner)(local)

    with torch.autocast("cpu", torch.bfloat16, enabled=outer):
        found = cached(learner, pieces(views, [7, 5]), loss=loss)
        assert_same(found, whole(learner, pieces(views, [ROWS])), rel=2e-2)
    assert seen == [{torch.float32}]


# --------------------------------------------------------------------------------------------- memory


def test_the_peak_of_what_is_kept_for_backward_falls_with_the_chunks() -> None:
    learner = learner_of(simclr)
    views = example_views(rows=48)
    peaks = {}
    for count in (1, 4):
        kept = _Kept()
        with saved_tensors_hooks(kept.pack, kept.unpack):
            cached(learner, pieces(views, [48 // count] * count), loss=loss_of(learner, 48))
        assert kept.now == 0
        peaks[count] = kept.peak
    assert peaks[4] < 0.35 * peaks[1]


class _Kept:
    """Counts the bytes that graphs hold, now and at most."""

    def __init__(self) -> None:
        self.now = self.peak = 0

    def pack(self, tensor: Tensor) -> _Held:
        return _Held(self, tensor)

    def unpack(self, held: _Held) -> Tensor:
        return held.tensor


class _Held:
    def __init__(self, count: _Kept, tensor: Tensor) -> None:
        self.count, self.tensor = count, tensor.detach()
        count.now += tensor.nbytes
        count.peak = max(count.peak, count.now)

    def __del__(self) -> None:
        self.count.now -= self.tensor.nbytes


# ------------------------------------------------------------------------------------------ BatchNorm


def test_batchnorm_is_named_wherever_it_stands() -> None:
    learner = learner_of(lambda b: simclr(b, "batch"), backbone=TinyBackbone())
    names = ["backbone.first.1", "backbone.second.1", "objective.projector.layers.1"]
    assert batchnorm_modules(learner) == names
    assert batchnorm_modules(learner.eval()) == [], "in eval mode it mixes no rows"
    assert batchnorm_modules(learner_of(simclr)) == []


def test_batchnorm_is_refused_in_chunks_with_its_names_and_three_mends() -> None:
    learner = learner_of(lambda b: RowBYOL(b, "batch"), backbone=TinyBackbone())
    with pytest.raises(ConfigError) as caught:
        cached(learner, pieces(example_views(rows=ROWS), [6, 6]))
    for said in (
        "backbone.first.1",
        "and 4 more",
        "convnext_tiny",
        "batchnorm=frozen",
        "batchnorm=per_chunk",
    ):
        assert said in str(caught.value)
    refuse_batchnorm(learner_of(simclr))


def test_frozen_batchnorm_gives_the_gradient_of_the_whole_batch_and_keeps_its_statistics() -> None:
    learner = learner_of(lambda b: RowBYOL(b, "batch"), backbone=TinyBackbone()).double()
    views = [view.double() for view in example_views(rows=ROWS)]
    learner(views)  # statistics of its own
    before = buffers_of(learner)
    for sizes in ([5, 4, 3], [ROWS]):
        found = cached(learner, pieces(views, sizes), batchnorm="frozen")
        assert all(module.training for module in learner.modules())
        assert_buffers(learner, before)
        for module in learner.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        wanted = whole(learner, pieces(views, [ROWS]))
        learner.train()
        assert_same(found, wanted, rel=1e-12)


def test_frozen_batchnorm_without_running_statistics_is_refused() -> None:
    learner = learner_of(simclr)
    learner.objective.extra = nn.BatchNorm1d(4, track_running_stats=False)
    with pytest.raises(ConfigError, match=r"'objective\.extra' keeps none"):
        cached(learner, pieces(example_views(rows=ROWS), [6, 6]), batchnorm="frozen")


def test_batchnorm_per_chunk_normalises_each_chunk_and_moves_statistics_once_a_chunk() -> None:
    """The teacher's too; equal to the same chunks run once with their graphs alive."""
    learner = learner_of(lambda b: RowBYOL(b, "batch"), backbone=TinyBackbone()).double()
    twin = copy.deepcopy(learner)
    chunks = pieces([view.double() for view in example_views(rows=ROWS)], [5, 4, 3])
    found = cached(learner, chunks, batchnorm="per_chunk")
    assert_same(found, whole(twin, chunks), rel=1e-12)
    assert_buffers(learner, buffers_of(twin))
    counts = [buffer for name, buffer in learner.named_buffers() if name.endswith("num_batches_tracked")]
    assert len(counts) == 7
    assert {int(count) for count in counts} == {3}


def test_keeping_statistics_changes_no_output() -> None:
    layer = nn.BatchNorm1d(3)
    rows = torch.randn(5, 3)
    before = buffers_of(layer)
    with statistics_kept(layer):
        kept = layer(rows)
    assert_buffers(layer, before)
    assert torch.equal(layer(rows), kept)
    assert not torch.equal(layer.running_mean, before["running_mean"])


def test_another_layer_that_keeps_statistics_is_refused_by_the_name_of_its_buffer() -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("center", torch.zeros(16))

        def forward(self, rows: Tensor) -> Tensor:
            self.center.lerp_(rows.detach().mean(0), 0.1)
            return rows - self.center

    learner = learner_of(simclr)
    learner.objective.projector.layers.insert(0, Centred())
    with pytest.raises(ConfigError, match=r"'objective\.projector\.layers\.0\.center'"):
        cached(learner, pieces(example_views(rows=ROWS), [6, 6]), batchnorm="per_chunk")


def buffers_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def assert_buffers(module: nn.Module, wanted: dict[str, Tensor]) -> None:
    for name, buffer in module.named_buffers():
        torch.testing.assert_close(buffer, wanted[name], rtol=1e-12, atol=1e-15, msg=name)


# ---------------------------------------------------------------------------------------------- ranks

STEPS, ACCUMULATED = 3, 2
SHARES = [[3, 2, 2], [4, 1]]  # rows of the chunks of each rank


def test_ranks_with_unlike_chunks_equal_one_rank_with_the_global_batch(tmp_path: Path) -> None:
    """Accumulated batches, several steps, parameters of both stages, under DistributedDataParallel."""
    spawn(_rank, args=(str(tmp_path),), nprocs=2)
    many = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    one = _trained([[ROWS]], rank=0)
    assert many[0]["losses"] == many[1]["losses"]
    assert many[0]["losses"] == pytest.approx(one["losses"], rel=1e-9)
    for name, tensor in one["weights"].items():
        torch.testing.assert_close(many[0]["weights"][name], tensor, rtol=1e-8, atol=1e-11, msg=name)
        torch.testing.assert_close(many[1]["weights"][name], many[0]["weights"][name], rtol=0, atol=0)
    assert one["losses"][-1] < one["losses"][0]


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        torch.save(_trained(SHARES, rank=rank), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


def _trained(shares: list[list[int]], *, rank: int):
    learner = learner_of(simclr).double()
    wrapped = DistributedDataParallel(learner, gradient_as_bucket_view=True) if len(shares) > 1 else learner
    no_sync = wrapped.no_sync if len(shares) > 1 else nullcontext
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1, momentum=0.9)
    start = sum(sum(share) for share in shares[:rank])
    own = slice(start, start + sum(shares[rank]))
    losses = []
    for _ in range(STEPS):
        for number in range(ACCUMULATED):
            views = [view[own].double() for view in example_views(rows=ROWS, seed=number)]

            def loss(local: Embeddings) -> Outcome:
                gathered, samples = gather_rows(local, Samples.of(torch.arange(ROWS)[own]))
                return learner.objective.loss(gathered, samples)

            with nullcontext() if number == ACCUMULATED - 1 else no_sync():
                outcome = step_in_chunks(
                    wrapped,
                    pieces(views, shares[rank]),
                    loss,
                    second_stage=second_stage_of(learner),
                    backward=lambda value: (value / ACCUMULATED).backward(),
                    no_sync=no_sync,
                )
            losses.append(float(outcome.loss))
        optimizer.step()
        optimizer.zero_grad()
    assert math.isfinite(losses[-1])
    return {"losses": losses, "weights": {n: p.detach().clone() for n, p in learner.named_parameters()}}
