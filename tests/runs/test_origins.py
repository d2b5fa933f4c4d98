"""Items are shown by where their data lay; a wrong picture is never shown."""

import numpy as np
import pytest
from PIL import Image

from sslkit.data.sources.folder import ImageFolderSource
from sslkit.retrieval.items import IndexedItem
from sslkit.runs import origins
from sslkit.runs.origins import Origins


class Made:
    """As much of an index as says what its images were."""

    def __init__(self, channels: int = 3) -> None:
        self.preprocessing = {"mean": [0.5] * channels}


@pytest.fixture
def items(photos):
    source = ImageFolderSource(photos)
    return [
        IndexedItem(7 + id, source[id].name, None, source=str(photos), sample=id) for id in range(len(source))
    ]


def test_a_picture_is_that_of_the_sample_not_of_the_id(photos, items) -> None:
    shown = Origins.of(Made()).picture
    for item in items[:3]:
        np.testing.assert_array_equal(shown(item), np.asarray(Image.open(photos / item.name)))


def test_each_data_set_is_opened_once(photos, items, monkeypatch) -> None:
    opened = []
    real = origins.open_source
    monkeypatch.setattr(origins, "open_source", lambda address: opened.append(address) or real(address))
    shown = Origins.of(Made()).picture
    gone = IndexedItem(1, "a.jpg", None, source="/nowhere/at/all", sample=0)
    for item in [*items[:3], gone, gone]:
        shown(item)
    assert opened == [str(photos), "/nowhere/at/all"]
    assert shown(gone) is None


def test_what_is_gone_or_replaced_has_no_picture(photos, items) -> None:
    first, second, *_, last = items
    (photos / second.name).write_bytes(b"damaged")
    assert Origins.of(Made()).picture(second) is None
    Image.new("RGB", (9, 9)).save(photos / "left" / "0.jpg")  # every sample moves by one
    assert Origins.of(Made()).picture(first) is None
    (photos / "left" / "0.jpg").unlink()
    assert Origins.of(Made()).picture(first) is not None
    (photos / last.name).unlink()
    assert Origins.of(Made()).picture(last) is None
    assert Origins.of(Made()).picture(IndexedItem(1, "vector 1", None)) is None  # without any data


def test_images_of_many_channels_are_shown(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.full((20, 30, 5), 7, np.uint8))
    item = IndexedItem(0, "a.npy", None, source=str(tmp_path), sample=0)
    shown = Origins.of(Made(5)).picture(item)
    assert shown.shape == (20, 30, 3)
    assert (shown == 7).all()
