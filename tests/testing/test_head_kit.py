"""Sound heads pass every check; checks become parameters of pytest."""

import subprocess
import sys
from dataclasses import replace
from unittest import SkipTest

import pytest

from sslkit.errors import ConfigError, UnknownNameError
from sslkit.testing.head_checks import head_checks
from sslkit.testing.head_kit import checks
from tests.testing.sound_heads import Boxes, Labels, Maps


@pytest.mark.parametrize("check", head_checks(Labels))
def test_a_sound_head_of_labels(check) -> None:
    check()


@pytest.mark.parametrize("check", head_checks("tests.testing.sound_heads:Maps"))
def test_a_sound_head_of_maps(check) -> None:
    check()


@pytest.mark.parametrize("check", head_checks(Boxes))
def test_a_sound_head_of_boxes(check) -> None:
    check()


def test_what_a_class_label_cannot_show_is_skipped_in_words() -> None:
    for id in ("empty_targets", "ignored_targets", "one_pixel_object"):
        with pytest.raises(SkipTest, match="ClassLabel"):
            checks()[id](Labels)


def test_an_expected_failure_is_strict_and_the_others_are_plain() -> None:
    params = {param.id: param for param in head_checks(Maps, expected_failures={"draw": "no colours yet"})}
    assert list(params) == list(checks())
    (mark,) = params["draw"].marks
    assert (mark.name, mark.kwargs) == ("xfail", {"reason": "no colours yet", "strict": True})
    assert not params["order"].marks


def test_an_unknown_id_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown check 'build\[vit\]'; did you mean 'builds\[vit\]'"):
        head_checks(Maps, expected_failures={"build[vit]": "small"})


@pytest.mark.parametrize(
    ("name", "message"),
    [("retinanet", "'module:object'"), ("tests.testing.sound_heads:squares", "is not a class")],
)
def test_what_is_no_head_is_refused(name, message) -> None:
    with pytest.raises(ConfigError, match=message):
        head_checks(name)


def test_another_error_is_told_as_a_failure_with_its_check() -> None:
    class Broken(Labels):
        def draw(self, image, shown):
            raise KeyError("colour")

    with pytest.raises(AssertionError, match="Broken raised KeyError in 'draw': 'colour'"):
        checks()["draw"](Broken)


def test_a_size_may_be_refused_in_words_where_it_is_too_small() -> None:
    class Wide(Labels):
        least = 33

        def __init__(self, info, task, *, hidden: int = 16) -> None:
            if min(task.size) < self.least:
                raise ConfigError(f"a canvas of {task.size} is too small; sides of {self.least} or more work")
            super().__init__(info, task, hidden=hidden)

    class Picky(Wide):
        least = 1000

    checks()["sizes[minimum]"](Wide)
    with pytest.raises(AssertionError, match=r"a canvas of \(37, 35\) is refused: .* sides of 1000"):
        checks()["sizes[odd]"](Picky)


@pytest.mark.parametrize(("body", "light"), [("import json", True), ("import torch", False)])
def test_the_entry_module_is_imported_alone(tmp_path, body, light) -> None:
    package = tmp_path / "heavy_heads"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(body)
    (package / "head.py").write_text("class Head:\n    pass\n")
    code = (
        "from heavy_heads.head import Head; from sslkit.testing.head_kit import checks\n"
        "checks()['light_import'](Head)"
    )
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is light, done.stderr
    assert light or "importing heavy_heads.plugin imports torch" in done.stderr


def test_importing_the_kit_needs_no_pytest() -> None:
    code = "import sys, sslkit.testing.head_kit; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_seed_of_an_example_matters() -> None:
    class Fixed(Labels):
        @classmethod
        def example_batch(cls, seed):
            return super().example_batch(0)

    with pytest.raises(AssertionError, match=r"example_batch\(0\) and example_batch\(1\) are the same"):
        checks()["example"](Fixed)


def test_pixels_in_the_padding_are_named() -> None:
    class Dirty(Labels):
        @classmethod
        def example_batch(cls, seed):
            example = super().example_batch(seed)
            pixels = example.batch.pixels.clone()
            pixels[0, :, -1] = 9
            return replace(example, batch=replace(example.batch, pixels=pixels))

    with pytest.raises(AssertionError, match=r"sample 0 has pixels outside its valid \(28, 30\)"):
        checks()["example"](Dirty)
