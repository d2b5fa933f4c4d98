"""What the plugin registers exists, and costs nothing to list."""

import importlib
import subprocess
import sys
from importlib.resources import files

import pytest
import yaml

from sslkit_detection import plugin


def test_importing_the_plugin_imports_no_torch() -> None:
    code = "import sys, sslkit_detection.plugin; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
    )


@pytest.mark.parametrize("address", [*plugin.sslkit_heads().values(), *plugin.sslkit_sources().values()])
def test_every_name_leads_to_a_class(address) -> None:
    module, _, name = address.partition(":")
    assert isinstance(getattr(importlib.import_module(module), name), type)


@pytest.mark.parametrize("name", plugin.sslkit_protocols())
def test_a_protocol_is_complete_and_its_head_takes_its_options(name) -> None:
    package, _, path = plugin.sslkit_protocols()[name].partition(":")
    protocol = yaml.safe_load((files(package) / path).read_text("utf-8"))
    assert protocol["id"] == name
    assert protocol["source"]
    module, _, attribute = plugin.sslkit_heads()[protocol["head"]].partition(":")
    head = getattr(importlib.import_module(module), attribute)
    assert set(protocol["options"]) <= set(head.__init__.__kwdefaults__)
    assert set(protocol["training"]) - {"decay"} == {
        "size", "steps", "batch", "optimizer", "lr", "weight_decay", "layer_decay", "warmup_steps",
        "clip_gradient", "ema", "augment", "oversample", "cache", "held_out", "evaluate_every",
    }  # fmt: skip


def test_every_file_of_protocols_is_registered_and_heads_name_one_of_them() -> None:
    found = {
        entry.name.removesuffix(".yaml") for entry in (files("sslkit_detection") / "protocols").iterdir()
    }
    assert found == set(plugin.sslkit_protocols())
    for address in plugin.sslkit_heads().values():
        module, _, name = address.partition(":")
        assert getattr(importlib.import_module(module), name).spec.protocol in found
