"""Two processes with one store: features are computed by one of them, and read by both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
from pathlib import Path
from accelerate import PartialState
from sslkit.models.task_model import TaskModel
from sslkit.runs.head_judging import judge
from sslkit.runs.head_training import train_head
from sslkit.training.feature_store import FeatureStore
from tests.runs.test_stored_features import TinyHead, parts, shapes
PartialState(cpu=True)
folder, seen, own = Path(sys.argv[1]), [], TaskModel.features
def counted(self, pixels, metas):
    seen.extend(meta.id for meta in metas)
    return own(self, pixels, metas)
TaskModel.features = counted
made = parts(folder / "run", FeatureStore(folder / "store"), head=TinyHead)
model = train_head(made, progress=False)
figures = judge(model, shapes(13, seed=2), made.plan, made.accelerator, stored=made.stored).figures
rank = made.accelerator.process_index
told = {"seen": len(seen), "judged": figures["judged"], "accuracy": figures["accuracy"]}
(folder / f"told-{rank}.json").write_text(json.dumps(told))
"""


def test_one_of_two_processes_computes_features(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "SSLKIT_SAFE": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, str(tmp_path / "script.py"), str(tmp_path)]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    told = [json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in (0, 1)]
    assert sum(one["seen"] for one in told) == 21 + 10 + 13
    assert told[0]["judged"] == told[1]["judged"] == 13
    assert told[0]["accuracy"] == told[1]["accuracy"]
