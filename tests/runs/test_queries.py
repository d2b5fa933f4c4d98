"""A part of an image is embedded as that part would be as a file of its own, whatever stands beside it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.data.clips import Clips
from sslkit.data.decode.video import decode_clips
from sslkit.data.pictures import picture
from sslkit.errors import ConfigError, DataError, DecodeError
from sslkit.runs.embedder import Embedder
from sslkit.runs.queries import Box, Query, box_of, embed_queries, refuse_unreadable
from sslkit.runs.query_names import queries_of


class Colours(torch.nn.Module):
    """Embeds an image as the means of the cells of a grid of 8 x 8, a clip as twice that of its frames."""

    def forward(self, pixels):
        if pixels.dim() == 5:  # (N, T, C, S, S)
            return 2 * torch.stack([self(frames) for frames in pixels.unbind(1)]).mean(0)
        return torch.nn.functional.adaptive_avg_pool2d(pixels.float(), 8).flatten(1)


@pytest.fixture
def embedder():
    backbone = Colours()
    backbone.channels, backbone.mean, backbone.std = 3, (0.0,) * 3, (1.0,) * 3
    return Embedder(backbone, 32, "colours", torch.device("cpu"))


def gradient(height=60, width=90, seed=0):
    """A smooth picture without two equal parts."""
    rows, columns = np.mgrid[:height, :width]
    phases = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [np.sin(rows / 9 + phase) * np.cos(columns / 13 - phase) for phase in phases]
    return (127.5 + 127 * np.stack(waves, -1)).round().astype(np.uint8)


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_box_is_embedded_as_the_cut_image_is(tmp_path, photo, embedder) -> None:
    for box in (Box(0, 0, 30, 40), Box(17, 5, 60, 50), Box(89, 59, 1, 1), Box(3, 0, 87, 2)):
        part = gradient()[box.y : box.y + box.height, box.x : box.x + box.width]
        Image.fromarray(part).save(tmp_path / "part.png")
        boxed, cut = embed_queries(embedder, [Query("a", photo, box), Query("b", tmp_path / "part.png")])
        np.testing.assert_array_equal(boxed, cut)


def test_a_box_around_everything_changes_nothing(tmp_path, embedder) -> None:
    Image.fromarray(gradient(700, 900)).save(tmp_path / "large.jpg")  # decoded smaller than it is
    whole, boxed = embed_queries(
        embedder, [Query("a", tmp_path / "large.jpg", box) for box in (None, Box(0, 0, 900, 700))]
    )
    np.testing.assert_array_equal(whole, boxed)


def test_a_box_counts_pixels_of_the_upright_image(tmp_path, embedder) -> None:
    upright = gradient()
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "lying.png", exif=exif)
    query = Query("lying", tmp_path / "lying.png", Box(50, 10, 40, 30))
    assert query.size() == (90, 60)
    lying, standing = embed_queries(embedder, [query, Query("standing", upright, query.box)])
    np.testing.assert_array_equal(lying, standing)
    assert query.shares() == (50 / 90, 10 / 60, 40 / 90, 30 / 60)


def test_a_box_in_a_video_is_that_part_of_its_frame(videos, embedder) -> None:
    video = next(path for path in sorted(videos.rglob("*")) if path.is_file())
    whole, boxed, all_ = queries_of([f"{video}@1.2{box}" for box in ("", "#8,16,40,32", "#0,0,64,64")])
    frame = decode_clips(video, np.array([[1.2]]), canvas=64)[0][0, 0].transpose(1, 2, 0)
    cut = Query("cut", np.ascontiguousarray(frame[16:48, 8:48]))
    found, expected, *unboxed = embed_queries(embedder, [boxed, cut, whole, all_])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(*unboxed)
    assert boxed.size() == (64, 64)
    assert picture(boxed.item(canvas=64), side=64).shape == (32, 40, 3)


def test_a_clip_is_the_frames_around_its_middle(videos) -> None:
    video = next(path for path in sorted(videos.rglob("*")) if path.is_file())
    (query,) = queries_of([f"{video}@0.5-1.5"])
    times = Clips(frames=4, stride=2.0).still(query.content)[0]
    assert times.tolist() == pytest.approx([0.7, 0.9, 1.1, 1.3])  # 10 frames a second, around 1.0
    (boxed,) = queries_of([f"{video}@0.5-1.5#0,0,16,16"])
    assert Clips(frames=4, stride=2.0).still(boxed.item(canvas=64).content).tolist() == [times.tolist()]


@pytest.mark.parametrize("frames", [1, 3])
def test_what_stands_beside_a_query_changes_nothing(photo, videos, embedder, frames) -> None:
    embedder = replace(embedder, clips=Clips(frames=frames))
    video = next(path for path in sorted(videos.rglob("*")) if path.is_file())
    mixed = queries_of([photo, f"{video}@0.3", f"{photo}#1,2,30,40", f"{video}@1"])
    together = embed_queries(embedder, mixed)
    apart = np.concatenate([embed_queries(embedder, [query]) for query in mixed])
    np.testing.assert_array_equal(together, apart)
    np.testing.assert_array_equal(embed_queries(embedder, mixed[::-1]), apart[::-1])


def test_a_box_beyond_its_image_is_refused_with_both_sizes(photo, videos) -> None:
    with pytest.raises(ConfigError, match=r"photo\.png: the box 80,0,20,10 reaches to 100,10.*90x60"):
        refuse_unreadable([Query(str(photo), photo, Box(80, 0, 20, 10))])
    video = next(path for path in sorted(videos.rglob("*")) if path.is_file())
    with pytest.raises(ConfigError, match="64x64"):
        refuse_unreadable(queries_of([f"{video}#0,0,65,1"]))


def test_all_that_cannot_be_read_are_named_together(tmp_path, photo) -> None:
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    truncated = tmp_path / "cut.png"
    truncated.write_bytes(photo.read_bytes()[:-200])
    with pytest.raises(DecodeError, match=r"3 of 4 queries cannot be used.*one\.jpg.*two\.jpg.*cut\.png"):
        refuse_unreadable(queries_of([tmp_path / "one.jpg", photo, tmp_path / "two.jpg", truncated]))
    refuse_unreadable([Query("photo", photo)])


def test_a_query_that_breaks_later_is_named(tmp_path, photo, embedder) -> None:
    queries = queries_of([photo, photo])
    photo.write_bytes(b"gone bad")
    with pytest.raises(DataError, match=r"photo\.png"):
        embed_queries(embedder, queries)
    with pytest.raises(DataError, match="no query"):
        embed_queries(embedder, [])


def test_boxes_of_other_channels(tmp_path) -> None:
    planes = np.random.default_rng(0).integers(0, 256, (5, 20, 30), dtype=np.uint8)
    np.save(tmp_path / "planes.npy", planes)
    item = Query("p", tmp_path / "planes.npy", Box(10, 5, 12, 8)).item(canvas=64, channels=5)
    np.testing.assert_array_equal(item.content, planes[:, 5:13, 10:22].transpose(1, 2, 0))


def test_a_box_is_four_numbers() -> None:
    assert box_of("1, 2,30,40") == box_of((1, 2, 30, 40)) == Box(1, 2, 30, 40)
    for wrong in ("", "1,2,3", "1,2,3,4,5", "-1,0,3,4", "0,0,0,4", "a,b,c,d", "1.5,2,3,4", (1, 2, 3)):
        with pytest.raises(ConfigError, match="such as 120,40,200,160"):
            box_of(wrong)
