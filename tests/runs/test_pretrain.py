"""A whole pretraining run: what it writes, that it repeats, and how it ends when something is wrong."""

import json
from importlib.metadata import version

import pytest
import torch

import sslkit
from sslkit.errors import ConfigError, DataError, DivergedError, RunError, UnknownNameError
from sslkit.models.weights import load_backbone
from sslkit.runs.pretrain import pretrain, resume
from sslkit.training.checkpoint import load_checkpoint
from sslkit.training.monitor import read_diary
from sslkit.training.stopwatch import PHASES


def learner_of(run):
    return load_checkpoint(run / "checkpoints")[1]["learner"]


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture
def run(tmp_path, shapes, tiny):
    return pretrain(shapes, out=tmp_path / "run", overrides=tiny, progress=False)


def test_a_run_leaves_what_it_promises(run) -> None:
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "environment.json", "metrics.jsonl", "checkpoints", "report.html"} <= names
    environment = json.loads((run / "environment.json").read_text())
    assert environment["processes"] == 1
    assert environment["samples"] == 64
    assert environment["versions"]["torch"] == version("torch")
    assert environment["versions"]["sslkit"] == sslkit.__version__
    backbone = load_backbone(run)
    assert backbone(torch.zeros(1, 3, 32, 32)).shape == (1, backbone.embedding_dim)
    assert backbone.info.loaded_fraction == 1.0


def test_the_diary_holds_every_step_and_a_look_before_and_after_each_epoch(run) -> None:
    records = read_diary(run / "metrics.jsonl")
    steps = [r for r in records if r["kind"] == "step"]
    assert [r["step"] for r in steps] == list(range(1, 9))
    figures = {"loss", "lr", "gradient_norm", "images_per_second", "share_wait", "alignment", "uniformity"}
    assert all(figures <= r.keys() for r in steps)
    shares = [{k: v for k, v in r.items() if k.startswith("share_")} for r in steps]
    assert all(set(s) == {f"share_{phase}" for phase in PHASES} for s in shares)
    assert all(sum(s.values()) == pytest.approx(1, abs=1e-5) for s in shares)  # six digits are kept of each
    doing = ("views", "forward", "backward", "optimiser", "wait", "copy")
    assert all(s[f"share_{phase}"] > 0 for s in shares for phase in doing)
    looks = [r for r in records if r["kind"] == "monitor"]
    assert [r["epoch"] for r in looks] == [0, 1, 2]
    assert all(0 <= r["knn"] <= 1 and r["rankme"] > 0 and r["embedding_std"] > 0 for r in looks)


def test_the_saved_backbone_is_the_trained_one(run) -> None:
    trained = {
        name.removeprefix("backbone.network."): tensor
        for name, tensor in learner_of(run).items()
        if name.startswith("backbone.network.")
    }
    assert same(trained, load_backbone(run).network.state_dict())


def test_the_same_recipe_and_seed_repeat_to_the_bit(tmp_path, shapes, tiny, run) -> None:
    again = pretrain(shapes, out=tmp_path / "again", overrides=tiny, progress=False)
    other = pretrain(shapes, out=tmp_path / "other", overrides=[*tiny, "seed=1"], progress=False)
    assert same(learner_of(run), learner_of(again))
    assert not same(learner_of(run), learner_of(other))


def test_the_loss_falls(tmp_path, shapes, tiny) -> None:
    run = pretrain(
        shapes,
        out=tmp_path / "run",
        overrides=[*tiny, "schedule.epochs=8", "optimizer.lr=0.5"],
        progress=False,
    )
    losses = [r["loss"] for r in read_diary(run / "metrics.jsonl") if r["kind"] == "step"]
    assert sum(losses[-4:]) < sum(losses[:4])


def test_resuming_from_the_middle_gives_the_same_weights(tmp_path, shapes, tiny, run) -> None:
    """Every checkpoint of the run leads to the same end, in an epoch or between two."""
    kept = [*tiny, "checkpoint.every_steps=1", "checkpoint.keep=20"]
    full = pretrain(shapes, out=tmp_path / "full", overrides=kept, progress=False)
    end = learner_of(full)
    assert same(end, learner_of(run))
    for step in (1, 4, 6):
        for newer in sorted((full / "checkpoints").iterdir()):
            if int(newer.name.removeprefix("step-")) > step:
                for file in newer.iterdir():
                    file.unlink()
                newer.rmdir()
        resume(full, progress=False)
        assert same(end, learner_of(full)), f"resumed at step {step}"


