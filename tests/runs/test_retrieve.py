"""Retrieval end to end: embed, index, search, and the page that shows it."""

import json

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import ArtifactError, ConfigError, DataError, DecodeError
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import read_embeddings
from sslkit.runs.pretrain import pretrain
from sslkit.runs.retrieve import build_index, embed, index_info, search


@pytest.fixture
def run(tmp_path, photos, tiny):
    return pretrain(photos, out=tmp_path / "run", overrides=[*tiny, "batch.size=10"], progress=False)


@pytest.fixture
def index(tmp_path, run, photos):
    return build_index(run, photos, tmp_path / "photos.index", progress=False)


def test_an_indexed_photo_finds_itself_first(index, photos) -> None:
    for name in ("left/00.jpg", "right/07.jpg"):
        (result,) = search(index, [photos / name], k=3)
        assert result.hits[0].name == name
        assert result.hits[0].similarity == pytest.approx(1.0, abs=1e-5)
        assert [hit.similarity for hit in result.hits] == sorted(
            (hit.similarity for hit in result.hits), reverse=True
        )
        assert Index.load(index).classes[result.hits[0].label] == name.partition("/")[0]
        assert name in result.to_text()
        assert json.loads(json.dumps(result.to_dict()))["hits"][0]["name"] == name


def test_similarities_are_cosines_of_the_embeddings(tmp_path, index, photos) -> None:
    vectors = read_embeddings(tmp_path / "photos.index.embeddings")
    rows = vectors.vectors / np.linalg.norm(vectors.vectors, axis=1, keepdims=True)
    (result,) = search(index, [photos / "left/00.jpg"], k=20)
    expected = sorted(rows @ rows[vectors.names.index("left/00.jpg")], reverse=True)
    assert [hit.similarity for hit in result.hits] == pytest.approx(expected, abs=1e-4)


def test_the_gallery_shows_query_and_hits(tmp_path, index, photos) -> None:
    search(index, [photos / "left/00.jpg"], k=4, html=tmp_path / "found.html")
    page = (tmp_path / "found.html").read_text()
    assert page.count("<img") == 5
    assert "left/00.jpg" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_gallery_of_vanished_photos_still_names_them(tmp_path, index, photos) -> None:
    query = tmp_path / "query.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(query)
    photos.rename(tmp_path / "moved")
    search(index, [query], k=2, html=tmp_path / "found.html")
    assert "no picture" in (tmp_path / "found.html").read_text()


def test_embeddings_can_be_indexed_later(tmp_path, run, photos) -> None:
    kept = embed(run, photos, tmp_path / "photos.emb", progress=False)
    index = build_index(kept, None, tmp_path / "later.index")
    assert len(Index.load(index)) == 20
    assert index_info(index)["items"] == 20


def test_unreadable_photos_have_no_row_and_ids_stay(tmp_path, run, photos) -> None:
    (photos / "left" / "00.jpg").write_bytes(b"broken")
    kept = read_embeddings(embed(run, photos, tmp_path / "photos.emb", progress=False))
    assert len(kept) == 19
    assert 0 not in kept.ids


def test_another_model_is_refused_with_both_hashes(tmp_path, index, photos, tiny) -> None:
    other = pretrain(
        photos, out=tmp_path / "other", overrides=[*tiny, "batch.size=10", "seed=9"], progress=False
    )
    with pytest.raises(ArtifactError, match=Index.load(index).model_hash):
        search(index, [photos / "left/00.jpg"], model=other)


def test_a_lost_model_says_how_to_name_it(tmp_path, index, run, photos) -> None:
    run.rename(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="--model"):
        search(index, [photos / "left/00.jpg"])
    assert search(index, [photos / "left/00.jpg"], model=tmp_path / "elsewhere", k=1)


def test_bad_queries_are_named(tmp_path, index) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(DecodeError, match=r"broken\.jpg"):
        search(index, [tmp_path / "broken.jpg"])
    with pytest.raises(DataError, match="nowhere"):
        search(index, [tmp_path / "nowhere.jpg"])
    with pytest.raises(DataError, match="no image"):
        search(index, [])


def test_an_existing_folder_is_kept_unless_told(tmp_path, index, run, photos) -> None:
    with pytest.raises(ConfigError, match="exists"):
        build_index(run, photos, index, progress=False)
    build_index(run, photos, index, overwrite=True, progress=False)
    with pytest.raises(ConfigError, match="no embeddings folder"):
        build_index(run, None, tmp_path / "x.index")
