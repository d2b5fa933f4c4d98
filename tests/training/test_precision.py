"""The layout: what is asked for is taken, what is "auto" is timed, and timing leaves no trace."""

import torch

from sslkit.testing.backbones import TinyBackbone
from sslkit.training.precision import Layout, choose_layout, memory_format

CPU = torch.device("cpu")


def test_a_layout_asked_for_is_not_timed() -> None:
    chosen = choose_layout(None, precision="bf16", channels_last=True, size=32, batch=8, device=CPU)
    assert chosen == Layout("bf16", True)
    assert chosen.milliseconds == {}


def test_auto_takes_the_fastest_of_what_it_timed() -> None:
    chosen = choose_layout(
        TinyBackbone(), precision="auto", channels_last="auto", size=32, batch=8, device=CPU
    )
    name = f"{chosen.precision}{' channels_last' if chosen.channels_last else ''}"
    assert set(chosen.milliseconds) == {"fp32", "fp32 channels_last", "bf16", "bf16 channels_last"}
    assert chosen.milliseconds[name] == min(chosen.milliseconds.values())


def test_timing_changes_no_tensor() -> None:
    backbone = TinyBackbone()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    state = torch.get_rng_state()
    choose_layout(backbone, precision="auto", channels_last="auto", size=32, batch=8, device=CPU)
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert torch.equal(torch.get_rng_state(), state), "a run must not depend on whether it was timed"


def test_memory_format_follows_the_layout() -> None:
    assert memory_format(Layout("fp32", True)) == torch.channels_last
    assert memory_format(Layout("fp32", False)) == torch.contiguous_format
