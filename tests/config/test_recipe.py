"""Recipes: defaults, overrides, and errors that say where and what would work."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest
import yaml

from sslkit.config import Recipe, load_recipe
from sslkit.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def message(*overrides: str, file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(file, overrides)
    return str(caught.value)


def test_no_recipe_means_the_defaults() -> None:
    recipe = load_recipe()
    assert recipe == Recipe().settled()
    assert (recipe.objective.name, recipe.backbone.name, recipe.batch.size) == ("simclr", "resnet18", 256)


def test_overrides_are_set_in_order_and_read_as_yaml() -> None:
    recipe = load_recipe(
        None,
        [
            "seed=1",
            "seed=2",
            "optimizer.lr=1e-3",
            "channels_last=true",
            "trackers=[tensorboard]",
            "data.path=a=b",
        ],
    )
    assert recipe.seed == 2
    assert recipe.optimizer.lr == 0.001
    assert recipe.channels_last is True
    assert recipe.trackers == ("tensorboard",)
    assert recipe.data.path == "a=b"


def test_an_override_keeps_the_rest_of_its_section(tmp_path: Path) -> None:
    file = written(tmp_path, "schedule: {epochs: 7, warmup_epochs: 1}\n")
    schedule = load_recipe(file, ["schedule.epochs=9"]).schedule
    assert (schedule.epochs, schedule.warmup_epochs) == (9, 1.0)


def test_a_component_may_be_written_as_its_name_and_opened_by_an_override(tmp_path: Path) -> None:
    file = written(tmp_path, "objective: byol\n")
    assert load_recipe(file).objective.options == {}
    objective = load_recipe(file, ["objective.momentum=9e-1"]).objective
    assert (objective.name, objective.options) == ("byol", {"momentum": 0.9})


def test_a_component_replaced_by_name_drops_the_options_of_the_other(tmp_path: Path) -> None:
    file = written(tmp_path, "objective: {name: simclr, temperature: 0.1}\n")
    assert load_recipe(file, ["objective=byol"]).objective.options == {}


@pytest.mark.parametrize(("size", "views"), [(64, "simclr_small"), (65, "simclr")])
def test_auto_views_follow_the_view_size(size: int, views: str) -> None:
    assert load_recipe(None, [f"views.size={size}"]).views.name == views


def test_a_stem_and_views_that_are_given_stay() -> None:
    recipe = load_recipe(None, ["views.size=32", "backbone.stem=standard", "views.name=byol"])
    assert (recipe.backbone.stem, recipe.views.name) == ("standard", "byol")


def test_the_learning_rate_scales_with_the_samples_of_a_step() -> None:
    given = ["optimizer.lr=0.3", "batch.size=512", "batch.accumulate=2"]
    assert load_recipe(None, given).peak_lr == pytest.approx(0.3 * 512 * 2 / 256)
    assert load_recipe(None, [*given, "optimizer.lr_scaling=none"]).peak_lr == 0.3


def test_the_size_of_the_global_batch_has_two_spellings_and_is_written_with_one(tmp_path: Path) -> None:
    file = written(tmp_path, "batch: {global: 4096, micro: auto, batchnorm: frozen}\n")
    recipe = load_recipe(file)
    assert (recipe.batch.size, recipe.batch.micro, recipe.batch.batchnorm) == (4096, "auto", "frozen")
    again = written(tmp_path, recipe.to_yaml())
    assert "size: 4096" in again.read_text(encoding="utf-8")
    assert "global" not in again.read_text(encoding="utf-8")
    assert load_recipe(again) == recipe


@pytest.mark.parametrize("spelling", ["size", "global"])
@pytest.mark.parametrize("override", ["size", "global"])
def test_an_override_of_the_batch_replaces_either_spelling(
    tmp_path: Path, spelling: str, override: str
) -> None:
    file = written(tmp_path, f"batch: {{{spelling}: 64, micro: 8}}\n")
    batch = load_recipe(file, [f"batch.{override}=4096"]).batch
    assert (batch.size, batch.micro) == (4096, 8)
    assert load_recipe(file, [f"batch.{override}=32", "batch.global=16", "batch.size=8"]).batch.size == 8


def test_both_spellings_in_one_place_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "seed: 1\nbatch: {size: 64, global: 128}\n")
    said = "batch: size (64) and global (128) are two spellings of one setting; keep one of them"
    assert message(file=file) == f"{said} ({file}, line 2)"


def test_chunks_are_not_asked_for_by_default() -> None:
    batch = load_recipe().batch
    assert (batch.size, batch.micro, batch.batchnorm) == (256, None, "refuse")
    assert load_recipe(None, ["batch.micro=16", "batch.micro=null"]).batch.micro is None


def test_yaml_written_reads_back_equal(tmp_path: Path) -> None:
    recipe = load_recipe(
        None, ["objective.temperature=1e-7", "data.path=ä b", "trackers=[x]", "views.size=40"]
    )
    assert load_recipe(written(tmp_path, recipe.to_yaml())) == recipe


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(pydantic.ValidationError):
        load_recipe().seed = 3  # type: ignore[misc]


def test_an_unknown_key_names_the_nearest_its_file_and_line(tmp_path: Path) -> None:
    file = written(tmp_path, "# comment\nbackbone:\n  nmae: resnet18\n")
    assert message(file=file) == f"backbone.nmae: unknown key; did you mean 'name'? ({file}, line 3)"


def test_a_key_of_another_section_is_pointed_there() -> None:
    assert "did you mean 'schedule.epochs'?" in message("epochs=5")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.canvas=big", "data.canvas: should be a valid integer or 'auto', got 'big'"),
        ("data.canvas=0", "greater than or equal to 1 or 'auto', got 0"),
        ("optimizer.name=adam", "should be 'lars', 'sgd' or 'adamw', got 'adam'"),
        ("seed=true", "seed: should be a valid integer, got True"),
        ("schedule.epochs=2.5", "should be a valid integer"),
        ("optimizer.lr=.inf", "finite"),
        ("batch.size=1", "batch.size: should be greater than or equal to 2, got 1"),
        ("batch.global=1", "batch.global: should be greater than or equal to 2, got 1"),
        ("batch.micro=big", "batch.micro: should be a valid integer or 'auto', got 'big'"),
        ("batch.micro=0", "greater than or equal to 1 or 'auto', got 0"),
        ("batch.batchnorm=sync", "batch.batchnorm: should be 'refuse', 'frozen' or 'per_chunk', got 'sync'"),
        ("data.max_skipped=1.5", "less than or equal to 1"),
        ("batch=3", "should be a section of `key: value` lines"),
        ("schedule.warmup_epochs=101", "warmup_epochs (101) may be at most epochs (100)"),
        ("precision=fp8", "'auto', 'fp32', 'bf16' or 'fp16'"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(override: str, said: str) -> None:
    text = message(override)
    assert said in text
    assert "(on the command line)" in text


def test_every_wrong_key_is_reported_at_once(tmp_path: Path) -> None:
    lines = message("seed=x", file=written(tmp_path, "log_every: 0\n")).splitlines()
    assert len(lines) == 2
    assert any("log_every" in line and "line 1" in line for line in lines)
    assert any("seed" in line and "command line" in line for line in lines)


@pytest.mark.parametrize("override", ["seed", "=3", "a..b=3", ".seed=3"])
def test_an_override_that_is_no_assignment_is_refused_with_an_example(override: str) -> None:
    assert "schedule.epochs=50" in message(override)


def test_a_value_cannot_be_opened_as_a_section(tmp_path: Path) -> None:
    assert "'log_every' is 5" in message("log_every.x=1", file=written(tmp_path, "log_every: 5\n"))


@pytest.mark.parametrize(("written", "means"), [("on", "on"), ("off", "off"), ("auto", "auto")])
def test_a_bare_on_or_off_is_a_word_not_a_truth_value(written, means) -> None:
    recipe = load_recipe(None, [f"data.cache={written}"])
    assert recipe.data.cache == means
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())).data.cache == means


def test_places_to_mix_may_be_written_short() -> None:
    recipe = load_recipe(None, ["data.mix=[photos, {path: videos, weight: 2}]"])
    assert [(place.path, place.weight) for place in recipe.data.mix] == [("photos", 1.0), ("videos", 2.0)]
    assert recipe.data.address == "photos + videos"


def test_a_mixture_and_hard_batches_are_refused_together() -> None:
    mix = ["data.mix=[photos, videos]", "mining.hard_batches.cluster=8"]
    with pytest.raises(ConfigError, match="both say what makes a batch"):
        load_recipe(None, mix)
    assert load_recipe(None, mix[:1]).data.mix
