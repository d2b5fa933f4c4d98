"""The DATA argument, in all its forms."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit.registry import open_source


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    return folder


def test_a_folder_is_an_image_folder(photos: Path) -> None:
    assert len(open_source(str(photos))) == 3


def test_a_folder_may_be_named_as_such(photos: Path) -> None:
    assert len(open_source(f"folder:{photos}")) == 3


def test_arrays_and_lists_are_known_by_their_suffix(photos: Path) -> None:
    arrays = photos.parent / "arrays.NPZ"
    np.savez(photos.parent / "a.npz", images=np.zeros((5, 8, 8, 3), np.uint8))
    (photos.parent / "a.npz").rename(arrays)
    assert len(open_source(str(arrays))) == 5
    listed = photos.parent / "some.txt"
    listed.write_text("photos/0.png\nphotos/1.png\n", encoding="utf-8")
    assert len(open_source(str(listed))) == 2


def test_a_source_takes_options_as_yaml_values() -> None:
    source = open_source("shapes:count=12, size=16")
    assert len(source) == 12
    assert source.native_side == 16


def test_a_source_may_be_named_without_options() -> None:
    assert len(open_source("shapes")) > 0


def test_the_split_reaches_the_source() -> None:
    train, test = open_source("shapes:count=4"), open_source("shapes:count=4", split="test")
    assert train.fingerprint != test.fingerprint


def test_a_path_that_exists_wins_over_a_sources_name(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    photos.rename(photos.parent / "shapes")
    assert len(open_source("shapes")) == 3


def test_a_missing_path_names_the_nearest_that_exists(photos: Path) -> None:
    with pytest.raises(DataError, match=f"did you mean '{photos}'"):
        open_source(str(photos.parent / "fotos"))
    with pytest.raises(DataError, match=f"did you mean '{photos}'"):
        open_source(str(photos.parent / "photo" / "train"))


def test_a_missing_path_with_nothing_near_lists_the_forms(photos: Path) -> None:
    with pytest.raises(DataError, match=r"has no 'zzzzzz'\); DATA is a folder of images, videos or"):
        open_source(str(photos / "zzzzzz"))


def test_empty_data_is_refused() -> None:
    with pytest.raises(DataError, match="DATA is empty"):
        open_source("")


def test_a_file_of_no_known_form_is_refused(photos: Path) -> None:
    with pytest.raises(DataError, match="single file of no known form"):
        open_source(str(photos / "0.png"))


@pytest.mark.parametrize("data", ["shapez:count=3", "shapez:where", "shapez:"])
def test_an_unknown_source_names_the_nearest(data: str) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'shapes'"):
        open_source(data)


def test_a_windows_path_is_no_source() -> None:
    with pytest.raises(DataError, match="there is no"):
        open_source("C:\\no\\such\\folder")


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="source 'shapes' has no option 'cuont', did you mean 'count'"):
        open_source("shapes:cuont=3")


def test_a_part_without_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot read 'size'"):
        open_source("shapes:count=3,size")


def test_what_lies_in_a_folder_says_how_it_is_read(photos: Path, videos: Path, tmp_path: Path) -> None:
    assert type(open_source(str(videos))).__name__ == "VideoSource"
    first = next(videos.rglob("*.mp4"))
    assert type(open_source(str(first))).__name__ == "VideoSource"
    shards = tmp_path / "shards"
    shards.mkdir()
    with tarfile.open(shards / "part-0.tar", "w") as tar:
        for photo in sorted(photos.iterdir()):
            tar.add(photo, photo.name)
    assert type(open_source(str(shards))).__name__ == "ShardsSource"
    brace, url = f"{shards}/part-{{0..0}}.tar", f"file://{shards}/part-0.tar"
    for address in (shards / "part-0.tar", brace, url, f"shards:{url},buffer=10", f"shards:{brace}"):
        assert len(open_source(str(address))) == 3


def test_images_win_where_videos_lie_beside_them(photos: Path, videos: Path) -> None:
    shutil.copy(next(videos.rglob("*.mp4")), photos / "clip.mp4")
    assert type(open_source(str(photos))).__name__ == "ImageFolderSource"
    assert type(open_source(f"video:{photos}")).__name__ == "VideoSource"


RECORDING = """
class Recording:
    def __init__(self, address=None, *, limit: int = 0):
        self.given = (type(self).__name__, None if address is None else str(address), limit)
