"""Arrays of five channels through the whole journey: pretrain, evaluate beside raw pixels, index."""

import numpy as np
import pytest

import sslkit
from sslkit.errors import ConfigError
from sslkit.models.weights import load_backbone
from sslkit.runs.index import build_index
from sslkit.runs.pretrain import pretrain

FIVE = ("data.channels=5", "views.name=multi_channel")


@pytest.fixture
def arrays(tmp_path):
    """Fifty arrays of two classes, channels first or last; the classes differ in their last channel."""
    generator = np.random.default_rng(0)
    for number in range(50):
        folder = tmp_path / "arrays" / ("dark", "bright")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        array = generator.integers(0, 100, (5, 40, 48), dtype=np.uint8)
        array[4] += 150 * (number % 2)
        np.save(folder / f"{number:02d}.npy", array if number % 3 else array.transpose(1, 2, 0))
    return tmp_path / "arrays"


def test_five_channels_are_pretrained_evaluated_and_indexed(tmp_path, arrays, tiny) -> None:
    run = pretrain(arrays, out=tmp_path / "run", overrides=[*tiny, *FIVE], progress=False)
    assert load_backbone(run).channels == 5
    found = sslkit.evaluate(run, arrays, head="knn", progress=False)
    assert [result.score.subject for result in found.results] == [
        "run",
        "random initialisation",
        "raw pixels",
    ]
    assert found.results[2].score.figures["top1"] == 1.0  # only the last channel tells the classes
    assert build_index(run, str(arrays), tmp_path / "index", progress=False).is_dir()


def test_a_policy_of_colours_refuses_by_name(tmp_path, arrays, tiny) -> None:
    with pytest.raises(ConfigError, match=r"color_jitter needs red, green and blue.*multi_channel"):
        pretrain(arrays, out=tmp_path / "run", overrides=[*tiny, "data.channels=5"], progress=False)
    assert not (tmp_path / "run").exists()
