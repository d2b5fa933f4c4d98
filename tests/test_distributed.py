"""Gather with gradient, with real gloo processes, and without any process group."""

import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from sslkit.contracts import Embeddings, Samples
from sslkit.distributed import any_rank, gather, gather_rows, summed, world_size
from sslkit.objectives.byol import BYOL
from sslkit.objectives.simclr import SimCLR
from sslkit.testing.ranks import many_ranks_step, one_rank_step

SMALL = {"projector_hidden": 16, "projector_outputs": 8}


def test_alone_everything_is_the_identity() -> None:
    rows = torch.randn(3, 2, requires_grad=True)
    assert world_size() == 1
    assert gather(rows) is rows
    assert summed(rows) is rows
    assert any_rank(15, torch.device("cpu")) == 15
    assert any_rank(None, torch.device("cpu")) is None


def test_low_precision_rows_become_float32_before_the_loss() -> None:
    half = torch.randn(3, 2).bfloat16()
    samples = Samples.of(torch.arange(3))
    gathered, gathered_samples = gather_rows(Embeddings(half, (half,), (half,)), samples)
    assert {t.dtype for t in (gathered.embedding, *gathered.outputs, *gathered.targets)} == {torch.float32}
    assert gathered_samples == samples


@pytest.mark.parametrize("sizes", [[6, 6], [5, 4, 3]], ids=["even", "uneven"])
@pytest.mark.parametrize(
    ("objective", "options"),
    [(SimCLR, SMALL), (BYOL, {**SMALL, "predictor_hidden": 16})],
    ids=["simclr", "byol"],
)
def test_many_ranks_equal_one_rank_with_the_global_batch(objective, options, sizes) -> None:
    """Loss and every gradient in float64, BatchNorm synchronised: a wrong factor or a missing row shows."""
    one = one_rank_step(objective, options, rows=12)
    many = many_ranks_step(objective, options, sizes=sizes)
    assert many.loss == pytest.approx(one.loss, rel=1e-12)
    assert many.gradients.keys() == one.gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in one.gradients.values())
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(many.gradients[name], gradient, rtol=1e-9, atol=1e-12 * largest, msg=name)


def test_a_parameter_of_the_second_stage_gets_the_same_gradient() -> None:
    """A learnable temperature inside `loss` is used after the gather, on every rank alike."""
    one = one_rank_step(LearnableTemperature, SMALL, rows=12)
    many = many_ranks_step(LearnableTemperature, SMALL, sizes=[7, 5])
    name = "objective.log_temperature"
    assert float(one.gradients[name]) != 0.0
    torch.testing.assert_close(many.gradients[name], one.gradients[name], rtol=1e-9, atol=0)


class LearnableTemperature(SimCLR):
    def __init__(self, backbone, **options) -> None:
        super().__init__(backbone, **options)
        self.log_temperature = torch.nn.Parameter(torch.tensor(-1.0))

    def loss(self, embeddings, samples, mined=None):
        self.temperature = self.log_temperature.exp()
        return super().loss(embeddings, samples, mined)


def test_any_rank_tells_all_what_one_was_told() -> None:
    with tempfile.TemporaryDirectory() as folder:
        spawn(_ask_any_rank, args=(folder,), nprocs=2)
        assert [(Path(folder) / str(rank)).read_text() for rank in range(2)] == ["15 None", "15 None"]


def _ask_any_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    cpu = torch.device("cpu")
    told = any_rank(15 if rank == 1 else None, cpu)
    (Path(folder) / str(rank)).write_text(f"{told} {any_rank(None, cpu)}")
    dist.destroy_process_group()
