"""Embedding: killed anywhere and gone on with, or spread over processes, it is the same to the bit."""

from __future__ import annotations

import filecmp
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from sslkit.cli import embed as command
from sslkit.data.reader import BatchReader
from sslkit.data.views.plain import evaluation_view
from sslkit.errors import ConfigError, DataError, InterruptedRunError, RunError
from sslkit.models.weights import save_backbone
from sslkit.registry import open_source
from sslkit.retrieval import embedding_parts
from sslkit.retrieval.embed import FILES, read_embeddings
from sslkit.runs import embed as home
from sslkit.runs.backbones import load_backbone
from sslkit.runs.embed import embed
from sslkit.runs.embedder import Embedder
from sslkit.runs.one_at_a_time import working_alone

BATCH = 3  # of 20 photos: seven batches, the last of two


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return model(tmp_path / "run", seed=0)


@pytest.fixture(autouse=True)
def _parts_of_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_parts, "_SECONDS", 0.0)


def model(folder: Path, *, seed: int) -> Path:
    folder.mkdir()
    torch.manual_seed(seed)
    save_backbone(load_backbone("test_resnet", pretrained=False), folder, size=32)
    return folder


def same(one: Path, other: Path) -> bool:
    return all(filecmp.cmp(one / name, other / name, shallow=False) for name in FILES)


def left_beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir() if path.name.startswith("."))


def stop_at(monkeypatch: pytest.MonkeyPatch, batch: int, error: BaseException | int) -> None:
    """Raise an error, or a signal, when so many batches were computed."""
    own = Embedder.batches

    def stopping(self: Embedder, *given: Any, **options: Any) -> Any:
        for number, features in enumerate(own(self, *given, **options)):
            if number == batch:
                if not isinstance(error, int):
                    raise error
                signal.raise_signal(error)
            yield features

    monkeypatch.setattr(Embedder, "batches", stopping)


def test_every_row_is_what_the_network_makes_of_the_photo_alone(
    tmp_path: Path, run: Path, photos: Path
) -> None:
    found = read_embeddings(embed(run, photos, tmp_path / "emb", batch_size=BATCH, progress=False))
    source, backbone = open_source(str(photos)), load_backbone(run)
    reader = BatchReader(source, canvas=48, still=True)
    for id in range(20):
        one = reader.read(torch.tensor([id]))
        pixels = evaluation_view(one.pixels, one.rectangles, size=32, mean=backbone.mean, std=backbone.std)
        with torch.no_grad():
            np.testing.assert_allclose(found.vectors[id], backbone(pixels)[0], atol=1e-5)
    assert found.ids.tolist() == list(range(20))
    assert found.names == [source[id].name for id in range(20)]
    assert source.labels is not None
    assert found.labels.tolist() == source.labels.tolist()
    assert found.address == str(photos)
    assert found.times is None
    assert left_beside(tmp_path / "emb") == []


def test_half_the_space_is_the_nearest_half_precision(tmp_path: Path, run: Path, photos: Path) -> None:
    whole = read_embeddings(embed(run, photos, tmp_path / "whole", progress=False))
    half = read_embeddings(embed(run, photos, tmp_path / "half", dtype="float16", progress=False))
    np.testing.assert_array_equal(half.vectors, whole.vectors.astype(np.float16))
    with pytest.raises(ConfigError, match="float16"):
        embed(run, photos, tmp_path / "other", dtype="float64")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="batch_size=0"):
        embed(run, photos, tmp_path / "other", batch_size=0)


