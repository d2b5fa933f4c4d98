"""The loop of heads: what is kept, what is frozen, what is repeated to the bit, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sslkit.errors import ConfigError, DataError, InterruptedRunError, ModelError, RunError
from sslkit.evaluation.protocols import read_protocol
from sslkit.models.creation import create_backbone
from sslkit.models.weights import save_backbone
from sslkit.registry.lookup import loaded
from sslkit.registry.plugins import Target
from sslkit.runs.backbones import transforms_of
from sslkit.runs.evaluate import evaluate
from sslkit.training.precision import Layout
from tests.runs.tiny_head import STOP_VARIABLE, TinyHead

DATA = "shapes:count=48,size=32"
JUDGED = "shapes:count=20,size=32,split=test"
PROTOCOL = """
id: tiny
version: 1
head: tiny
mode: frozen
options: {}
source: nobody 2026
training:
  size: [32, 32]
  steps: 10
  batch: 8
  optimizer: adamw
  lr: 0.01
  weight_decay: 0.0
  layer_decay: 1.0
  warmup_steps: 2
  clip_gradient: 1.0
  ema: 0.0
  augment: {flip: 0.0, scale: [1.0, 1.0], elastic: null, colour: 0.0}
  oversample: 0.0
  cache: false
  held_out: 0.0
  evaluate_every: 4
"""


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder of a tiny network, with the tiny head registered and the fastest layout not searched."""
    monkeypatch.setitem(loaded().targets["head"], "tiny", Target("tests.runs.tiny_head:TinyHead", "test"))
    monkeypatch.setattr(TinyHead, "calls", 0)
    # Two evaluations must compute alike to be compared, and timing on a busy machine may choose otherwise.
    plain = Layout("fp32", False)
    monkeypatch.setattr("sslkit.runs.head_backbone.choose_layout", lambda *_, **__: plain)
    folder = tmp_path / "run"
    folder.mkdir()
    torch.manual_seed(7)
    save_backbone(create_backbone("test_resnet", size=32, stem="standard"), folder, size=32)
    (tmp_path / "tiny.yaml").write_text(PROTOCOL)
    return folder


def run(backbone: Path, out: str, *settings: str, **options: Any) -> Any:
    given = {"data": DATA, "test": JUDGED, "baselines": False, "progress": False, **options}
    return evaluate(
        backbone,
        head="tiny",
        protocol=backbone.parent / "tiny.yaml",
        settings=settings,
        out=backbone.parent / out,
        **given,
    )


