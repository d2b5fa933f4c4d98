"""The backbones of a matrix: their names, and that the untrained one is always among them."""

from __future__ import annotations

import pytest

from sslkit.errors import ConfigError
from sslkit.runs.pretrain import pretrain
from sslkit.runs.subjects import RANDOM, contenders, pretraining


def test_the_untrained_network_is_always_there_and_stands_where_it_was_named() -> None:
    assert [one.name for one in contenders("resnet18", [])] == ["resnet18", RANDOM]
    assert [one.name for one in contenders("resnet18", [RANDOM, "resnet34"])] == [
        "resnet18",
        RANDOM,
        "resnet34",
    ]
    untrained = contenders("resnet18", [])[1]
    assert (untrained.model, untrained.untrained) == ("random:resnet18", True)


def test_runs_of_one_name_are_told_apart(tmp_path) -> None:
    for place in ("a", "b"):
        (tmp_path / place / "run").mkdir(parents=True)
    found = contenders(str(tmp_path / "a" / "run"), [str(tmp_path / "b" / "run")])
    assert [one.name for one in found] == ["run", "run-2", RANDOM]
    (tmp_path / "random").mkdir()  # a folder of the reserved name
    assert contenders(str(tmp_path / "random"), [])[0].name == "random-2"


@pytest.mark.parametrize(
    ("model", "against", "message"),
    [("resnet18", ["resnet18"], "given twice"), (RANDOM, [], "name a run or network first")],
)
def test_what_makes_no_comparison_is_refused(model: str, against: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        contenders(model, against)


def test_an_untrained_network_has_other_weights_for_every_seed_and_the_same_for_one() -> None:
    untrained = contenders("test_resnet", [])[1]
    hashes = [untrained.embedder(seed).model_hash for seed in (0, 1, 0)]
    assert hashes[0] == hashes[2] != hashes[1]
    assert untrained.described().weights == "random"


def test_a_run_tells_how_it_was_pretrained(tmp_path, shapes, tiny) -> None:
    run = pretrain(shapes, out=tmp_path / "run", overrides=tiny, progress=False)
    told = pretraining(str(run))
    assert (told["data"], told["objective"], told["epochs"], told["batch"]) == (shapes, "simclr", 2, 16)
    assert told["steps"] == 8
    assert told["seconds"] >= 0
    assert told["images_per_second"] > 0
    shares = [value for name, value in told.items() if name.startswith("share_")]
    assert sum(shares) == pytest.approx(1, abs=0.02)
    subject = contenders(str(run), [])[0].described()
    assert subject.pretraining == told
    assert pretraining("resnet18") == {}
