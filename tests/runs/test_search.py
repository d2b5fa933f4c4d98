"""Search end to end: what is asked for is found, whatever kind of query it is, and shown on a page."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import ArtifactError, ConfigError, DataError, DecodeError, UnknownNameError
from sslkit.retrieval.artifact import Hit, Index
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.retrieval.filters import Where
from sslkit.runs.embed import embed
from sslkit.runs.embedder import open_embedder
from sslkit.runs.origins import Origins
from sslkit.runs.search import search
from sslkit.runs.search_result import SearchResult
from tests.conftest import TINY


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run, its photos, and an index of them with metadata."""
    from sslkit.runs.pretrain import pretrain

    place = tmp_path_factory.mktemp("search")
    generator = np.random.default_rng(0)
    for number in range(20):
        folder = place / "photos" / ("left", "right")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        waves = np.kron(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        Image.fromarray(waves).save(folder / f"{number:02d}.jpg")
    pretrain(place / "photos", out=place / "run", overrides=[*TINY, "batch.size=10"], progress=False)
    embed(place / "run", place / "photos", place / "emb", progress=False)
    return place


@pytest.fixture(scope="module")
def built(place):
    from sslkit.retrieval.embed import read_embeddings

    metadata = {f"left/{number:02d}.jpg": {"year": 2000 + number} for number in range(0, 20, 2)}
    Index.build(read_embeddings(place / "emb"), place / "photos.index", metadata=metadata).close()
    return place / "photos.index"


@pytest.fixture
def photos(place):
    return place / "photos"


def names(result):
    return [hit.name for hit in result.hits]


def test_an_indexed_photo_finds_itself_first(built, photos) -> None:
    for name in ("left/00.jpg", "right/07.jpg"):
        (result,) = search(built, photos / name, k=3)
        assert names(result)[0] == name
        assert result.hits[0].similarity == pytest.approx(1.0, abs=1e-5)
        assert [hit.similarity for hit in result.hits] == sorted(
            (hit.similarity for hit in result.hits), reverse=True
        )
        folder = name.partition("/")[0]
        assert f"[{folder}]  {name}" in result.to_text()
        told = json.loads(json.dumps(result.to_dict()))
        assert told["hits"][0]["name"] == name
        assert told["hits"][0]["class_name"] == folder


def test_a_folder_is_searched_in_one_batch(built, photos, monkeypatch) -> None:
    asked = []
    real = Index.search
    monkeypatch.setattr(
        Index,
        "search",
        lambda self, rows, *more, **named: asked.append(len(rows)) or real(self, rows, *more, **named),
    )
    results = search(built, [photos], k=1)
    assert asked == [20]
    assert [f"{photos}/{names(result)[0]}" for result in results] == [result.query for result in results]


def test_similarities_are_cosines_of_the_embeddings(built, place, photos) -> None:
    rows = np.load(place / "emb" / "embeddings.npy").astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    (result,) = search(built, photos / "left/00.jpg", k=20)
    assert [hit.similarity for hit in result.hits] == pytest.approx(
        sorted(rows @ rows[0], reverse=True), abs=1e-4
    )


def test_only_what_the_condition_means_is_found(built, photos) -> None:
    (result,) = search(built, photos / "left/00.jpg", k=20, where=Where(label="right"))
    assert len(result.hits) == 10
    assert all(name.startswith("right/") for name in names(result))
    (result,) = search(built, photos / "left/00.jpg", where=Where("year > 2015"), exact=True)
    assert sorted(names(result)) == ["left/16.jpg", "left/18.jpg"]
    (result,) = search(built, photos / "left/00.jpg", where=Where(time=(0.0, 9.0)))
    assert result.to_text().endswith("nothing found")


def test_a_wrong_condition_is_told_before_anything_is_embedded(built, photos, monkeypatch) -> None:
    monkeypatch.setattr("sslkit.runs.asked.open_embedder", None)
    with pytest.raises(ConfigError, match="colour"):
        search(built, photos / "left/00.jpg", where=Where("colour = 3"))
    with pytest.raises(UnknownNameError, match="'left'"):
        search(built, photos / "left/00.jpg", where=Where(label="lift"))


def test_a_box_is_searched_as_its_part(tmp_path, built, photos) -> None:
    both = np.concatenate(
        [np.asarray(Image.open(photos / f"left/{name}.jpg")) for name in ("04", "06")], axis=1
    )
    Image.fromarray(both).save(tmp_path / "both.png")
    right, left = search(
        built, [f"{tmp_path}/both.png#64,0,64,48", tmp_path / "both.png"], k=1, box="0,0,64,48"
    )
    assert names(left) == ["left/04.jpg"]
    assert names(right) == ["left/06.jpg"]
    assert left.hits[0].similarity == pytest.approx(1.0, abs=1e-5)
    assert right.to_dict()["box"] == [64, 0, 64, 48]
    assert right.to_text().splitlines()[0].endswith("both.png  box 64,0,64,48")


def test_pixels_can_be_searched_by(built, photos) -> None:
    (result,) = search(built, np.asarray(Image.open(photos / "right/03.jpg")), k=1)
    assert names(result) == ["right/03.jpg"]


def test_items_find_others_but_never_themselves(tmp_path, built) -> None:
    with Index.load(built) as index:
        first, second = index.items([3, 5])
        results = search(index, ids=[3, 5], k=19)
        assert len(index) == 20  # still open
    assert [result.query for result in results] == [first.name, second.name]
    assert [len(result.hits) for result in results] == [19, 19]
    assert all(hit.id != result.id for result in results for hit in result.hits)
    (tmp_path / "ids.txt").write_text("# two of them\n3\n\n 5  # the other\n")
    assert search(built, ids=tmp_path / "ids.txt", k=19) == results
    (alone,) = search(built, ids=[3], k=2, where=Where("id <> 3"))  # itself is not among what is meant
    assert len(alone.hits) == 2


def test_wrong_ids_are_named(tmp_path, built) -> None:
    (tmp_path / "ids.txt").write_text("3\nfive\n")
    with pytest.raises(DataError, match="line 2: 'five'"):
        search(built, ids=tmp_path / "ids.txt")
    with pytest.raises(ArtifactError, match="no item 99"):
        search(built, ids=[3, 99])
    with pytest.raises(DataError, match="no id"):
        search(built, ids=[])
    with pytest.raises(DataError, match="no text file"):
        search(built, ids=tmp_path / "nowhere.txt")


def test_an_embeddings_folder_is_searched_by_without_its_model(tmp_path, built, place, monkeypatch) -> None:
    monkeypatch.setattr("sslkit.runs.asked.open_embedder", None)
    for given in (place / "emb", place / "emb" / "embeddings.npy"):
        results = search(built, vectors=given, k=1)
        assert [result.query for result in results] == [names(result)[0] for result in results]
    shutil.copytree(place / "emb", tmp_path / "foreign")
    described = json.loads((tmp_path / "foreign/embed.json").read_text())
    (tmp_path / "foreign/embed.json").write_text(json.dumps({**described, "model_hash": "other"}))
    with pytest.raises(ArtifactError, match="other"):
        search(built, vectors=tmp_path / "foreign")
    with pytest.raises(ArtifactError, match="not by other"):
        search(built, vectors=place / "emb", model_hash="other")


def test_vectors_that_do_not_say_their_model_need_its_hash(tmp_path, built, place) -> None:
    rows = np.load(place / "emb" / "embeddings.npy").astype(np.float64)
    np.save(tmp_path / "rows.npy", rows)
    own = Index.load(built).model_hash
    with pytest.raises(ConfigError, match=f"--model-hash {own}"):
        search(built, vectors=tmp_path / "rows.npy")
    results = search(built, vectors=tmp_path / "rows.npy", model_hash=own, k=1)
    assert [result.hits[0].similarity for result in results] == pytest.approx([1.0] * 20, abs=1e-5)
    (one,) = search(built, vectors=rows[4], model_hash=own, k=1)
    assert one.hits == results[4].hits
    with pytest.raises(ArtifactError, match="other"):
        search(built, vectors=rows, model_hash="other")


def test_wrong_vectors_are_refused(tmp_path, built) -> None:
    own = Index.load(built).model_hash
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "many.npz", a=np.zeros(3))
    (tmp_path / "empty.npy").write_bytes(b"")
    for name, said in [
        ("nowhere.npy", "no file"),
        ("objects.npy", "no .npy file"),
        ("empty.npy", "no .npy file"),
        ("many.npz", "several"),
    ]:
        with pytest.raises(DataError, match=said):
            search(built, vectors=tmp_path / name, model_hash=own)
    for wrong in (np.zeros((2, 3), np.int64), np.zeros((0, 3)), np.zeros((1, 2, 3))):
        with pytest.raises(ConfigError, match="floats of shape"):
            search(built, vectors=wrong, model_hash=own)
    with pytest.raises(ArtifactError):
        search(built, vectors=np.full(Index.load(built).dim, 1e300), model_hash=own)
    with pytest.raises(ConfigError):
        search(built, vectors=np.ones((2, 3), np.float32), model_hash=own)
    with pytest.raises(ArtifactError):
        search(built, vectors=np.full((2, Index.load(built).dim), np.nan, np.float32), model_hash=own)


