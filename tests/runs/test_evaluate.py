"""Evaluation end to end: splits, baselines, and what is refused."""

import json

import numpy as np
import pytest

from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit.runs.embedder import open_embedder
from sslkit.runs.evaluate import evaluate, open_splits
from sslkit.runs.pretrain import pretrain

SHAPES = "shapes:count=200,size=32"


@pytest.fixture
def run(tmp_path, shapes, tiny):
    return pretrain(shapes, out=tmp_path / "run", overrides=tiny, progress=False)


def test_a_run_is_judged_beside_its_untrained_self_and_pixels(run, tmp_path) -> None:
    result = evaluate(run, SHAPES, out=tmp_path / "scores", progress=False)
    assert [r.score.subject for r in result.results] == ["run", "random initialisation", "raw pixels"]
    assert {r.protocol for r in result.results} == {str(result.protocol)}
    assert len({r.weights for r in result.results}) == 3
    assert all(r.train == 200 and r.test == 200 for r in result.results)
    assert all(0 <= r.score.figures["top1"] <= r.score.figures["top5"] <= 1 for r in result.results)
    written = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert [row["subject"] for row in written["results"]] == [r.score.subject for r in result.results]
    assert len(written["results"][0]["per_class"]) == 10
    assert "raw pixels" in (tmp_path / "scores" / "results.md").read_text()
    assert "raw pixels" in result.to_text()
    assert result.to_dict()["data"].endswith("judged on its split 'test'")


def test_both_probes_tell_dark_from_bright(tmp_path, run) -> None:
    labels = np.arange(60) % 2
    images = (30 + 180 * labels[:, None, None, None] + np.arange(32)[:, None]).astype(np.uint8)
    images = np.broadcast_to(images, (60, 32, 32, 3)).copy()
    np.savez(tmp_path / "light.npz", images=images, labels=labels)
    for head in ("knn", "linear"):
        protocol = None if head == "linear" else _few_neighbours(tmp_path)
        result = evaluate(
            run, tmp_path / "light.npz", head=head, protocol=protocol, baselines=False, progress=False
        )
        assert len(result.results) == 1
        assert result.results[0].score.figures["top1"] == 1.0, head


def _few_neighbours(folder):
    text = (
        "{id: knn-3, version: 1, head: knn, mode: frozen, options: {k: 3, temperature: 0.07}, source: test}"
    )
    (folder / "knn-3.yaml").write_text(text)
    return folder / "knn-3.yaml"


def test_evaluating_twice_gives_the_same_figures(run) -> None:
    first, second = (evaluate(run, SHAPES, progress=False).results for _ in range(2))
    assert [r.score.figures for r in first] == [r.score.figures for r in second]


def test_evaluation_never_touches_the_run(run) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    evaluate(run, SHAPES, progress=False)
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}


def test_without_splits_a_fifth_is_held_out_and_disjoint(photos) -> None:
    splits = open_splits(str(photos), None)
    assert (len(splits.train), len(splits.test)) == (16, 4)
    names = [{source[id].name for id in range(len(source))} for source in (splits.train, splits.test)]
    assert not names[0] & names[1]
    assert "held-out" in splits.note


def test_named_test_data_is_judged(tmp_path, photos) -> None:
    splits = open_splits(str(photos), str(photos))
    assert len(splits.test) == 20


def test_data_without_labels_says_how_to_give_some(tmp_path, run) -> None:
    np.savez(tmp_path / "plain.npz", images=np.zeros((10, 32, 32, 3), np.uint8))
    with pytest.raises(DataError, match="one folder per class"):
        evaluate(run, tmp_path / "plain.npz", progress=False)


def test_other_classes_in_the_test_data_are_refused(tmp_path, photos) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((9, 8, 8, 3), np.uint8), labels=np.arange(9) % 3)
    with pytest.raises(DataError, match="same class names"):
        open_splits(str(photos), str(tmp_path / "a.npz"))


def test_wrong_names_are_refused_before_anything_is_computed(run) -> None:
    with pytest.raises(UnknownNameError, match="linear"):
        evaluate(run, SHAPES, head="linaer", progress=False)
    with pytest.raises(UnknownNameError, match="knn-20"):
        evaluate(run, SHAPES, protocol="knn-2", progress=False)
    with pytest.raises(ConfigError, match="measures with head 'linear'"):
        evaluate(run, SHAPES, head="knn", protocol="linear-lbfgs", progress=False)


def test_an_embedder_leaves_the_input_side_of_the_run(run) -> None:
    embedder = open_embedder(run)
    assert embedder.size == 32
    assert not embedder.backbone.training
    assert embedder.model_hash == open_embedder(run).model_hash
