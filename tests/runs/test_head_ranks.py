"""Two processes train and judge a head as one does: every sample once, the same batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sslkit.models.creation import create_backbone
from sslkit.models.weights import save_backbone
from tests.runs.test_head_evaluation import DATA, JUDGED, PROTOCOL

SCRIPT = f"""
import sys
from pathlib import Path
from sslkit.registry.lookup import loaded
from sslkit.registry.plugins import Target
from sslkit.runs import head_backbone
from sslkit.runs.evaluate import evaluate
from sslkit.training.precision import Layout
head_backbone.choose_layout = lambda *given, **options: Layout("fp32", False)
loaded().targets["head"]["tiny"] = Target("tests.runs.tiny_head:TinyHead", "test")
folder = Path(sys.argv[1])
evaluate(folder / "run", {DATA!r}, test={JUDGED!r}, head="tiny", protocol=folder / "tiny.yaml",
         settings=sys.argv[3:], baselines=False, progress=False, out=folder / sys.argv[2])
"""

# Adam's first steps have the size of the rate whatever the gradient is, so that rounding would show.
SGD = ("training.optimizer=sgd", "training.lr=0.05")


@pytest.mark.parametrize(
    "settings", [("mode=finetune", *SGD), ("training.cache=true", *SGD)], ids=["finetune", "cached"]
)
def test_two_processes_learn_and_judge_as_one(tmp_path: Path, settings: tuple[str, ...]) -> None:
    (tmp_path / "run").mkdir()
    torch.manual_seed(0)
    save_backbone(create_backbone("test_resnet", size=32, stem="standard"), tmp_path / "run", size=32)
    (tmp_path / "tiny.yaml").write_text(PROTOCOL)
    (tmp_path / "script.py").write_text(SCRIPT)
    launchers = {
        "one": [],
        "two": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    }
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "SSLKIT_SAFE": "1"}
    for name, launcher in launchers.items():
        command = [sys.executable, *launcher, str(tmp_path / "script.py"), str(tmp_path), name, *settings]
        ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr[-3000:]
    results = [json.loads((tmp_path / name / "run/seed-0/result.json").read_text()) for name in launchers]
    assert [result["figures"]["judged"] for result in results] == [20, 20]
    one, two = (load_file(tmp_path / name / "run/seed-0/weights.safetensors") for name in launchers)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name].float(), two[name].float(), rtol=1e-3, atol=1e-4)