def test_accumulated_batches_make_one_step(tmp_path, shapes, tiny) -> None:
    run = pretrain(shapes, out=tmp_path / "run", overrides=[*tiny, "batch.accumulate=2"], progress=False)
    assert [r["step"] for r in read_diary(run / "metrics.jsonl") if r["kind"] == "step"] == [1, 2, 3, 4]


@pytest.mark.parametrize("optimizer", ["lars", "adamw"])
def test_other_optimisers_clipping_and_bf16_run(tmp_path, shapes, tiny, optimizer) -> None:
    settings = [
        *tiny,
        f"optimizer.name={optimizer}",
        "optimizer.lr=0.001",
        "clip_gradient=1.0",
        "precision=bf16",
        "channels_last=true",
        "schedule.epochs=1",
    ]
    run = pretrain(shapes, out=tmp_path / "run", overrides=settings, progress=False)
    assert load_checkpoint(run / "checkpoints")[0].step == 4


def test_grey_pixels_train_a_network_of_one_channel(tmp_path, photos, tiny) -> None:
    grey = "views={name: custom, size: 32, policy: [[{op: crop_resize_flip}], [{op: gaussian_blur}]]}"
    settings = [*tiny, "batch.size=10", "data.channels=1", grey]
    run = pretrain(photos, out=tmp_path / "run", overrides=settings, progress=False)
    backbone = load_backbone(run)
    assert len(backbone.mean) == backbone.channels == 1
    assert backbone(torch.zeros(1, 1, 32, 32)).isfinite().all()
    with pytest.raises(ConfigError, match="color"):
        pretrain(photos, out=tmp_path / "x", overrides=[*tiny, "data.channels=1"], progress=False)


def test_unlabelled_photos_train_without_knn(tmp_path, photos, tiny) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photos.rglob("*.jpg"):
        path.rename(flat / path.name)
    run = pretrain(flat, out=tmp_path / "run", overrides=[*tiny, "batch.size=10"], progress=False)
    looks = [r for r in read_diary(run / "metrics.jsonl") if r["kind"] == "monitor"]
    assert looks
    assert all("knn" not in look for look in looks)


def test_an_unreadable_photo_is_skipped_and_listed(tmp_path, photos, tiny) -> None:
    (photos / "left" / "broken.jpg").write_bytes(b"not a picture")
    run = pretrain(photos, out=tmp_path / "run", overrides=[*tiny, "batch.size=7"], progress=False)
    lines = (run / "skipped.txt").read_text().splitlines()
    assert len(lines) == 1
    assert "left/broken.jpg" in lines[0]
    assert load_checkpoint(run / "checkpoints")[0].epoch == 2


def test_too_many_unreadable_photos_stop_the_run(tmp_path, photos, tiny) -> None:
    for number in range(8):
        (photos / "left" / f"broken{number}.jpg").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"data\.max_skipped"):
        pretrain(photos, out=tmp_path / "run", overrides=[*tiny, "batch.size=7"], progress=False)


def test_a_folder_of_nothing_but_damage_says_so(tmp_path, tiny) -> None:
    (tmp_path / "bad").mkdir()
    for number in range(4):
        (tmp_path / "bad" / f"{number}.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="decod"):
        pretrain(tmp_path / "bad", out=tmp_path / "run", overrides=[*tiny, "batch.size=2"], progress=False)


def test_a_loss_that_explodes_stops_with_the_step_and_keeps_a_checkpoint(tmp_path, shapes, tiny) -> None:
    settings = [*tiny, "optimizer.lr=1e25", "optimizer.lr_scaling=none", "checkpoint.every_steps=1"]
    with pytest.raises(DivergedError, match=r"step \d+"):
        pretrain(shapes, out=tmp_path / "run", overrides=settings, progress=False)
    for tensor in load_checkpoint(tmp_path / "run" / "checkpoints")[1]["learner"].values():
        assert not tensor.is_floating_point() or tensor.isfinite().all()


def test_a_folder_in_use_is_refused_and_untouched(tmp_path, shapes, tiny, run) -> None:
    before = learner_of(run)
    with pytest.raises(ConfigError, match="--overwrite"):
        pretrain(shapes, out=run, overrides=tiny, progress=False)
    with pytest.raises(UnknownNameError):
        pretrain(shapes, out=run, overrides=[*tiny, "objective.name=simclrr"], overwrite=True, progress=False)
    assert same(before, learner_of(run))
    again = pretrain(shapes, out=run, overrides=[*tiny, "seed=3"], overwrite=True, progress=False)
    assert not same(before, learner_of(again))


def test_overwrite_never_deletes_what_is_no_run(tmp_path, shapes, tiny) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not a run"):
        pretrain(shapes, out=tmp_path / "thesis", overrides=tiny, overwrite=True, progress=False)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch.size=128", "128.*64"),
        ("batch.accumulate=9", "accumulate"),
        ("objective.temprature=0.1", "temperature"),
        ("objective=simclrr", "simclr"),
        ("backbone.name=resnet_18", "resnet18"),
        ("views.name=simcl", "simclr"),
        ("optimiser.lr=1", "optimizer"),
        ("trackers=[tensorbord]", "tensorbord"),
    ],
)
def test_wrong_settings_name_the_mend(tmp_path, shapes, tiny, override, message) -> None:
    with pytest.raises(ConfigError, match=message):
        pretrain(shapes, out=tmp_path / "run", overrides=[*tiny, override], progress=False)
    assert not (tmp_path / "run").exists()


