"""Small networks, raw outputs and objects for detectors."""

import pytest
import torch

from sslkit.contracts import HeadFeatures, Meta, Objects, Task
from sslkit.models.creation import create_backbone
from sslkit.models.task_model import TaskModel, offered

CLASSES = ("cat", "dog", "cow")
SIDE = 64


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(0)
    return create_backbone("test_resnet").eval()


@pytest.fixture
def build(network):
    """A head on the tiny network, with features of two images, the second smaller than its canvas."""

    def built(cls, **options):
        torch.manual_seed(0)
        counts = options.pop("counts", ())
        head = cls(offered(network, cls.spec), Task("boxes", CLASSES, (SIDE, SIDE), counts), **options)
        metas = (
            Meta(0, "whole", (SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE)),
            Meta(1, "small", (80, 96), (40, 48), (SIDE, SIDE)),
        )
        generator = torch.Generator().manual_seed(1)
        pixels = torch.randn(2, 3, SIDE, SIDE, generator=generator)
        features: HeadFeatures = TaskModel(network, head, mode="frozen").features(pixels, metas)
        return head, features

    return built


@pytest.fixture
def targets():
    return [
        Objects(
            torch.tensor([[4.0, 6, 30, 34], [32, 30, 60, 50]]),
            torch.tensor([0, 2]),
            crowd=torch.tensor([False, False]),
        ),
        Objects(torch.tensor([[5.0, 5, 25, 20]]), torch.tensor([1])),
    ]
