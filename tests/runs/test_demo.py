"""The demonstration, made small: every part of it, in seconds."""

import json

import pytest

from sslkit.runs import demo as module
from sslkit.runs.demo import demo

SMALL = """\
data: {path: "shapes:count=120,size=32", workers: 0}
backbone: {name: test_resnet, stem: standard}
objective: {name: simclr, projector_hidden: 32, projector_outputs: 16}
views: {size: 32}
schedule: {epochs: 1, warmup_epochs: 0}
batch: {size: 40}
precision: fp32
channels_last: false
monitor: {samples: 60}
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.setattr(module, "RECIPE", str(tmp_path / "small.yaml"))
    monkeypatch.setattr(module, "MAPPED", 100)
    return tmp_path


def test_the_demo_measures_before_and_after_and_shows_it(small) -> None:
    result = demo(small / "out", progress=False)
    subjects = [(r.score.subject, r.protocol.partition("@")[0]) for r in result.results]
    assert subjects == [
        ("after pretraining", "knn-20"),
        ("before (random)", "knn-20"),
        ("raw pixels", "knn-20"),
        ("after pretraining", "linear-lbfgs"),
        ("before (random)", "linear-lbfgs"),
    ]
    figures = [r.score.figures["top1"] for r in result.results]
    assert result.gain == pytest.approx(figures[0] / figures[1])
    page = result.report.read_text()
    for heading in (
        "Did pretraining help?",
        "Nearest neighbours",
        "Map of the embeddings",
        "Training",
        "Views",
    ):
        assert heading in page
    assert (small / "out" / "index" / "items.sqlite").is_file()
    told = json.loads(json.dumps(result.to_dict()))
    assert told["knn_gain"] == result.gain
    assert str(result.report) in result.to_text()


def test_the_demo_can_be_run_again_in_the_same_place(small) -> None:
    first, second = (demo(small / "out", progress=False) for _ in range(2))
    assert [r.score.figures for r in first.results] == [r.score.figures for r in second.results]