def test_resuming_on_changed_data_is_refused(tmp_path, photos, tiny) -> None:
    run = pretrain(photos, out=tmp_path / "run", overrides=[*tiny, "batch.size=10"], progress=False)
    (photos / "left" / "00.jpg").rename(photos / "left" / "new.jpg")
    (photos / "left" / "02.jpg").unlink()
    with pytest.raises(RunError, match="20 samples then, 19 now"):
        resume(run, progress=False)


def test_resuming_what_is_no_run_says_so(tmp_path) -> None:
    with pytest.raises(RunError, match=r"no config\.yaml"):
        resume(tmp_path, progress=False)


def test_resuming_a_finished_run_changes_nothing(run) -> None:
    before = learner_of(run)
    resume(run, progress=False)
    assert same(before, learner_of(run))


ROWS_APART = ("backbone={name: test_vit, options: {img_size: 32}}", "objective.projector_norm=layer")


def test_a_batch_in_chunks_trains_as_the_whole_batch(tmp_path, shapes, tiny) -> None:
    """`global` is another spelling of `size`; with 16 and 5 rows a chunk no chunk is like another."""
    settings = [s for s in tiny if not s.startswith(("backbone", "batch"))]
    settings += [*ROWS_APART, "batch.global=16", "schedule.epochs=1"]
    whole = pretrain(shapes, out=tmp_path / "whole", overrides=settings, progress=False)
    parts = pretrain(shapes, out=tmp_path / "parts", overrides=[*settings, "batch.micro=5"], progress=False)
    assert not same(learner_of(whole), learner_of(parts))  # rounding shows that chunks were really made
    for name, tensor in learner_of(whole).items():
        torch.testing.assert_close(learner_of(parts)[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_the_rows_of_a_chunk_are_chosen_here_and_kept(tmp_path, shapes, tiny) -> None:
    settings = [s for s in tiny if not s.startswith("backbone")]
    run = pretrain(
        shapes,
        out=tmp_path / "run",
        overrides=[*settings, *ROWS_APART, "batch.micro=auto", "schedule.epochs=1"],
        progress=False,
    )
    assert "micro: 16" in (run / "config.yaml").read_text()  # so few rows all fit


def test_batchnorm_in_chunks_is_refused_before_the_run_starts(tmp_path, shapes, tiny) -> None:
    with pytest.raises(ConfigError, match="per_chunk"):
        pretrain(shapes, out=tmp_path / "run", overrides=[*tiny, "batch.micro=4"], progress=False)
    assert not (tmp_path / "run").exists()
    chunked = [*tiny, "batch.micro=4", "batch.batchnorm=per_chunk", "schedule.epochs=1"]
    run = pretrain(shapes, out=tmp_path / "run", overrides=chunked, progress=False)
    assert load_checkpoint(run / "checkpoints")[0].step == 4


def test_the_log_tells_the_engine_and_where_the_time_of_a_step_went(tmp_path, shapes, tiny, capfd) -> None:
    pretrain(shapes, out=tmp_path / "run", overrides=[*tiny, "views.engine=auto"], progress=True)
    told = "".join(capfd.readouterr())
    assert "views by engine 'fused'; an image took: fused" in told
    assert "a step's time:" in told
    assert "backward" in told
