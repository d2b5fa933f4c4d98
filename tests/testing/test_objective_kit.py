"""The kit passes a sound objective and names what is wrong with an unsound one."""

import pytest
import torch
from torch import nn

from sslkit.contracts import Outcome
from sslkit.objectives.simclr import SimCLR
from sslkit.testing.objective_kit import check_objective

SMALL = {"projector_hidden": 16, "projector_outputs": 8}


class KeepsBackbone(SimCLR):
    def __init__(self, backbone) -> None:
        super().__init__(backbone, **SMALL)
        self.held = backbone


class ForgetsParameter(SimCLR):
    def __init__(self, backbone) -> None:
        super().__init__(backbone, **SMALL)
        self.unused = nn.Parameter(torch.zeros(1))


class DetachesOutputs(SimCLR):
    def embed(self, backbone, views):
        embeddings = super().embed(backbone, views)
        return embeddings._replace(outputs=tuple(output.detach() for output in embeddings.outputs))


class SecondViewEmbedding(SimCLR):
    def embed(self, backbone, views):
        return super().embed(backbone, views)._replace(embedding=torch.cat(list(views)).mean(dim=(2, 3)))


class OrderMatters(SimCLR):
    def loss(self, embeddings, samples, mined=None):
        outcome = super().loss(embeddings, samples, mined)
        return Outcome(outcome.loss + embeddings.outputs[0][0].sum(), outcome.terms)


class LossPerRow(SimCLR):
    def loss(self, embeddings, samples, mined=None):
        outcome = super().loss(embeddings, samples, mined)
        return Outcome(outcome.loss.expand(3), outcome.terms)


def test_a_sound_objective_passes() -> None:
    check_objective(lambda backbone: SimCLR(backbone, **SMALL))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (KeepsBackbone, "keeps the backbone"),
        (ForgetsParameter, "no gradient reaches objective parameter 'unused'"),
        (lambda backbone: DetachesOutputs(backbone, **SMALL), "carries no gradient"),
        (lambda backbone: SecondViewEmbedding(backbone, **SMALL), "of the first view"),
        (lambda backbone: OrderMatters(backbone, **SMALL), "depends on the order of rows"),
        (lambda backbone: LossPerRow(backbone, **SMALL), "not a scalar"),
    ],
)
def test_what_is_wrong_is_named(build, message) -> None:
    with pytest.raises(AssertionError, match=message):
        check_objective(build)


def test_a_loss_that_does_not_fall_is_named() -> None:
    class Constant(SimCLR):
        def loss(self, embeddings, samples, mined=None):
            outcome = super().loss(embeddings, samples, mined)
            return Outcome(outcome.loss - outcome.loss.detach() + 1.0, outcome.terms)

    with pytest.raises(AssertionError, match="did not fall"):
        check_objective(lambda backbone: Constant(backbone, **SMALL))
