"""Which engine makes the views is timed at the start, told, kept in the run, and never timed again."""

import json

import pytest

from sslkit.config import load_recipe
from sslkit.data.views.policy import ViewPolicy
from sslkit.errors import ConfigError
from sslkit.models.creation import create_backbone
from sslkit.runs import autopilot
from sslkit.runs.autopilot import chosen, make_views
from sslkit.runs.pretrain import pretrain, resume
from sslkit.runs.run_folder import RunFolder


@pytest.mark.parametrize(
    ("milliseconds", "engine"),
    [
        ({"fused": 2.0, "kornia": 11.0}, "fused"),
        ({"fused": 2.0, "kornia": 1.5}, "fused"),  # not by enough to change a run
        ({"fused": 2.0, "kornia": 1.0, "kornia_compiled": 0.9}, "kornia_compiled"),
        ({"fused": 2.0, "kornia": 8.0, "workers": 0.2}, "workers"),
        ({}, "exact"),
    ],
)
def test_the_fastest_engine_wins_by_a_margin(milliseconds, engine) -> None:
    assert chosen(milliseconds) == engine


def test_auto_is_timed_told_and_kept(tmp_path, shapes, tiny) -> None:
    run = pretrain(shapes, out=tmp_path / "run", overrides=[*tiny, "views.engine=auto"], progress=False)
    told = json.loads((run / "environment.json").read_text())["views_milliseconds_per_image"]
    assert told.keys() >= {"fused", "kornia"}
    assert all(taken > 0 for taken in told.values())
    assert RunFolder(run).recipe().views.engine == chosen(told)


def test_a_resumed_run_keeps_its_engine_without_timing(tmp_path, shapes, tiny, monkeypatch) -> None:
    run = pretrain(shapes, out=tmp_path / "run", overrides=[*tiny, "views.engine=kornia"], progress=False)

    def refuse(*_: object) -> None:
        raise AssertionError("an engine was timed")

    monkeypatch.setattr(autopilot, "_timed", refuse)
    resume(run, progress=False)
    assert RunFolder(run).recipe().views.engine == "kornia"


@pytest.mark.parametrize("engine", ["exact", "fused", "kornia"])
def test_the_views_are_made_by_the_engine_asked_for(engine) -> None:
    recipe = load_recipe(None, [f"views.engine={engine}", "views.size=32", "backbone.name=test_resnet"])
    views = make_views(recipe, create_backbone("test_resnet", size=32))
    assert isinstance(views, ViewPolicy)
    assert views.engine == engine


def test_views_made_by_workers_are_the_fused_ones(tmp_path, shapes, tiny) -> None:
    runs = [
        pretrain(shapes, out=tmp_path / name, overrides=[*tiny, *settings], progress=False)
        for name, settings in {
            "device": ["views.engine=fused"],
            "workers": ["views.engine=workers", "data.workers=2"],
        }.items()
    ]
    losses = [
        [
            json.loads(line)["loss"]
            for line in (run / "metrics.jsonl").read_text().splitlines()
            if '"loss"' in line
        ]
        for run in runs
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 8


def test_an_unknown_engine_is_refused_with_the_known(shapes, tiny, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"views\.engine") as error:
        pretrain(shapes, out=tmp_path / "run", overrides=[*tiny, "views.engine=cuda"], progress=False)
    assert "fused" in str(error.value)
    assert not (tmp_path / "run").exists()