def test_options_that_do_not_go_together_are_refused(built, photos) -> None:
    photo = photos / "left/00.jpg"
    for options, said in [
        ({"queries": photo, "ids": [1]}, "one kind"),
        ({"ids": [1], "vectors": np.ones((1, 4))}, "one kind"),
        ({"ids": [1], "box": "0,0,1,1"}, "for images"),
        ({"vectors": np.ones((1, 4)), "model": "run"}, "for images"),
        ({"queries": photo, "model_hash": "abc"}, "for vectors"),
        ({"ids": [1], "k": 0}, "k=0"),
    ]:
        with pytest.raises(ConfigError, match=said):
            search(built, **options)


def test_another_model_is_refused_with_both_hashes_before_it_embeds(
    tmp_path, built, place, monkeypatch
) -> None:
    real = open_embedder(place / "run")
    name = next(iter(real.backbone.state_dict()))
    real.backbone.state_dict()[name].add_(1.0)
    monkeypatch.setattr("sslkit.runs.asked.open_embedder", lambda model: real)
    monkeypatch.setattr("sslkit.runs.asked.embed_queries", None)
    with pytest.raises(ArtifactError, match=rf"(?s){Index.load(built).model_hash}.*{real.model_hash}"):
        search(built, place / "photos/left/00.jpg", model="other")


