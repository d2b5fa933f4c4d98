"""Planted copies are found, pictures of the same kind are not taken for copies."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy import ndimage

from sslkit.contracts import Content, Frames, Item, Moment, Refused
from sslkit.data.sources.identities import IdentitiesSource
from sslkit.data.sources.moving_shapes import MovingShapesSource
from sslkit.data.sources.scenes import ScenesSource
from sslkit.errors import ConfigError
from sslkit.retrieval import thumbnails as of_thumbnails
from sslkit.retrieval.near_duplicates import near_duplicates
from sslkit.retrieval.overlaid import agreement, aligned
from sslkit.retrieval.thumbnails import SIDE, thumbnails


class Held:
    """Contents in memory as a source."""

    def __init__(self, contents: Sequence[Content], fingerprint: str = "held") -> None:
        self.contents, self.fingerprint = contents, fingerprint
        self.classes: Sequence[str] = ()
        self.labels: np.ndarray | None = None
        self.native_side: int | None = None
        self.splits: Sequence[str] = ()
        self.read = 0

    def __len__(self) -> int:
        return len(self.contents)

    def __getitem__(self, id: int) -> Item:
        self.read += 1
        return Item(self.contents[id], f"sample {id}")


def photo(seed: int, side: int = 96) -> np.ndarray:
    """A smooth picture with sharp patches, as a photo has: uint8 (side, side + 32, 3)."""
    draw = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(draw.normal(size=(side, side + 32, 3)), (6, 6, 0))
    field = 128 + 45 * field / field.std()
    for _ in range(6):
        top, left = draw.integers(0, side - 24), draw.integers(0, side)
        field[top : top + draw.integers(8, 24), left : left + draw.integers(8, 32)] += draw.normal(0, 40, 3)
    return field.clip(0, 255).astype(np.uint8)


def saved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue()))


def cropped(image: Image.Image, share: float = 0.05) -> Image.Image:
    width, height = image.size
    return image.crop((round(share * width), 0, width, round((1 - share) * height)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "nothing": lambda image: image,
    "JPEG of quality 40": lambda image: saved(image, 40),
    "half its size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "a crop of a twentieth": cropped,
    "a fifth brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "all of it": lambda image: saved(
        ImageEnhance.Brightness(cropped(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))).enhance(1.2), 60
    ),
}
CORPUS = Held([photo(seed) for seed in range(40)])


@pytest.mark.parametrize("change", CHANGES)
def test_a_planted_copy_is_found(change: str) -> None:
    asked = [np.asarray(CHANGES[change](Image.fromarray(photo(seed)))) for seed in range(10)]
    found = near_duplicates(Held(asked), CORPUS)
    assert [(twin.query, twin.corpus) for twin in found.twins] == [(id, id) for id in range(10)]
    assert {twin.mirrored for twin in found.twins} == {change in ("mirrored", "all of it")}
    if change == "nothing":
        assert all(twin.similarity > 0.999 for twin in found.twins)


def test_the_smaller_set_may_hold_the_larger_picture() -> None:
    """The crop may be in the corpus, and the whole be asked about."""
    crops = Held([np.asarray(cropped(Image.fromarray(photo(seed)))) for seed in range(10)])
    assert len(near_duplicates(Held([photo(seed) for seed in range(10)]), crops).twins) == 10


def test_other_pictures_are_no_copies() -> None:
    found = near_duplicates(Held([photo(seed) for seed in range(100, 160)]), CORPUS)
    assert found.twins == ()
    assert (found.queries, found.corpus, found.unread, found.flat) == (60, 40, 0, 0)


def test_other_pictures_of_the_same_persons_and_shapes_are_no_copies() -> None:
    faces = IdentitiesSource(count=120, identities=20, size=32)
    early, late = faces.read_many(np.arange(60)), faces.read_many(np.arange(60, 120))
    assert near_duplicates(Held(list(late)), Held(list(early))).twins == ()
    scenes = [ScenesSource(count=100, size=32, split=split) for split in ("test", "train")]
    assert len(near_duplicates(*scenes).twins) <= 1


def test_the_same_shape_in_another_colour_is_no_copy() -> None:
    red, blue = (np.zeros((32, 32, 3), np.uint8) for _ in range(2))
    red[8:20, 10:26, 0] = blue[8:20, 10:26, 2] = 200
    assert near_duplicates(Held([red]), Held([blue])).twins == ()
    assert len(near_duplicates(Held([red]), Held([blue, red])).twins) == 1
    # Equal edges on another ground.
    warm, cold = (np.full((32, 32, 3), ground, np.uint8) for ground in ((200, 60, 60), (60, 60, 200)))
    warm[8:20, 10:26] += 40
    cold[8:20, 10:26] += 40
    assert near_duplicates(Held([warm]), Held([cold])).twins == ()
    assert len(near_duplicates(Held([warm]), Held([warm])).twins) == 1


def test_pictures_without_anything_in_them_are_counted_and_never_twins() -> None:
    grey, black = np.full((32, 32, 3), 127, np.uint8), np.zeros((40, 40), np.uint8)
    found = near_duplicates(Held([grey, photo(1)]), Held([grey, black]))
    assert found.twins == ()
    assert (found.queries, found.corpus, found.flat) == (1, 0, 3)
    assert near_duplicates(Held([grey]), Held([photo(1)])).queries == 0
    faint = grey.copy()
    faint[:16] += 2  # as a camera's noise on a wall
    assert near_duplicates(Held([faint]), Held([faint])).flat == 2


def test_what_cannot_be_decoded_is_left_out_and_counted() -> None:
    asked = Held([b"no image", photo(2), Refused("a link")])
    found = near_duplicates(asked, Held([photo(3), Path("/nowhere.jpg"), photo(2)]))
    assert [(twin.query, twin.corpus) for twin in found.twins] == [(1, 2)]
    assert found.unread == 3


def test_videos_are_read_in_the_middle_and_pairs_by_their_first_image() -> None:
    videos = MovingShapesSource(count=3, size=32, seconds=1.0)
    content = videos[1].content
    assert isinstance(content, Moment)
    assert not isinstance(content.path, Path)
    middle = content.path(np.array([content.start + content.length / 2]))[0]
    found = near_duplicates(videos, Held([middle, photo(1)]))
    assert [(twin.query, twin.corpus) for twin in found.twins] == [(1, 0)]
    pairs = Held([Frames((photo(5), photo(6)))])
    assert near_duplicates(pairs, Held([photo(6)])).twins == ()
    assert len(near_duplicates(pairs, Held([photo(5)])).twins) == 1


def test_of_pictures_that_are_alike_by_nature_only_the_nearest_count() -> None:
    """Crosses of one colour at many places: each is almost another one, and only true copies are told."""

    def cross(step: int) -> np.ndarray:
        pixels = np.full((32, 32, 3), 40, np.uint8)
        pixels[8:20, 12:16], pixels[12:16, 8 : 20 + step % 3] = 200, 200
        return np.roll(pixels, (step % 5, step // 5), axis=(0, 1))

    asked, stored = Held([cross(k) for k in range(20)]), Held([cross(k + 20) for k in range(20)])
    found = near_duplicates(asked, stored)
    assert (found.alike, found.threshold) == (1.0, 0.97)
    assert all(twin.similarity >= 0.97 for twin in found.twins)
    varied = near_duplicates(Held([photo(1), photo(2)]), CORPUS)
    assert (varied.alike, varied.threshold, len(varied.twins)) == (0.0, 0.93, 2)


def test_a_threshold_that_is_no_similarity_is_refused() -> None:
    with pytest.raises(ConfigError, match="threshold=0"):
        near_duplicates(CORPUS, CORPUS, threshold=0)


# ------------------------------------------------------------------------------------- the close look


def test_a_known_shift_and_stretch_are_found() -> None:
    """The picture is sampled by scipy's splines at known places; the alignment finds these places."""
    plane = photo(7).astype(float)[:, :96]
    plane = np.stack([ndimage.zoom(plane[..., c], 32 / 96, order=1) for c in range(3)])
    axis = (np.arange(32) + 0.5) / 16 - 1
    for shift, stretch in ((0.0, -0.05), (0.08, -0.08), (-0.05, 0.0)):
        places = ((shift + (1 + stretch) * axis) + 1) * 16 - 0.5
        moved = np.stack(
            [
                ndimage.map_coordinates(
                    c, np.meshgrid(np.arange(32.0), places, indexing="ij"), order=1, mode="nearest"
                )
                for c in plane
            ]
        )
        one, other = (torch.from_numpy(each).float()[None] for each in (moved, plane))
        found = aligned(one, other)[0]
        assert found[:2].tolist() == pytest.approx([shift, stretch], abs=0.02)
        assert found[2:].tolist() == pytest.approx([0, 0], abs=0.02)
        assert float(agreement(one, other)) > 0.95


