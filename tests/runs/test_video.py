"""Pretraining on video: clips, temporal positives, groups, mixtures, and what can be done with the result."""

import json

import numpy as np
import pytest
import torch

from sslkit.config import load_recipe
from sslkit.errors import ConfigError
from sslkit.models.weights import saved_clip
from sslkit.runs.embedder import open_embedder, untrained_like
from sslkit.runs.index import build_index
from sslkit.runs.pretrain import pretrain, resume
from sslkit.runs.reading import clips_of, open_data, reader_of, resolve
from sslkit.runs.run_folder import RunFolder
from sslkit.training.checkpoint import load_checkpoint

SETTINGS = ("batch.size=6", "monitor.samples=10", "monitor.k=2", "schedule.epochs=2")


def losses(run) -> list[float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if record["kind"] == "step"]


def weights(run):
    return load_checkpoint(run / "checkpoints")[1]["learner"]


@pytest.mark.parametrize("positives", ["crop", "temporal", "both"])
@pytest.mark.parametrize("frames", [1, 3])
def test_a_run_on_videos_with_each_kind_of_positives(tmp_path, videos, tiny, positives, frames) -> None:
    clip = [f"data.clip.frames={frames}", f"data.clip.positives={positives}"]
    run = pretrain(videos, out=tmp_path / "run", overrides=[*tiny, *SETTINGS, *clip], progress=False)
    assert len(losses(run)) == 4  # twelve moments of one second
    assert all(np.isfinite(losses(run)))
    assert saved_clip(run) == (frames, 1.0)


def test_a_folder_of_videos_needs_no_settings(tmp_path, videos, tiny) -> None:
    run = pretrain(videos, out=tmp_path / "run", overrides=[*tiny, *SETTINGS], progress=False)
    clip = RunFolder(run).recipe().data.clip
    assert clip is not None
    assert (clip.frames, clip.positives) == (1, "both")


def test_what_is_looked_at_follows_the_flag(videos, tiny) -> None:
    shapes = {}
    for positives in ("crop", "temporal", "both"):
        recipe = load_recipe(
            None, [*tiny, f"data.path={videos}", "data.clip.frames=2", f"data.clip.positives={positives}"]
        )
        source = open_data(recipe)
        recipe = resolve(recipe, source)
        batch = reader_of(recipe, source).read(torch.arange(4))
        shapes[positives] = batch.pixels.shape[1:3]
        assert clips_of(recipe).positives == positives
        assert batch.groups[0] == batch.groups[1]  # two moments of one video
    assert shapes == {"crop": (1, 2), "temporal": (2, 2), "both": (2, 2)}


def test_an_interrupted_video_run_resumes_to_the_bit(tmp_path, videos, tiny, monkeypatch) -> None:
    overrides = [*tiny, *SETTINGS, "data.clip.frames=2", "checkpoint.every_steps=1", "checkpoint.keep=99"]
    whole = pretrain(videos, out=tmp_path / "whole", overrides=overrides, progress=False)
    part = pretrain(videos, out=tmp_path / "part", overrides=overrides, progress=False)
    for step in sorted((part / "checkpoints").iterdir()):
        if int(step.name.rpartition("-")[2]) > 1:
            import shutil

            shutil.rmtree(step)
    resume(part, progress=False)
    first, second = weights(whole), weights(part)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_images_and_videos_mix_by_weights(tmp_path, videos, photos, tiny) -> None:
    mix = f"data.mix=[{{path: {videos}, weight: 1}}, {{path: {photos}, weight: 2}}]"
    run = pretrain(None, out=tmp_path / "run", overrides=[*tiny, *SETTINGS, mix], progress=False)
    assert all(np.isfinite(losses(run)))
    assert RunFolder(run).recipe().data.address == f"{videos} + {photos}"
    resume(run, progress=False)  # a finished run stays finished


def test_a_path_and_a_mixture_are_refused_together(videos, photos) -> None:
    with pytest.raises(ConfigError, match="keep one of them"):
        load_recipe(None, [f"data.path={videos}", f"data.mix=[{photos}]"])


def test_clips_of_still_images_are_refused(tmp_path, photos, tiny) -> None:
    with pytest.raises(ConfigError, match="holds none"):
        pretrain(photos, out=tmp_path / "run", overrides=[*tiny, "data.clip.frames=4"], progress=False)


def test_the_untrained_network_beside_a_model_of_clips_sees_the_same_clips(tmp_path, videos, tiny) -> None:
    settings = [*tiny, *SETTINGS, "data.clip.frames=3", "schedule.epochs=1"]
    run = pretrain(videos, out=tmp_path / "run", overrides=settings, progress=False)
    embedder = open_embedder(run)
    untrained = untrained_like(embedder, seed=0)
    assert untrained.clips == embedder.clips
    assert untrained.size == embedder.size
    assert untrained.model_hash != embedder.model_hash


def test_a_model_of_clips_embeds_and_indexes_videos_and_images(tmp_path, videos, photos, tiny) -> None:
    run = pretrain(
        videos, out=tmp_path / "run", overrides=[*tiny, *SETTINGS, "data.clip.frames=3"], progress=False
    )
    embedder = open_embedder(run)
    assert embedder.clips.frames == 3
    source = open_data(load_recipe(None, [f"data.path={videos}"]))
    features = embedder.features(source, progress=False)
    assert features.embeddings.shape == (12, embedder.backbone.embedding_dim)
    assert torch.equal(features.embeddings, embedder.features(source, progress=False).embeddings)
    assert build_index(run, str(videos), tmp_path / "index", progress=False).is_dir()
    assert build_index(run, str(photos), tmp_path / "photos-index", progress=False).is_dir()