def test_queries_are_seen_at_the_size_of_the_index(built, place, photos, monkeypatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(
        "sslkit.runs.asked.open_embedder", lambda model: replace(open_embedder(model), size=64)
    )
    (result,) = search(built, photos / "left/00.jpg", k=1)
    assert result.hits[0].similarity == pytest.approx(1.0, abs=1e-5)


def test_a_lost_model_says_how_to_name_it(built, place, photos) -> None:
    (place / "run").rename(place / "elsewhere")
    try:
        with pytest.raises(ArtifactError, match="--model"):
            search(built, photos / "left/00.jpg")
        assert search(built, photos / "left/00.jpg", model=place / "elsewhere", k=1)
    finally:
        (place / "elsewhere").rename(place / "run")


def test_bad_queries_are_named_before_anything_is_computed(tmp_path, built, photos, monkeypatch) -> None:
    monkeypatch.setattr("sslkit.runs.asked.embed_queries", None)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(DecodeError, match=r"broken\.jpg"):
        search(built, [photos / "left/00.jpg", tmp_path / "broken.jpg"])
    with pytest.raises(DataError, match="nowhere"):
        search(built, tmp_path / "nowhere.jpg")
    with pytest.raises(DataError, match="no image"):
        search(built)
    with pytest.raises(ConfigError, match="beyond the image"):
        search(built, photos / "left/00.jpg", box=(0, 0, 65, 1))


def test_the_gallery_shows_queries_hits_and_conditions(tmp_path, built, photos) -> None:
    query = f"{photos}/left/00.jpg#8,8,20,20"
    search(built, [query], k=4, html=tmp_path / "found.html", where=Where("year > 2003"), exact=True)
    page = (tmp_path / "found.html").read_text()
    assert page.count("<img") == 5
    for shown in ("left/00.jpg", "box 8,8,20,20", "Only year &gt; 2003: 8 items", "every vector", "year: 20"):
        assert shown in page
    assert "http" not in page.replace("http://www.w3.org", "")
    search(built, ids=[0], k=3, html=tmp_path / "of_items.html")
    assert (tmp_path / "of_items.html").read_text().count("<img") == 4


def test_a_gallery_of_vanished_photos_still_names_them(tmp_path, built, place) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "query.png")
    (place / "photos").rename(place / "moved")
    try:
        (result,) = search(built, tmp_path / "query.png", k=2, html=tmp_path / "found.html")
    finally:
        (place / "moved").rename(place / "photos")
    page = (tmp_path / "found.html").read_text()
    assert page.count("no picture") == 2
    assert all(name in page for name in names(result))