@pytest.mark.parametrize("batch", [0, 1, 4, 6])
def test_stopped_at_a_batch_and_gone_on_with_is_the_uninterrupted_set(
    tmp_path: Path, run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    embed(run, photos, tmp_path / "whole", batch_size=BATCH, progress=False)
    with monkeypatch.context() as patch:
        stop_at(patch, batch, RuntimeError("the power failed"))
        with pytest.raises(RuntimeError, match="the power failed"):
            embed(run, photos, tmp_path / "emb", batch_size=BATCH, progress=False)
    assert not (tmp_path / "emb").exists()
    with monkeypatch.context() as patch:
        stop_at(patch, 7 - batch, AssertionError("a batch that was kept is computed again"))
        embed(run, photos, tmp_path / "emb", batch_size=BATCH, progress=False)
    assert same(tmp_path / "emb", tmp_path / "whole")
    assert left_beside(tmp_path / "emb") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_says_what_is_kept_and_how_to_go_on(
    tmp_path: Path, run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    stop_at(monkeypatch, 4, number)
    said = r"15 of 20 samples are kept in .*\.emb\.parts; the same command goes on"
    with pytest.raises(InterruptedRunError, match=said) as stopped:
        embed(run, photos, tmp_path / "emb", batch_size=BATCH, progress=False)
    assert stopped.value.exit_code == 128 + number


def test_parts_of_another_model_are_refused_and_overwritten_when_asked(
    tmp_path: Path, run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = model(tmp_path / "other", seed=1)
    embed(other, photos, tmp_path / "whole", batch_size=BATCH, progress=False)
    with monkeypatch.context() as patch:
        stop_at(patch, 4, RuntimeError("the power failed"))
        with pytest.raises(RuntimeError):
            embed(run, photos, tmp_path / "emb", batch_size=BATCH, progress=False)
    with pytest.raises(ConfigError, match="model_hash is"):
        embed(other, photos, tmp_path / "emb", batch_size=BATCH, progress=False)
    with pytest.raises(ConfigError, match="batch_size is 3 there and 5 here"):
        embed(run, photos, tmp_path / "emb", batch_size=5, progress=False)
    (photos / "left" / "00.jpg").unlink()
    with pytest.raises(ConfigError, match="source_fingerprint is"):
        embed(run, photos, tmp_path / "emb", batch_size=BATCH, progress=False)
    embed(other, photos, tmp_path / "emb", batch_size=BATCH, overwrite=True, progress=False)
    assert len(read_embeddings(tmp_path / "emb")) == 19
    np.testing.assert_allclose(
        read_embeddings(tmp_path / "emb").vectors,
        np.delete(read_embeddings(tmp_path / "whole").vectors, 0, 0),
        atol=1e-5,
    )


def test_an_existing_set_is_kept_before_any_work_unless_told(
    tmp_path: Path, run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(run, photos, tmp_path / "emb", batch_size=BATCH, progress=False)
    with monkeypatch.context() as patch:
        stop_at(patch, 0, AssertionError("the network ran for nothing"))
        with pytest.raises(ConfigError, match="would be lost"):
            embed(run, photos, tmp_path / "emb", batch_size=BATCH, progress=False)
        (tmp_path / "emb" / "notes.txt").write_text("mine")
        with pytest.raises(ConfigError, match=r"notes\.txt"):
            embed(run, photos, tmp_path / "emb", batch_size=BATCH, overwrite=True, progress=False)
    (tmp_path / "emb" / "notes.txt").unlink()
    embed(run, photos, tmp_path / "emb", dtype="float16", overwrite=True, progress=False)
    assert read_embeddings(tmp_path / "emb").vectors.dtype == np.float16
    assert left_beside(tmp_path / "emb") == []


def test_a_run_killed_after_its_last_instant_is_done(
    tmp_path: Path, run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(home.EmbeddingParts, "remove", lambda self: None)
        embed(run, photos, tmp_path / "emb", batch_size=BATCH, progress=False)
    assert left_beside(tmp_path / "emb") == [".emb.parts"]
    stop_at(monkeypatch, 0, AssertionError("the network ran for nothing"))
    assert embed(run, photos, tmp_path / "emb", batch_size=BATCH, progress=False) == tmp_path / "emb"
    assert left_beside(tmp_path / "emb") == []


def test_two_commands_never_write_one_folder(tmp_path: Path, run: Path, photos: Path) -> None:
    (tmp_path / ".emb.parts").mkdir()
    with working_alone(tmp_path / ".emb.parts"), pytest.raises(RunError, match="another process"):
        embed(run, photos, tmp_path / "emb", progress=False)
    embed(run, photos, tmp_path / "emb", progress=False)


def test_photos_that_cannot_be_decoded_are_counted_and_named_once(
    tmp_path: Path,
    run: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("left/00.jpg", "left/02.jpg", "right/19.jpg"):
        (photos / name).write_bytes(b"broken")
    with monkeypatch.context() as patch:
        stop_at(patch, 4, RuntimeError("the power failed"))
        with pytest.raises(RuntimeError):
            embed(run, photos, tmp_path / "emb", batch_size=BATCH)
    capsys.readouterr()
    found = read_embeddings(embed(run, photos, tmp_path / "emb", batch_size=BATCH))
    said = capsys.readouterr().err
    assert "3 of 20 images could not be decoded and are left out; the first: left/00.jpg:" in said
    assert said.count("\n  left/02.jpg: ") == said.count("\n  right/19.jpg: ") == 1
    assert "embed 20/20  rate " in said
    assert found.ids.tolist() == [id for id in range(20) if id not in (0, 1, 19)]
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="20 of 20 images could not be decoded"):
        embed(run, photos, tmp_path / "none", batch_size=BATCH, progress=False)


def test_moments_of_videos_have_their_times(tmp_path: Path, run: Path, videos: Path) -> None:
    found = read_embeddings(embed(run, videos, tmp_path / "emb", progress=False))
    source = open_source(str(videos))
    moments = [source[id].content for id in range(len(source))]
    assert found.times is not None
    assert found.times.tolist() == [[one.start, one.start + one.length] for one in moments]  # type: ignore[union-attr]
    assert len(np.unique(found.times[:, 0])) > 1


def test_the_command_passes_its_options_on(tmp_path: Path, run: Path, photos: Path) -> None:
    app = typer.Typer()
    app.command(name="other")(lambda: None)
    command.add_to(app)
    given = [
        "embed",
        str(run),
        str(photos),
        "--out",
        str(tmp_path / "emb"),
        "--dtype",
        "float16",
        "--batch",
        "5",
    ]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "emb") in done.output
    assert read_embeddings(tmp_path / "emb").vectors.dtype == np.float16
    assert CliRunner().invoke(app, [*given[:-1], "0"]).exit_code == 2
