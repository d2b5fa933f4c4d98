"""What the plugin registers is there."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

from sslkit_inflation import plugin


def test_the_transform_is_a_function_of_a_network_and_options() -> None:
    module, _, attribute = plugin.sslkit_backbone_transforms()["inflate"].partition(":")
    function = getattr(importlib.import_module(module), attribute)
    first, *options = inspect.signature(function).parameters.values()
    assert first.name == "network"
    assert all(o.kind is o.KEYWORD_ONLY and o.default is not o.empty for o in options)


def test_the_plugin_itself_is_light() -> None:
    code = "import sys, sslkit_inflation.plugin; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
    )
