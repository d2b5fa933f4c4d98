"""Stages are found by watching a network run."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from sslkit.errors import ModelError
from sslkit_inflation.stages import probe, spatial_convolutions, stages


def built(name: str) -> nn.Module:
    return timm.create_model(name, num_classes=0)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "names", "entries", "taps"),
    [
        (
            "resnet18",
            ["stem", "layer1", "layer2", "layer3", "layer4"],
            [None, "maxpool", "layer2", "layer3", "layer4"],
            [(0,), (1,), (2,), (3,), (4,)],
        ),
        (
            "convnext_atto",
            ["stem", "stages.0", "stages.1", "stages.2", "stages.3"],
            [None, "stages.0", "stages.1", "stages.2", "stages.3"],
            [(), (0,), (1,), (2,), (3,)],
        ),
        (
            "mobilenetv3_small_050",
            ["stem", "blocks.0", "blocks.1", "blocks.3", "blocks.5"],
            [None, "blocks.0", "blocks.1", "blocks.2", "blocks.4"],
            [(0,), (1,), (2,), (3,), (4,)],
        ),
        ("test_vit", ["stem"], [None], [(0, 1, 2, 3, 4, 5)]),
    ],
)
def test_a_stage_is_what_runs_until_its_map_is_there(
    name: str, names: list[str], entries: list[str | None], taps: list[tuple[int, ...]]
) -> None:
    network = built(name)
    found = stages(network, probe(network))
    assert [stage.name for stage in found] == names
    assert [stage.entry for stage in found] == entries
    assert [stage.taps for stage in found] == taps
    listed = [conv for stage in found for conv in stage.convolutions]
    assert sorted(listed) == sorted(spatial_convolutions(network))


def test_watching_changes_nothing() -> None:
    network = built("test_resnet").train()
    network.bn1.eval()  # type: ignore[union-attr]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    stages(network, probe(network))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert not network.bn1.training  # type: ignore[union-attr]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class Functional(nn.Module):
    """A network that uses the weight of one convolution by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows to rows."""
        return nn.functional.conv2d(self.first(rows), self.second.weight)


def test_a_convolution_used_by_hand_is_told() -> None:
    network = Functional()
    with pytest.raises(ModelError, match="'second' is no layer of the forward pass"):
        stages(network, probe(network))


def test_a_network_that_takes_no_probe_says_why() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 2))
    with pytest.raises(ModelError, match=r"takes no pixels of \(3, 224, 224\): .*mat1 and mat2"):
        probe(network)
