"""Checkpoints: whole or absent, verified, pruned, and never lost to a failed write."""

import json
import resource
import signal

import pytest
import torch

from sslkit.errors import CheckpointError
from sslkit.training import checkpoint as module
from sslkit.training.checkpoint import Position, has_checkpoint, load_checkpoint, save_checkpoint

STATE = {"weights": torch.arange(5.0), "nested": {"list": [torch.ones(2), 3, "text"], "none": None}}


def test_what_is_saved_is_loaded(tmp_path) -> None:
    save_checkpoint(tmp_path, Position(7, 2, 3), STATE, keep=2)
    position, state, problems = load_checkpoint(tmp_path)
    assert position == Position(7, 2, 3)
    assert torch.equal(state["weights"], STATE["weights"])
    assert state["nested"]["list"][1:] == [3, "text"]
    assert problems == []


def test_only_the_newest_are_kept(tmp_path) -> None:
    for step in (1, 2, 10, 3):
        save_checkpoint(tmp_path, Position(step), STATE, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000010"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "state missing", "card cut"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage) -> None:
    save_checkpoint(tmp_path, Position(1), {"x": torch.zeros(100)}, keep=2)
    newest = save_checkpoint(tmp_path, Position(2), {"x": torch.ones(100)}, keep=2)
    state, card = newest / "state.pt", newest / "checkpoint.json"
    content = state.read_bytes()
    if damage == "truncated":
        state.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        state.write_bytes(content[:600] + bytes([content[600] ^ 1]) + content[601:])
    elif damage == "state missing":
        state.unlink()
    else:
        card.write_text(card.read_text()[:20])
    position, loaded, problems = load_checkpoint(tmp_path)
    assert position.step == 1
    assert float(loaded["x"].sum()) == 0.0
    assert len(problems) == 1
    assert "step-00000002" in problems[0]


def test_without_any_intact_checkpoint_all_problems_are_named(tmp_path) -> None:
    path = save_checkpoint(tmp_path, Position(1), STATE, keep=2)
    (path / "state.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(tmp_path)


def test_another_version_says_what_reads_it(tmp_path) -> None:
    path = save_checkpoint(tmp_path, Position(1), STATE, keep=2)
    card = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps({**card, "format": 99}))
    with pytest.raises(CheckpointError, match=r"format 99.*environment\.json"):
        load_checkpoint(tmp_path)


def test_an_empty_folder_has_none(tmp_path) -> None:
    assert not has_checkpoint(tmp_path)
    assert not has_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path)


def test_an_unfinished_write_is_no_checkpoint(tmp_path) -> None:
    """What a kill in the middle of a write leaves behind."""
    save_checkpoint(tmp_path, Position(1), STATE, keep=2)
    partial = tmp_path / ".step-00000002.partial"
    partial.mkdir()
    (partial / "state.pt").write_bytes(b"half")
    assert load_checkpoint(tmp_path)[0].step == 1
    save_checkpoint(tmp_path, Position(2), STATE, keep=2)
    assert load_checkpoint(tmp_path)[0].step == 2
    assert not partial.exists()


def test_a_full_disk_leaves_the_checkpoint_before_intact(tmp_path) -> None:
    """The kernel refuses writes past a limit on file size, as it does on a full disk."""
    save_checkpoint(tmp_path, Position(1), STATE, keep=2)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
        with pytest.raises(CheckpointError, match="step-00000001, which is intact"):
            save_checkpoint(tmp_path, Position(2), {"x": torch.zeros(1_000_000)}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert load_checkpoint(tmp_path)[0].step == 1


def test_nothing_is_unpickled(tmp_path) -> None:
    """A checkpoint made by somebody else must not run code."""
    path = save_checkpoint(tmp_path, Position(1), STATE, keep=1)
    torch.save({"evil": Unpickled()}, path / "state.pt")
    card = json.loads((path / "checkpoint.json").read_text())
    card["sha256"] = module._sha256(path / "state.pt")
    (path / "checkpoint.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path)


class Unpickled:
    def __reduce__(self):
        return (print, ("code ran",))
