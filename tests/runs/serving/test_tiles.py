"""Pictures of items come from the data they were indexed from, or not at all."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import DataError
from sslkit.retrieval.items import IndexedItem
from sslkit.runs.origins import PICTURE_SIDE, Origins
from sslkit.runs.serving import tiles
from sslkit.runs.serving.tiles import Tiles, encoded


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        pixels = np.full((400, 500, 3), 80 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return tmp_path


def item(folder, number: int) -> IndexedItem:
    return IndexedItem(number, f"{number}.png", None, source=str(folder), sample=number)


def test_a_tile_is_a_bounded_jpeg_of_the_item(folder) -> None:
    shown = Image.open(io.BytesIO(Tiles(Origins()).tile(item(folder, 1))))
    assert shown.format == "JPEG"
    assert max(shown.size) == PICTURE_SIDE
    assert abs(int(np.asarray(shown).mean()) - 80) < 3


@pytest.mark.parametrize(
    "wrong", [{"name": "2.png"}, {"sample": 3}, {"sample": -1}, {"source": ""}, {"source": "/nowhere"}]
)
def test_what_is_not_where_it_was_has_no_picture(folder, wrong) -> None:
    with pytest.raises(DataError):
        Tiles(Origins()).tile(replace(item(folder, 1), **wrong))


def test_a_file_that_took_another_place_is_not_taken_for_it(folder) -> None:
    (folder / "0.png").unlink()
    with pytest.raises(DataError, match=r"no longer '1\.png'"):
        Tiles(Origins()).tile(item(folder, 1))


def test_tiles_are_cached_up_to_a_bound(folder, monkeypatch) -> None:
    kept = Tiles(Origins())
    first = [kept.tile(item(folder, number)) for number in range(3)]
    for number in range(3):
        (folder / f"{number}.png").write_bytes(b"")
    assert [kept.tile(item(folder, number)) for number in range(3)] == first
    monkeypatch.setattr(tiles, "_CACHED", 0)
    with pytest.raises(DataError):
        Tiles(Origins()).tile(item(folder, 0))


def test_any_number_of_channels_is_encoded() -> None:
    for channels in (1, 3, 5):
        shown = Image.open(io.BytesIO(encoded(np.zeros((6, 8, channels), np.uint8))))
        assert shown.size == (8, 6)
