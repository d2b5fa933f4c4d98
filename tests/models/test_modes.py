"""What trains in each mode, in which order layers come, and that frozen ones stay still."""

import pytest
import torch
from torch import nn

from sslkit.errors import ConfigError
from sslkit.models.modes import Mode, keep_frozen_still, layers, learning_rates, set_mode, stages
from sslkit.testing.backbones import NETWORKS, TinyBackbone


class WithToken(TinyBackbone):
    """A network of its own with a parameter beside its layers, and a layer without any."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(3))
        self.drop = nn.Dropout(0.5)


def trained(backbone) -> set[str]:
    return {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("text", ["frozen", "finetune", "partial:1", "partial:12", "until:layer3"])
def test_modes_that_are_known(text) -> None:
    assert str(Mode(text)) == text
    assert Mode(text).frozen == (text == "frozen")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Frozen",
        "partial",
        "partial:",
        "partial:0",
        "partial:-1",
        "partial:1.5",
        "until",
        "until:",
        "until: ",
    ],
)
def test_another_mode_is_refused_with_those_that_work(text) -> None:
    with pytest.raises(ConfigError, match=rf"mode '{text}' is not one of frozen, finetune, partial:k"):
        Mode(text)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_is_in_one_layer_and_in_the_order_of_the_data(name) -> None:
    backbone = NETWORKS[name](64)
    placed = [parameter for names in layers(backbone) for parameter in names]
    assert sorted(placed) == sorted(name for name, _ in backbone.named_parameters())
    first_use = {parameter: place for place, (parameter, _) in enumerate(backbone.named_parameters())}
    starts = [min(first_use[parameter] for parameter in names) for names in layers(backbone)]
    assert starts == sorted(starts)


def test_blocks_of_a_transformer_are_layers() -> None:
    groups = layers(NETWORKS["vit"](64))
    assert len(groups) >= 5
    assert any("patch_embed" in name for name in groups[0])
    assert any("blocks.3" in name for names in groups[-2:] for name in names)


def test_parameters_of_the_network_itself_belong_to_the_first_layer() -> None:
    groups = layers(WithToken())
    assert [names[0].partition(".")[0] for names in groups] == ["token", "second"]
    assert "first.0.weight" in groups[0]


def test_frozen_trains_nothing_and_finetune_all() -> None:
    backbone = NETWORKS["resnet"](64)
    names = [name for name, _ in backbone.named_parameters()]
    assert set_mode(backbone, Mode("frozen")) == names
    assert trained(backbone) == set()
    assert set_mode(backbone, Mode("finetune")) == []
    assert trained(backbone) == set(names)


@pytest.mark.parametrize("name", ["resnet", "vit", "swin"])
def test_partial_trains_the_last_layers(name) -> None:
    backbone = NETWORKS[name](64)
    groups = layers(backbone)
    for count in (1, 2, len(groups)):
        frozen = set_mode(backbone, Mode(f"partial:{count}"))
        assert trained(backbone) == {name for names in groups[-count:] for name in names}
        assert {*frozen, *trained(backbone)} == {name for names in groups for name in names}


def test_more_layers_than_there_are_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="mode partial:3 of a backbone with 2 layers; use partial:1 to partial:2"
    ):
        set_mode(TinyBackbone(), Mode("partial:3"))


def test_only_what_is_wholly_frozen_is_put_into_eval_mode() -> None:
    backbone = TinyBackbone().train()
    set_mode(backbone, Mode("partial:1"))
    keep_frozen_still(backbone)
    assert not any(module.training for module in backbone.first.modules())
    assert all(module.training for module in backbone.second.modules())
    set_mode(backbone, Mode("frozen"))
    keep_frozen_still(backbone)
    assert not any(module.training for module in backbone.modules())


def test_rates_fall_from_the_last_layer_to_the_first() -> None:
    backbone = NETWORKS["vit"](64)
    groups, rates = layers(backbone), learning_rates(backbone, 0.5)
    assert set(rates) == {name for name, _ in backbone.named_parameters()}
    for depth, names in enumerate(reversed(groups)):
        assert {rates[name] for name in names} == {0.5**depth}
    assert set(learning_rates(backbone, 1.0).values()) == {1.0}


def test_until_freezes_the_stages_up_to_the_named_one_and_trains_exactly_the_rest() -> None:
    backbone = NETWORKS["resnet"](64)
    assert stages(backbone) == ["act1", "layer1", "layer2", "layer3", "layer4"]
    names = [name for name, _ in backbone.named_parameters()]
    parts = {"act1": (), "layer1": (1,), "layer2": (1, 2), "layer3": (1, 2, 3)}
    for stage, numbers in parts.items():
        kept = ("network.conv1", "network.bn1", *(f"network.layer{number}." for number in numbers))
        frozen = [name for name in names if name.startswith(kept)]
        assert set_mode(backbone, Mode(f"until:{stage}")) == frozen
        assert trained(backbone) == {*names} - {*frozen}


def test_until_freezes_the_token_and_the_positions_of_a_transformer() -> None:
    backbone = NETWORKS["vit"](64)
    frozen = set_mode(backbone, Mode("until:blocks.2"))
    assert {"network.cls_token", "network.pos_embed", "network.patch_embed.proj.weight"} <= {*frozen}
    assert {name.split(".")[1] for name in trained(backbone)} == {"blocks", "norm"}
    assert {name.split(".")[2] for name in trained(backbone) if "blocks" in name} == {"3"}
    assert not any(name.startswith("network.blocks.3") for name in frozen)


def test_a_stage_is_not_taken_for_another_that_begins_like_it() -> None:
    class Eleven(TinyBackbone):
        def __init__(self) -> None:
            super().__init__()
            self.second10, self.third = nn.Linear(2, 2), nn.Linear(2, 2)

    backbone = Eleven()
    assert stages(backbone) == ["first", "second", "second10", "third"]
    frozen = set_mode(backbone, Mode("until:second"))
    assert {name.partition(".")[0] for name in frozen} == {"first", "second"}
    assert {name.partition(".")[0] for name in trained(backbone)} == {"second10", "third"}


def test_a_stage_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        ConfigError, match=r"until:layer9: the stages .* act1, layer1, layer2, layer3, layer4"
    ):
        set_mode(NETWORKS["resnet"](64), Mode("until:layer9"))


def test_a_stage_with_nothing_after_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing of the backbone comes after it; use frozen"):
        set_mode(NETWORKS["resnet"](64), Mode("until:layer4"))


@pytest.mark.parametrize("name", NETWORKS)
def test_on_every_network_more_is_frozen_stage_by_stage(name: str) -> None:
    backbone = NETWORKS[name](64)
    before: set[str] = set()
    for stage in stages(backbone)[:-1]:
        frozen = {*set_mode(backbone, Mode(f"until:{stage}"))}
        assert frozen >= before
        assert {*frozen} | trained(backbone) == {name for name, _ in backbone.named_parameters()}
        before = frozen


def test_what_is_frozen_until_a_stage_stays_still_and_gets_no_gradient() -> None:
    backbone = NETWORKS["resnet"](64).train()
    set_mode(backbone, Mode("until:layer2"))
    keep_frozen_still(backbone)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(torch.rand(2, 3, 64, 64)).sum().backward()
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) == name.startswith(("network.layer3", "network.layer4"))
    moved = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith(("network.layer3", "network.layer4")) for name in moved)