def test_a_long_gallery_says_what_it_leaves_out(tmp_path, built, monkeypatch) -> None:
    monkeypatch.setattr("sslkit.runs.search._DRAWN", 3)
    search(built, ids=range(5), k=1, html=tmp_path / "found.html")
    page = (tmp_path / "found.html").read_text()
    assert page.count("<h2>") == 3
    assert "The first 3 of 5 queries" in page


def test_results_of_videos_have_times(tmp_path, place, videos) -> None:
    run = place / "run"
    from sslkit.retrieval.embed import read_embeddings

    embed(run, videos, tmp_path / "emb", progress=False)
    index = Index.build(read_embeddings(tmp_path / "emb"), tmp_path / "videos.index")
    with index:
        item = index.items([3])[0]
        video = videos / item.name.partition(" @ ")[0]
        assert (item.start, item.stop) == (1.0, 2.0)
        (moment,) = search(index, f"{video}@1-2", k=2, html=tmp_path / "found.html")
        assert (moment.hits[0].id, moment.hits[0].start, moment.hits[0].stop) == (3, 1.0, 2.0)
        assert moment.hits[0].similarity == pytest.approx(1.0, abs=1e-5)
        (frame,) = search(index, f"{video}@1.5", k=1)  # what the model saw of the moment
        assert frame.hits[0].similarity == pytest.approx(1.0, abs=1e-5)
        (early,) = search(index, f"{video}@0.0-0.4", k=20, where=Where(time=(1.2, 9.0)))
        assert {hit.start for hit in early.hits} == {1.0}
        (of_item,) = search(index, ids=[3], k=1)
    path = item.name.removesuffix(" @ 1.0 s")
    first, second = moment.to_text().splitlines()[:2]
    assert first == f"{video}  1.0-2.0 s"
    assert second.endswith(f"{path}  1.0-2.0 s")
    assert (moment.to_dict()["start"], moment.to_dict()["stop"]) == (1.0, 2.0)
    assert of_item.to_text().splitlines()[0] == f"{path}  id 3, 1.0-2.0 s"
    page = (tmp_path / "found.html").read_text()
    assert "1.0-2.0 s" in page
    assert "@" not in page.partition("</style>")[2].replace("@media", "")


def test_an_index_of_vectors_alone_says_that_it_knows_no_model(tmp_path, photos) -> None:
    rows = np.eye(4, dtype=np.float32)
    given = EmbeddingSet(rows, np.arange(4), list("abcd"), np.full(4, -1), "imported:1")
    with Index.build(given, tmp_path / "i") as index:
        with pytest.raises(ConfigError, match="does not remember its model"):
            search(index, photos / "left/00.jpg")
        (result,) = search(index, vectors=rows[2], model_hash="imported:1", k=1, html=tmp_path / "g.html")
        assert names(result) == ["c"]
        assert Origins.of(index).picture(index.items([2])[0]) is None


def test_a_name_cannot_break_a_line_of_text() -> None:
    result = SearchResult("a\n\x1b[31mb", [Hit(1, "c\nd\udcff", None, similarity=0.5)])
    assert result.to_text().splitlines() == ["a\\n\\x1b[31mb", "   0.500  c\\nd\\udcff"]
