"""A grid of two operations: every cell once, gone on with where it stopped, and drawn."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import ConfigError, UnknownNameError


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "composition_grid.py"
    spec = importlib.util.spec_from_file_location("composition_grid", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_grid_is_run_drawn_and_gone_on_with(
    tool: ModuleType, tmp_path: Path, shapes: str, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [shapes, "--epochs", "1", "--out", str(tmp_path), "--set", *tiny]
    operations = ["--ops", "color_drop", "{op: RandomPosterize, bits: 2}"]
    tool.main([*settings, *operations])
    grid = json.loads((tmp_path / "grid.json").read_text())
    posterize = "RandomPosterize (bits 2)"
    assert set(grid["cells"]) == {
        *("color_drop", posterize, f"color_drop + {posterize}", f"{posterize} + color_drop")
    }
    values = [cell["0"] for cell in grid["cells"].values()]
    assert all(0 <= value["knn"] <= 1 for value in values)
    assert len({value["random"] for value in values}) == 1
    assert Image.open(tmp_path / "grid.png").size[0] > 300
    table = capsys.readouterr().out
    assert f"random initialisation: {values[0]['random']:.3f}" in table

    # What is done is not done again; what is missing is.
    grid["cells"]["color_drop"]["0"]["knn"] = 0.123
    del grid["cells"][posterize]
    (tmp_path / "grid.json").write_text(json.dumps(grid))
    tool.main([*settings, *operations])
    again = json.loads((tmp_path / "grid.json").read_text())["cells"]
    assert again["color_drop"]["0"]["knn"] == 0.123
    assert again[posterize]["0"]["knn"] == values[-1]["knn"]  # runs repeat
    with pytest.raises(ConfigError, match="another --out"):
        tool.main([*settings, *operations, "--size", "24"])


def test_views_are_those_of_the_paper(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def pretrain(data: str, *, out: Path, overrides: list[str], progress: bool) -> Path:
        views = tool.parse_value(
            next(text for text in overrides if text.startswith("views={"))[len("views=") :], "views"
        )
        seen.append([[step["op"] for step in view] for view in views["policy"]])
        out.mkdir()
        look = {"kind": "monitor", "step": 0, "knn": 0.25}
        (out / "metrics.jsonl").write_text(json.dumps(look) + "\n" + json.dumps({**look, "knn": 0.5}) + "\n")
        return out

    monkeypatch.setattr(tool.sslkit, "pretrain", pretrain)
    tool.main(["--ops", "cutout", "rotate", "--seeds", "0", "1", "--out", str(tmp_path)])
    crop = "crop_resize_flip"
    once = [
        [[crop, "cutout"], [crop]],
        [[crop, "cutout", "rotate"], [crop]],
        [[crop, "rotate", "cutout"], [crop]],
        [[crop, "rotate"], [crop]],
    ]
    assert seen == once * 2


def test_an_unknown_operation_is_refused_before_anything_runs(tool: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'cutout'"):
        tool.main(["--ops", "cut_out", "--out", str(tmp_path)])


def test_the_map_shows_every_value_and_the_averages(tool: ModuleType) -> None:
    means = np.array([[0.5, 0.25], [0.125, 0.75]])
    axes = tool.draw(means, ["one", "two"], 0.1).axes[0]
    assert [text.get_text() for text in axes.texts] == [".500", ".250", ".375", ".125", ".750", ".438"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "two", "average"]
    assert "0.100" in axes.get_title()
