"""The layout: what is asked for is taken, what is "auto" is timed, and timing leaves no trace."""

import pytest
import torch

from sslkit.testing.backbones import TinyBackbone
from sslkit.training import precision
from sslkit.training.precision import Layout, choose_layout, memory_format

CPU = torch.device("cpu")


def test_a_layout_asked_for_is_not_timed() -> None:
    chosen = choose_layout(None, precision="bf16", channels_last=True, size=32, batch=8, device=CPU)
    assert chosen == Layout("bf16", True)
    assert chosen.milliseconds == {}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"bf16 last": 1.0, "bf16": 2.0, "fp32 last": 2.0, "fp32": 3.0}, Layout("bf16", True)),
        ({"bf16 last": 1.1, "bf16": 1.0, "fp32 last": 2.0, "fp32": 3.0}, Layout("bf16", True)),
        ({"bf16 last": 1.5, "bf16": 1.0, "fp32 last": 2.0, "fp32": 3.0}, Layout("bf16", False)),
        ({"bf16 last": 9.0, "bf16": 9.0, "fp32 last": 1.0, "fp32": 1.0}, Layout("fp32", True)),
        ({"bf16 last": 9.0, "bf16": 9.0, "fp32 last": 4.0, "fp32": 1.0}, Layout("fp32", False)),
    ],
    ids=["fastest", "within noise", "clearly slower", "no bf16 hardware", "plain"],
)
def test_auto_takes_what_is_clearly_faster(monkeypatch, seconds, expected) -> None:
    def timed(backbone, pixels, layout) -> float:
        return seconds[f"{layout.precision}{' last' if layout.channels_last else ''}"]

    monkeypatch.setattr(precision, "_seconds", timed)
    chosen = choose_layout(
        TinyBackbone(), precision="auto", channels_last="auto", size=32, batch=8, device=CPU
    )
    assert chosen == expected
    assert chosen.milliseconds["fp32"] == 1000 * seconds["fp32"]


def test_what_is_timed_is_a_real_step() -> None:
    chosen = choose_layout(
        TinyBackbone(), precision="auto", channels_last=False, size=32, batch=8, device=CPU
    )
    assert set(chosen.milliseconds) == {"fp32", "bf16"}
    assert all(value > 0 for value in chosen.milliseconds.values())


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
