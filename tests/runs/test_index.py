"""An index made, grown and kept in order, end to end."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sslkit.cli.app import app
from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours.picker import Wanted
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import read_embeddings
from sslkit.retrieval.filters import Where
from sslkit.runs.embed import embed
from sslkit.runs.index import (
    add_to_index,
    build_index,
    compact_index,
    index_info,
    remove_from_index,
    verify_index,
)
from sslkit.runs.pretrain import pretrain
from tests.conftest import TINY


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("index")
    paint(place / "photos", range(20))
    return pretrain(place / "photos", out=place / "run", overrides=[*TINY, "batch.size=10"], progress=False)


@pytest.fixture
def index(tmp_path, run, photos):
    return build_index(run, photos, tmp_path / "photos.index", progress=False)


def paint(folder, numbers):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        waves = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(waves.repeat(8, 0).repeat(8, 1)).save(folder / f"{number:02d}.png")


def names(index):
    with Index.load(index) as opened:
        return {item.name: item.id for item in opened.items(opened.ids())}


def test_a_model_and_its_photos_become_an_index_and_nothing_else(tmp_path, index, photos) -> None:
    with Index.load(index) as opened:
        assert len(opened) == 20
        assert opened.classes == ("left", "right")
        assert opened.items([0])[0].source == str(photos)
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "photos.index"}


def test_embeddings_can_be_indexed_later_by_another_structure(tmp_path, run, photos, index) -> None:
    kept = embed(run, photos, tmp_path / "photos.emb", progress=False)
    later = build_index(kept, None, tmp_path / "later.index", wanted=Wanted("hnsw"), progress=False)
    assert index_info(later)["wanted"]["kind"] == "hnsw"
    with Index.load(later) as one, Index.load(index) as other:
        np.testing.assert_array_equal(one.vectors(range(20)), other.vectors(range(20)))
    assert kept.is_dir()


def test_a_build_that_was_stopped_after_embedding_does_not_embed_again(
    tmp_path, run, photos, monkeypatch
) -> None:
    monkeypatch.setattr(Index, "build", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_index(run, photos, tmp_path / "stopped", progress=False)
    monkeypatch.undo()
    monkeypatch.setattr("sslkit.runs.embedder.stream", lambda *_, **__: 1 / 0)
    build_index(run, photos, tmp_path / "stopped", progress=False)
    assert verify_index(tmp_path / "stopped") == 20
    assert not list(tmp_path.glob("*.embeddings"))


def test_what_was_kept_of_other_photos_is_not_indexed(tmp_path, run, photos, monkeypatch) -> None:
    monkeypatch.setattr(Index, "build", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_index(run, photos, tmp_path / "stopped", progress=False)
    monkeypatch.undo()
    (photos / "left" / "00.jpg").unlink()
    build_index(run, photos, tmp_path / "stopped", progress=False)
    assert "left/00.jpg" not in names(tmp_path / "stopped")


def test_a_grown_folder_is_added_without_embedding_all(tmp_path, index, photos, monkeypatch) -> None:
    before = names(index)
    paint(photos / "left", [90, 91])
    with pytest.raises(ArtifactError, match="already"):
        add_to_index(index, photos, progress=False)
    from sslkit.runs import embedder

    embedded = []
    stream = embedder.stream
    monkeypatch.setattr(
        "sslkit.runs.embedder.stream",
        lambda backbone, batches, *rest, **options: stream(
            backbone, (embedded.append(len(batch)) or batch for batch in batches), *rest, **options
        ),
    )
    ids = add_to_index(index, photos, new=True, progress=False)
    assert sum(embedded) == 2
    after = names(index)
    assert {name: after[name] for name in before} == before
    assert sorted(after[name] for name in ("left/90.png", "left/91.png")) == ids.tolist()
    with Index.load(index) as opened:
        (added,) = opened.items([after["left/91.png"]])
    from sslkit.registry import open_source

    assert open_source(str(photos))[added.sample].name == "left/91.png"
    assert len(add_to_index(index, photos, new=True, progress=False)) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "photos.index"}


def test_changed_photos_are_updated_under_their_ids(index, photos) -> None:
    before = names(index)
    with Index.load(index) as opened:
        old = opened.vectors([before["left/02.jpg"]])
    Image.fromarray(np.full((48, 64, 3), 200, np.uint8)).save(photos / "left" / "02.jpg")
    add_to_index(index, photos, update=True, progress=False)
    assert names(index) == before
    with Index.load(index) as opened:
        assert not np.allclose(opened.vectors([before["left/02.jpg"]]), old)
    with pytest.raises(ConfigError, match="exclude"):
        add_to_index(index, photos, update=True, new=True, progress=False)


def test_another_model_is_refused_before_it_embeds(tmp_path, index, monkeypatch) -> None:
    paint(tmp_path / "more", range(2))
    monkeypatch.setattr("sslkit.runs.index.embed", lambda *_, **__: 1 / 0)
    with pytest.raises(ArtifactError, match="two models"):
        add_to_index(index, tmp_path / "more", model="random:resnet10t", progress=False)


def test_another_folder_gets_ids_of_its_own(tmp_path, index) -> None:
    paint(tmp_path / "more" / "left", range(3))
    paint(tmp_path / "more" / "up", range(2))
    assert add_to_index(index, tmp_path / "more", progress=False).tolist() == [20, 21, 22, 23, 24]
    with Index.load(index) as opened:
        assert opened.classes == ("left", "right", "up")
        assert [item.label for item in opened.items([20, 24])] == [0, 2]
    assert index_info(index)["sources"] == [str(tmp_path / "photos"), str(tmp_path / "more")]


def test_an_embeddings_folder_can_be_added(tmp_path, run, index) -> None:
    paint(tmp_path / "more", range(3))
    kept = embed(run, tmp_path / "more", tmp_path / "more.emb", progress=False)
    assert add_to_index(index, kept).tolist() == [20, 21, 22]
    assert add_to_index(index, kept, new=True).tolist() == []
    assert len(read_embeddings(kept)) == 3


def test_items_are_removed_by_id_and_condition(index) -> None:
    where = Where(label="left")
    assert len(remove_from_index(index, where=where, dry_run=True)) == 10
    assert verify_index(index) == 20
    assert remove_from_index(index, [10], where=where).tolist() == [*range(10), 10]
    assert verify_index(index) == 9
    assert remove_from_index(index, where=where).tolist() == []
    with pytest.raises(ArtifactError, match="no item 0"):
        remove_from_index(index, [0, 15])
    with pytest.raises(ConfigError, match="nothing to remove"):
        remove_from_index(index)
    assert verify_index(index) == 9


def test_metadata_come_from_a_table(tmp_path, run, photos) -> None:
    (tmp_path / "table.csv").write_text('name,year,who\nleft/00.jpg,2011,"O\'Hara"\nright/01.jpg,1999,Ann\n')
    built = build_index(run, photos, tmp_path / "i", metadata=tmp_path / "table.csv", progress=False)
    with Index.load(built) as opened:
        assert [item.name for item in opened.items(opened.select(Where("year > 2000")))] == ["left/00.jpg"]
        assert opened.select(Where("who = 'Ann'")).tolist() == [10]
    assert index_info(built)["metadata"] == ["who", "year"]


def test_a_table_of_other_data_is_refused(tmp_path, run, photos) -> None:
    (tmp_path / "table.csv").write_text("name,year\n/home/me/left/00.jpg,2011\n")
    with pytest.raises(ConfigError, match=r"names no sample.*left/00\.jpg"):
        build_index(run, photos, tmp_path / "i", metadata=tmp_path / "table.csv", progress=False)
    assert not (tmp_path / "i").exists()


def test_vectors_bring_their_items_and_metadata(tmp_path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((3, 4)))
    (tmp_path / "items.csv").write_text("id,name,label,year\n7,a,cat,2011\n9,b,,1999\n8,c,dog,\n")
    built = build_index(
        tmp_path / "v.npy", None, tmp_path / "i", items=tmp_path / "items.csv", model_hash="m", progress=False
    )
    with Index.load(built) as opened:
        assert [(item.id, item.name) for item in opened.items(opened.ids())] == [(7, "a"), (8, "c"), (9, "b")]
        assert opened.select(Where("year < 2000")).tolist() == [9]
        assert opened.select(Where(label="dog")).tolist() == [8]
        assert opened.model_hash == "m"
    (tmp_path / "bare.csv").write_text("id\n1\n2\n3\n")
    built = build_index(tmp_path / "v.npy", None, tmp_path / "j", items=tmp_path / "bare.csv", progress=False)
    with Index.load(built) as opened:
        assert opened.ids().tolist() == [1, 2, 3]


def test_compacting_leaves_one_segment_and_the_same_answers(index) -> None:
    remove_from_index(index, [3, 4])
    compact_index(index, wanted=Wanted(recall=0.9), progress=False)
    told = index_info(index)
    assert [segment["count"] for segment in told["segments"]] == [18]
    assert told["wanted"]["recall"] == 0.9
    assert verify_index(index) == 18


def test_an_existing_folder_is_kept_unless_told(tmp_path, index, run, photos) -> None:
    with pytest.raises(ConfigError, match="exists"):
        build_index(run, photos, index, progress=False)
    build_index(run, photos, index, overwrite=True, progress=False)
    with pytest.raises(ConfigError, match="no embeddings folder"):
        build_index(run, None, tmp_path / "x.index")


def test_the_command_line_tells_all_of_it(tmp_path, run, photos) -> None:
    def told(*arguments: object, code: int = 0) -> str:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert done.exit_code == code, done.output
        return done.stdout

    built = tmp_path / "i"
    plot = tmp_path / "curve.png"
    assert told("index", "build", run, photos, "--out", built, "--plot", plot).endswith(f"{built}\n")
    assert Image.open(plot).size[0] > 300
    shown = told("index", "info", built)
    assert "recall@10" in shown
    assert "20 in Flat" in shown
    assert json.loads(told("index", "info", built, "--json"))["generation"] == 1
    paint(photos / "left", [77])
    assert json.loads(told("index", "add", built, photos, "--new", "--json"))["ids"] == [20]
    assert "10 items would be removed" in told("index", "remove", built, "--label", "right", "--dry-run")
    assert json.loads(told("index", "remove", built, "20", "--json"))["removed"] == 1
    assert told("index", "compact", built, "--recall", "0.9", "--memory", "1GiB")
    assert index_info(built)["wanted"] | {"kind": "auto"} == {
        "kind": "auto", "recall": 0.9, "k": 10, "memory": 2**30, "latency": None
    }  # fmt: skip
    assert told("index", "verify", built) == f"{built} is sound: 20 items\n"


@pytest.mark.parametrize("size", ["many", "5XB", "", "1e999"])
def test_a_size_that_is_none_is_refused(size) -> None:
    from sslkit.cli.index import _bytes

    with pytest.raises(ConfigError, match="500MB"):
        _bytes(size)
    assert [_bytes(text) for text in ("500MB", "2GiB", "1.5kB", "7")] == [500_000_000, 2**31, 1500, 7]