def test_either_picture_may_be_the_crop() -> None:
    """A tenth is gone at two borders, so that the whole must be laid on a part, or the part on the whole."""
    parts = Held([photo(seed)[8:, 10:] for seed in range(10)])
    whole, part = (
        torch.from_numpy(thumbnails(each).pixels[:10]).permute(0, 3, 1, 2).float() for each in (CORPUS, parts)
    )
    assert float(agreement(whole, part).min()) > 0.93
    assert float(agreement(part, whole).min()) > 0.93


def test_a_pair_is_judged_the_same_alone_and_among_others() -> None:
    pixels = torch.from_numpy(thumbnails(CORPUS).pixels).permute(0, 3, 1, 2).float()
    one, other = pixels[:20], pixels[20:]
    together = agreement(one, other)
    alone = torch.cat([agreement(one[k : k + 1], other[k : k + 1]) for k in range(20)])
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.allclose(together, agreement(other, one), atol=1e-4)
    assert float(together.max()) < 0.9


# -------------------------------------------------------------------------------------- thumbnails


def test_arrays_at_once_are_what_they_are_one_by_one() -> None:
    source = ScenesSource(count=20, size=64)
    whole = thumbnails(source).pixels.astype(int)
    single = thumbnails(Held([source[id].content for id in range(20)])).pixels.astype(int)
    assert whole.shape == (20, SIDE, SIDE, 3)
    assert np.abs(whole - single).max() <= 4  # two libraries' filters


def test_those_of_a_large_source_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(of_thumbnails, "_KEPT", 10)
    contents: list[Content] = [photo(seed) for seed in range(11)]
    contents[4] = b"damaged"
    source, told = Held(contents), []
    first = thumbnails(source, progress=lambda done, total: told.append((done, total)))
    assert (first.skipped, told[-1]) == (1, (11, 11))
    read, again = source.read, thumbnails(source)
    assert source.read == read  # nothing is decoded a second time
    assert np.array_equal(first.pixels, again.pixels)
    assert first.ids.tolist() == again.ids.tolist() == [0, 1, 2, 3, *range(5, 11)]
    (kept,) = (tmp_path / "thumbnails").iterdir()
    for damage in (b"", kept.read_bytes()[:-100]):
        kept.write_bytes(damage)
        assert np.array_equal(thumbnails(source).pixels, first.pixels)
    other = Held(list(reversed(contents)), fingerprint="other")
    assert thumbnails(other).ids[6] == 7
    assert len(list((tmp_path / "thumbnails").iterdir())) == 2
