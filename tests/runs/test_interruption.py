"""Real processes killed and stopped in the middle: the resumed run is the uninterrupted one, bit for bit."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch

from sslkit.runs.pretrain import pretrain, resume
from sslkit.training.checkpoint import load_checkpoint

LAUNCHERS = [
    ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    [
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
        *("--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"),
    ],
]


def start(shapes, out, settings) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sslkit", "pretrain", shapes, "--out", str(out), *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_steps(out, count, process, limit=120.0) -> None:
    until = time.monotonic() + limit
    metrics = out / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count('"kind": "step"') >= count):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, "the run did not get that far"
        time.sleep(0.01)


MINED = [
    *("mining.negatives=8", "mining.candidates=30", "mining.skip_nearest=2"),
    *("mining.refresh=5", "mining.lag=2", "mining.hard_batches.cluster=4"),
]


@pytest.mark.parametrize(
    "method",
    [[], ["objective.name=byol", "objective.predictor_hidden=32"], MINED],
    ids=["simclr", "byol", "mined"],
)
def test_killed_in_an_epoch_and_resumed_is_bit_identical(tmp_path, shapes, tiny, method) -> None:
    """SIGKILL allows no last word. Checkpoints lie inside epochs: every 3 steps of 4."""
    settings = [
        *tiny,
        *method,
        "schedule.epochs=30",
        "checkpoint.every_steps=3",
        "monitor.every_epochs=10",
    ]
    process = start(shapes, tmp_path / "killed", settings)
    wait_for_steps(tmp_path / "killed", 10, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    stopped = load_checkpoint(tmp_path / "killed" / "checkpoints")[0]
    assert 0 < stopped.step < 120
    torch.set_num_threads(1)
    resume(tmp_path / "killed", progress=False)
    pretrain(shapes, out=tmp_path / "whole", overrides=settings, progress=False)
    (killed_at, killed, _), (whole_at, whole, _) = (
        load_checkpoint(tmp_path / name / "checkpoints") for name in ("killed", "whole")
    )
    assert killed_at == whole_at
    for name, tensor in whole["learner"].items():
        assert torch.equal(tensor, killed["learner"][name]), name
    for key, slots in whole["optimizer"]["state"].items():
        for name, value in slots.items():
            assert torch.equal(
                torch.as_tensor(value), torch.as_tensor(killed["optimizer"]["state"][key][name])
            )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_says_how_to_go_on_and_sets_the_exit_code(tmp_path, shapes, tiny, number) -> None:
    settings = [*tiny, "schedule.epochs=200", "checkpoint.every_epochs=200"]
    process = start(shapes, tmp_path / "run", settings)
    wait_for_steps(tmp_path / "run", 5, process)
    process.send_signal(number)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert f"sslkit resume {tmp_path / 'run'}" in error
    assert "Traceback" not in error
    assert load_checkpoint(tmp_path / "run" / "checkpoints")[0].step >= 5


def test_a_disk_that_takes_no_checkpoint_ends_the_run_with_words(tmp_path, shapes, tiny) -> None:
    """Writes past 100 kB are refused by the kernel, as they are on a full disk."""
    command = [sys.executable, "-m", "sslkit", "pretrain", shapes, "--out", str(tmp_path / "run"), *tiny]
    limited = f"ulimit -f 100; exec {shlex.join(command)}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert "free space" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("launcher", "more"),
    [(LAUNCHERS[0], []), (LAUNCHERS[1], [*MINED, "schedule.epochs=2"])],
    ids=["torchrun", "accelerate-mined"],
)
def test_two_processes_train_as_one(tmp_path, shapes, tiny, launcher, more) -> None:
    """The documented commands start as many processes as they say, and these agree with a single one."""
    settings = [*tiny, "schedule.epochs=1", "optimizer.lr=0.01", *more]
    done = subprocess.run(
        [
            *(sys.executable, *launcher, "-m", "sslkit", "pretrain", shapes),
            *("--out", str(tmp_path / "two"), *settings),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"processes": 2' in (tmp_path / "two" / "environment.json").read_text()
    pretrain(shapes, out=tmp_path / "one", overrides=settings, progress=False)
    one, two = (load_checkpoint(tmp_path / name / "checkpoints")[1]["learner"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name].float(), tensor.float(), rtol=1e-3, atol=1e-4, msg=name)
