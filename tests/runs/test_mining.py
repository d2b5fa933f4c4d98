"""Mining inside a run: what it tells, that it resumes to the bit, and what is refused at the start."""

import pytest

from sslkit.contracts import Samples
from sslkit.errors import ConfigError
from sslkit.objectives.simclr import SimCLR
from sslkit.runs.pretrain import pretrain, resume
from sslkit.training.checkpoint import load_checkpoint
from sslkit.training.monitor import read_diary

MINED = ["mining.negatives=8", "mining.candidates=30", "mining.skip_nearest=2", "mining.refresh=3"]


@pytest.fixture
def mined(tiny) -> list[str]:
    """Three epochs of four steps; an index from step 4 on, a new one every three."""
    return [*tiny, "schedule.epochs=3", *MINED]


def learner_of(run):
    import torch

    state = load_checkpoint(run / "checkpoints")[1]["learner"]
    return {name: tensor for name, tensor in state.items() if torch.is_tensor(tensor)}


def same(first, second) -> bool:
    return first.keys() == second.keys() and all((first[k] == second[k]).all() for k in first)


def steps(run):
    return [record for record in read_diary(run / "metrics.jsonl") if record["kind"] == "step"]


def test_mining_begins_after_the_bank_is_full_and_is_told(tmp_path, shapes, mined) -> None:
    run = pretrain(shapes, out=tmp_path / "run", overrides=mined, progress=False)
    records = steps(run)
    began = [record["step"] for record in records if "mined_rank" in record]
    assert began == list(range(5, 13))
    last = records[-1]
    assert last["mined_rank"] >= 2
    assert 0 <= last["mined_age"] <= 12
    assert last["bank_filled"] == 1.0
    assert 0 <= last["share_mining"] <= 1
    assert "staleness" in last
    assert any(name.startswith("false_negatives_") for name in last)
    assert -1 <= last["mined_similarity"] <= 1


def test_the_report_shows_what_was_mined(tmp_path, shapes, mined) -> None:
    run = pretrain(shapes, out=tmp_path / "run", overrides=mined, progress=False)
    page = (run / "report.html").read_text()
    assert "<h2>Mining</h2>" in page
    assert "anchor&#x27;s own class" in page or "anchor's own class" in page
    assert "bank filled" in page


def test_mined_negatives_change_what_is_learnt(tmp_path, shapes, mined, tiny) -> None:
    plain = pretrain(shapes, out=tmp_path / "plain", overrides=[*tiny, "schedule.epochs=3"], progress=False)
    run = pretrain(shapes, out=tmp_path / "run", overrides=mined, progress=False)
    assert [r["loss"] for r in steps(plain)][:4] == [r["loss"] for r in steps(run)][:4]
    assert [r["loss"] for r in steps(plain)][5:] != [r["loss"] for r in steps(run)][5:]


@pytest.mark.parametrize(
    "settings",
    [
        ["mining.lag=2"],
        ["mining.lag=0", "mining.momentum=0.5", "mining.strategy=distance_weighted"],
        ["mining.hard_batches.cluster=4", "mining.refresh=auto"],
        ["mining.positives=1", "mining.bands=[{ranks: [0, 1], action: attract}]", "batch.accumulate=2"],
    ],
    ids=["lag", "average", "hard-batches", "attract"],
)
def test_resuming_with_a_miner_gives_the_same_weights(tmp_path, shapes, mined, settings) -> None:
    """Killed after any step, also between a snapshot and the takeover of its index."""
    kept = [*mined, "checkpoint.every_steps=1", "checkpoint.keep=30", *settings]
    full = pretrain(shapes, out=tmp_path / "full", overrides=kept, progress=False)
    end = learner_of(full)
    last = load_checkpoint(full / "checkpoints")[0].step
    for step in range(last - 1, 0, -2):
        for newer in sorted((full / "checkpoints").iterdir()):
            if int(newer.name.removeprefix("step-")) > step:
                for file in newer.iterdir():
                    file.unlink()
                newer.rmdir()
        resume(full, progress=False)
        assert same(end, learner_of(full)), f"resumed at step {step}"


def test_labels_reach_neither_miner_nor_loss(tmp_path, shapes, mined, monkeypatch) -> None:
    seen: list[Samples] = []
    plain = SimCLR.loss

    def spying(self, embeddings, samples, mined=None):
        seen.append(samples)
        return plain(self, embeddings, samples, mined)

    monkeypatch.setattr(SimCLR, "loss", spying)
    pretrain(shapes, out=tmp_path / "run", overrides=mined, progress=False)
    assert len(seen) == 12
    assert all((samples.labels == -1).all() for samples in seen)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["objective={name: byol, projector_hidden: 16}"], "no use for mined neighbours"),
        (["mining.negatives=31"], "mining.candidates=30"),
        (["mining.skip_nearest=63"], "leaves no candidate"),
        (["mining.candidates=200", "mining.negatives=100"], "64 samples"),
        (["mining.bands=[{ranks: [5, 1], action: repel}]"], r"\[5, 1\]"),
        (["mining.bands=[{ranks: [0, 4], action: push}]"], "repel.*attract.*exclude"),
        (["mining.strategy=hardest"], "semi_hard"),
        (["mining.negativs=3"], "negatives"),
        (["mining.quantiles=[0.5, 0.2]"], "low < high"),
        (["mining.index=ivf"], "ivf"),
    ],
)
def test_what_cannot_work_is_refused_before_the_run_starts(
    tmp_path, shapes, mined, overrides, message
) -> None:
    with pytest.raises(ConfigError, match=message):
        pretrain(shapes, out=tmp_path / "run", overrides=[*mined, *overrides], progress=False)
    assert not (tmp_path / "run").exists()


def test_hard_batches_alone_serve_an_objective_without_negatives(tmp_path, shapes, tiny) -> None:
    settings = [
        *tiny,
        "objective={name: byol, projector_hidden: 16, projector_outputs: 8, predictor_hidden: 16}",
        "mining.negatives=0",
        "mining.skip_nearest=0",
        "mining.hard_batches.cluster=4",
    ]
    run = pretrain(shapes, out=tmp_path / "run", overrides=settings, progress=False)
    assert load_checkpoint(run / "checkpoints")[0].epoch == 2