class Other(Recording): pass
"""
GIVES = """
from sslkit.hookspecs import hookimpl
SSLKIT_API = 1
@hookimpl
def sslkit_sources():
    return {NAMES}
"""
Install = Callable[..., Path]


@pytest.fixture
def sources(install: Install) -> Install:
    """Lays down plugins that give sources which record what they are opened with."""

    def lay_down(plugin: str, **names: str) -> Path:
        addresses = {name: f"sslkit_test_{plugin}:{target}" for name, target in names.items()}
        return install(RECORDING + GIVES.replace("{NAMES}", repr(addresses)), name=plugin)

    return lay_down


@pytest.mark.parametrize(
    ("data", "given"),
    [
        ("table", ("Recording", None, 0)),
        ("table:x.json", ("Recording", "x.json", 0)),
        ("mine:table", ("Recording", None, 0)),
        ("mine:table:x.json", ("Recording", "x.json", 0)),
        ("mine:table:limit=3", ("Recording", None, 3)),
        ("mine:table:x.json,limit=3", ("Recording", "x.json", 3)),
        ("mine:table:C:/x.json", ("Recording", "C:/x.json", 0)),
        ("mine:folder:x", ("Other", "x", 0)),
        ("mine:mine:x", ("Other", "x", 0)),
        ("mine:x", ("Other", "x", 0)),
    ],
)
def test_a_plugins_source_is_written_short_or_in_full(
    sources: Install, data: str, given: tuple[object, ...]
) -> None:
    sources("mine", table="Recording", folder="Other", mine="Other")
    assert open_source(data).given == given


def test_a_built_ins_name_is_never_read_as_a_plugins(sources: Install) -> None:
    sources("folder", photos="Recording")
    with pytest.raises(DataError, match="photos"):
        open_source("folder:photos")
    assert open_source("photos").given == ("Recording", None, 0)


def test_a_source_of_two_plugins_must_be_written_in_full(sources: Install) -> None:
    sources("one", table="Recording")
    sources("two", table="Other")
    with pytest.raises(ConfigError, match=r"source 'table' is not clear, .*one:table or two:table"):
        open_source("table:x.json")
    assert open_source("two:table:x.json").given == ("Other", "x.json", 0)


def test_a_full_name_that_is_wrong_offers_the_nearest(sources: Install) -> None:
    sources("mine", table="Recording")
    with pytest.raises(UnknownNameError, match="unknown source 'mine:tabel'; did you mean 'mine:table'"):
        open_source("mine:tabel:x.json")


def test_a_source_of_a_plugin_that_failed_says_so(install: Install) -> None:
    install(GIVES.replace("{NAMES}", "{'table': 'm:T'}") + "1 / 0", name="my-wreck", package="wreck")
    for data in ("table:x", "my-wreck:table:x", "my-wreck:other"):
        with pytest.raises(UnknownNameError, match=r"lugin 'my-wreck'.*failed to load because ZeroDiv"):
            open_source(data)


def test_a_json_file_is_opened_by_coco_where_a_plugin_has_it(sources: Install, tmp_path: Path) -> None:
    file = tmp_path / "instances.JSON"
    file.write_text("{}")
    sources("one", other="Recording")
    with pytest.raises(
        DataError, match=r"instances.JSON' is read by the source 'coco'.*pip install sslkit-detection"
    ):
        open_source(str(file))
    sources("two", coco="Recording")
    assert open_source(str(file)).given == ("Recording", str(file), 0)
    sources("three", coco="Other")
    with pytest.raises(ConfigError, match="three:coco or two:coco"):
        open_source(str(file))


def test_a_json_file_tells_why_the_plugin_for_it_failed(install: Install, tmp_path: Path) -> None:
    file = tmp_path / "instances.json"
    file.write_text("{}")
    install(GIVES.replace("{NAMES}", "{'coco': 'm:T'}") + "1 / 0", name="wreck")
    with pytest.raises(
        DataError, match=r"provided by plugin 'wreck'.*failed to load because ZeroDivisionError"
    ):
        open_source(str(file))


def test_the_split_asked_for_wins_over_the_one_in_the_text(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for number in range(2 if split == "train" else 1):
            Image.new("RGB", (8, 8)).save(tmp_path / split / f"{number}.png")
    assert len(open_source(f"folder:{tmp_path},split=train")) == 2
    assert len(open_source(f"folder:{tmp_path},split=train", split="test")) == 1