def weights(backbone: Path, out: str, seed: int = 0) -> dict[str, torch.Tensor]:
    return load_file(backbone.parent / out / "run" / f"seed-{seed}" / "weights.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_model_and_random_rows_of_every_seed_are_kept_and_told(backbone: Path) -> None:
    found = run(backbone, "out", seeds=2, baselines=True)
    assert [result.score.subject for result in found.results] == ["run", "random initialisation"]
    for result, folder in zip(found.results, ("run", "random-initialisation"), strict=True):
        rows = [
            json.loads((backbone.parent / "out" / folder / f"seed-{seed}" / "result.json").read_text())
            for seed in (0, 1)
        ]
        figures = [row["figures"]["accuracy"] for row in rows]
        assert result.score.figures["accuracy"] == pytest.approx(sum(figures) / 2)
        assert result.spread["accuracy"] == pytest.approx(abs(figures[0] - figures[1]) / 2**0.5)
        assert result.score.figures["judged"] == 20
        assert (result.seeds, result.train, result.test) == (2, 48, 20)
        assert rows[0]["parameters"]["trained"] == 0
        seed_folder = backbone.parent / "out" / folder / "seed-0"
        assert (seed_folder / "sheet.png").stat().st_size > 1000
        assert (seed_folder / "predictions").is_dir()
        assert (seed_folder / "metrics.jsonl").read_text().count('"loss"') >= 1
        assert rows[0]["figures"]["of nothing"] is None
        assert math.isnan(result.score.figures["of nothing"])
    assert (
        json.loads((backbone.parent / "out/results.json").read_text())["results"][0]["spread"]["of nothing"]
        is None
    )
    assert rows[0]["weights"] != found.results[0].weights
    assert (
        str(read_protocol(backbone.parent / "tiny.yaml")) in (backbone.parent / "out/results.md").read_text()
    )


def test_a_seed_repeats_to_the_bit_and_another_differs(backbone: Path) -> None:
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(backbone, out, seed=seed)
    assert same(weights(backbone, "a"), weights(backbone, "b"))
    assert not same(weights(backbone, "a"), weights(backbone, "c", seed=1))


@pytest.mark.parametrize("settings", [(), ("training.ema=0.5",), ("mode=finetune", "training.held_out=0.2")])
def test_stopped_by_a_signal_and_resumed_it_ends_the_same_to_the_bit(
    backbone: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    run(backbone, "whole", *settings)
    TinyHead.calls = 0
    monkeypatch.setenv(STOP_VARIABLE, "7")
    with pytest.raises(InterruptedRunError, match=r"stopped at step 7 of 10.*--resume"):
        run(backbone, "parts", *settings)
    monkeypatch.delenv(STOP_VARIABLE)
    run(backbone, "parts", *settings, resume=True)
    assert same(weights(backbone, "whole"), weights(backbone, "parts"))


def test_cached_features_train_the_same_head(backbone: Path) -> None:
    run(backbone, "plain")
    run(backbone, "cached", "training.cache=true")
    plain, cached = weights(backbone, "plain"), weights(backbone, "cached")
    for name in plain:
        torch.testing.assert_close(plain[name], cached[name], rtol=1e-3, atol=1e-4)
    assert not list((backbone.parent / "cached").rglob("features-*.bin"))


def test_frozen_keeps_the_backbone_and_finetuning_moves_it(backbone: Path) -> None:
    before = load_file(backbone / "backbone.safetensors")
    run(backbone, "frozen")
    assert not [name for name in weights(backbone, "frozen") if name.startswith("backbone.")]
    run(backbone, "tuned", "mode=finetune")
    after = weights(backbone, "tuned")
    moved = {
        name for name, value in before.items() if not torch.equal(value, after[f"backbone.network.{name}"])
    }
    assert any("conv" in name for name in moved)
    run(backbone, "partial", "mode=partial:1")
    last = weights(backbone, "partial")
    kept = {name for name, value in before.items() if torch.equal(value, last[f"backbone.network.{name}"])}
    assert kept
    assert kept < set(before)


def test_held_out_samples_pick_the_best_weights(backbone: Path) -> None:
    run(backbone, "out", "training.held_out=0.25", "training.evaluate_every=2")
    result = json.loads((backbone.parent / "out/run/seed-0/result.json").read_text())
    diary = (backbone.parent / "out/run/seed-0/metrics.jsonl").read_text().splitlines()
    looks = [json.loads(line) for line in diary if "accuracy" in line]
    assert [look["step"] for look in looks] == [2, 4, 6, 8, 10]
    assert [look["judged"] for look in looks] == [12] * 5
    best = max(looks, key=lambda look: (look["accuracy"], -look["step"]))
    assert result["best_step"] == best["step"]


def test_finished_seeds_are_not_trained_again(backbone: Path) -> None:
    run(backbone, "out")
    calls = TinyHead.calls
    found = run(backbone, "out", resume=True, seeds=2)
    assert TinyHead.calls - calls == 10
    assert found.results[0].seeds == 2


def test_another_evaluation_is_not_written_over(backbone: Path) -> None:
    run(backbone, "out")
    with pytest.raises(RunError, match="--resume"):
        run(backbone, "out")
    with pytest.raises(RunError, match=r"id tiny@.* there.*give the same model, data and settings"):
        run(backbone, "out", "training.steps=11", resume=True)


def test_another_model_or_other_data_are_never_taken_for_the_same(backbone: Path) -> None:
    run(backbone, "out")
    with pytest.raises(RunError, match=r"test \w+ there"):
        run(backbone, "out", resume=True, test="shapes:count=21,size=32,split=test")
    torch.manual_seed(8)
    save_backbone(create_backbone("test_resnet", size=32, stem="standard"), backbone, size=32)
    with pytest.raises(RunError, match=r"weights \w+ there"):
        run(backbone, "out", resume=True)


@pytest.mark.parametrize("cache", ["false", "true"])
def test_training_samples_that_cannot_be_decoded_are_told(
    backbone: Path, photos: Path, capsys: pytest.CaptureFixture[str], cache: str
) -> None:
    shutil.copytree(photos, backbone.parent / "clean")
    damaged = sorted(photos.rglob("*.*"))[3]
    damaged.write_bytes(b"no picture")
    run(
        backbone, "out", f"training.cache={cache}", data=photos, test=backbone.parent / "clean", progress=True
    )
    assert "1 of 20 training samples could not be decoded" in capsys.readouterr().err
    assert (backbone.parent / "out/run/seed-0/result.json").is_file()


def test_wrong_annotations_stop_it_before_training(backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sslkit.data.label_targets.LabelTargets.problems", lambda self: ["a.json: image 3: box outside"] * 14
    )
    with pytest.raises(DataError, match=r"14 problems.*nothing was trained(.|\n)*image 3(.|\n)*2 more"):
        run(backbone, "out")
    assert TinyHead.calls == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.steps=-1", "training.*steps|steps"),
        ("training.rate=3", "unknown key"),
        ("mode=sometimes", "frozen, finetune, partial"),
        ("mode=partial:99", "partial:1 to partial:"),
        ("options.depth=3", "no option 'depth'"),
        ("training.augment.scale=[2,1]", "from the smaller to the larger"),
    ],
)
def test_wrong_settings_are_refused(backbone: Path, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(backbone, "out", setting)
    with pytest.raises(ConfigError, match="needs augment"):
        run(backbone, "out2", "training.cache=true", "training.augment.flip=0.5")


def test_a_head_says_what_targets_it_wants(backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = TinyHead.spec.__class__("tiny", "image", "map", "boxes", "accuracy")
    monkeypatch.setattr(TinyHead, "spec", boxes)
    with pytest.raises(DataError, match=r"wants|learns from targets of the kind 'boxes'.*coco:FILE"):
        run(backbone, "out")


def test_probes_are_not_resumed_and_their_seeds_are_draws(backbone: Path) -> None:
    with pytest.raises(ConfigError, match="'knn' is a probe"):
        evaluate(backbone, DATA, resume=True)
    found = evaluate(backbone, DATA, head="linear", seeds=2, baselines=False, progress=False).results[0]
    assert found.seeds == 2
    assert "top1" in found.spread


def test_a_head_is_judged_on_another_domain_too_and_the_gap_is_told(backbone: Path) -> None:
    there = "shapes:count=24,size=32,seed=9"
    found = run(backbone, "out", transfer_to=there, baselines=True, seeds=2)
    subjects = [result.score.subject for result in found.results]
    assert subjects == [name for own in ("run", "random initialisation") for name in (own, f"{own}, {there}")]
    home, away = found.results[:2]
    assert (home.test, away.test) == (20, 24)
    gap = away.score.figures["accuracy"] - home.score.figures["accuracy"]
    assert away.score.figures["accuracy_gap"] == pytest.approx(gap)
    assert "accuracy_gap" not in home.score.figures
    # What the other domain says is what judging it alone says.
    alone = run(backbone, "alone", test=there, seeds=2)
    assert alone.results[0].score.figures["accuracy"] == away.score.figures["accuracy"]


def test_resuming_with_another_domain_is_refused(backbone: Path) -> None:
    run(backbone, "out", transfer_to="shapes:count=24,size=32,seed=9")
    with pytest.raises(RunError, match=r"holds another evaluation .*transfer"):
        run(backbone, "out", transfer_to="shapes:count=24,size=32,seed=8", resume=True)


def test_another_domain_with_other_classes_is_refused(backbone: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "images" / name / "1.png")
    with pytest.raises(DataError, match="both must have the same class names"):
        run(backbone, "out", transfer_to=str(tmp_path / "images"))


@pytest.fixture
def mixing(monkeypatch: pytest.MonkeyPatch) -> None:
    transforms = loaded().targets["backbone_transform"]
    monkeypatch.setitem(transforms, "mix", Target("tests.models.mixing:mix", "test"))


@pytest.mark.usefixtures("mixing")
def test_a_protocol_changes_model_and_untrained_twin_alike(backbone: Path) -> None:
    plain = run(backbone, "plain")
    found = run(backbone, "mixed", "backbone.mix.weight=0.5", "mode=finetune", baselines=True)
    assert plain.results[0].protocol != found.results[0].protocol
    for folder in ("run", "random-initialisation"):
        kept = load_file(backbone.parent / "mixed" / folder / "seed-0" / "weights.safetensors")
        assert "backbone.network.conv1.0.weight" in kept
    note = json.loads((backbone.parent / "mixed" / "protocol.json").read_text())
    assert note["backbone"] == {"mix": {"weight": 0.5}}


@pytest.mark.usefixtures("mixing")
def test_a_backbone_that_is_changed_already_is_not_changed_again(backbone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    transforms = transforms_of({"mix": {"weight": 0.5}})
    network = create_backbone("test_resnet", size=32, stem="standard", transforms=transforms)
    save_backbone(network, folder, size=32)
    (tmp_path / "run").rename(tmp_path / "plain")
    folder.rename(backbone)
    found = run(backbone, "out", "backbone.mix.weight=0.5")
    assert found.results[0].score.figures["judged"] == 20
    with pytest.raises(ModelError, match=r"has mix with {'weight': 0.5}, protocol tiny asks for"):
        run(backbone, "other", "backbone.mix.weight=0.25")
    run(backbone, "as-it-is", "backbone.mix.weight=0.25", "backbone={}")
