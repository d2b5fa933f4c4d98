"""Parts of an embedding: kept in order, each batch once, never those of another model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslkit.contracts import Features, Skipped
from sslkit.errors import ArtifactError, ConfigError
from sslkit.retrieval import embedding_parts
from sslkit.retrieval.embed import Dtype
from sslkit.retrieval.embedding_parts import EmbeddingParts, PartWriter

BATCH = 4


def parts(folder: Path, *, batches: int = 6, dtype: Dtype = "float32", **described: Any) -> EmbeddingParts:
    made = EmbeddingParts(
        folder / "photos.emb", {"model_hash": "abc", **described}, batches=batches, dtype=dtype
    )
    made.make_folder()
    return made


def batch(number: int, *, broken: tuple[int, ...] = ()) -> Features:
    """Samples 4 n .. 4 n + 3, those that are broken left out."""
    ids = torch.tensor([id for id in range(number * BATCH, (number + 1) * BATCH) if id not in broken])
    skipped = tuple(Skipped(id, f"undecodable \udce9 {id}.png", "cut short") for id in broken)
    values = torch.sin(ids[:, None] * 1.7 + torch.arange(3))
    return Features(ids, values, ids % 3 - 1, skipped)


def read(kept: EmbeddingParts) -> tuple[list[int], np.ndarray]:
    rows = list(kept.rows())
    return [id for part in rows for id in part.ids.tolist()], np.concatenate(
        [part.embeddings for part in rows]
    )


def test_parts_come_back_in_the_order_of_their_batches_whoever_wrote_them_when(tmp_path: Path) -> None:
    kept = parts(tmp_path)
    kept.begin()
    kept.write(3, [batch(3), batch(4), batch(5)])
    kept.write(0, [batch(0), batch(1, broken=(5, 6))])
    assert kept.missing().tolist() == [2]
    kept.write(2, [batch(2)])
    assert kept.missing().tolist() == []
    ids, vectors = read(kept)
    assert ids == [id for id in range(24) if id not in (5, 6)]
    np.testing.assert_array_equal(vectors, torch.sin(torch.tensor(ids)[:, None] * 1.7 + torch.arange(3)))
    assert [label for part in kept.rows() for label in part.labels] == [id % 3 - 1 for id in ids]
    skipped = [skip for part in kept.rows() for skip in part.skipped]
    assert skipped == list(batch(1, broken=(5, 6)).skipped)


def test_what_nothing_could_be_decoded_of_is_done_too(tmp_path: Path) -> None:
    kept = parts(tmp_path, batches=1)
    kept.begin()
    kept.write(0, [batch(0, broken=(0, 1, 2, 3))])
    assert kept.missing().tolist() == []
    (rows,) = kept.rows()
    assert len(rows.ids) == 0
    assert len(rows.skipped) == 4


def test_a_batch_done_twice_counts_once(tmp_path: Path) -> None:
    kept = parts(tmp_path)
    kept.begin()
    kept.write(0, [batch(0), batch(1), batch(2)])
    kept.write(2, [batch(2), batch(3)])
    assert kept.missing().tolist() == [3, 4, 5]
    kept.write(3, [batch(3), batch(4), batch(5)])
    assert read(kept)[0] == list(range(24))


def test_the_same_description_goes_on_and_another_is_refused_with_the_difference(tmp_path: Path) -> None:
    first = parts(tmp_path, preprocessing={"mean": (0.1, 0.2)}, clips=None)
    first.begin()
    first.write(0, [batch(0)])
    again = parts(tmp_path, preprocessing={"mean": [0.1, 0.2]}, clips=None)
    again.begin()
    assert again.missing().tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(ConfigError, match="model_hash is abc there and def here"):
        parts(tmp_path, model_hash="def").begin()
    others: list[dict[str, Any]] = [{"dtype": "float16"}, {"batches": 7}, {"preprocessing": {}}]
    for changed in others:
        with pytest.raises(ConfigError, match=f"{next(iter(changed))} is .* there and .* here"):
            parts(tmp_path, **{"preprocessing": {"mean": (0.1, 0.2)}, "clips": None, **changed}).begin()
    assert len(first.kept()) == 1


def test_starting_anew_removes_its_own_files_and_no_other(tmp_path: Path) -> None:
    first = parts(tmp_path)
    first.begin()
    first.write(0, [batch(0)])
    (first.folder / ".000000001-000000002.npz.0123abcd.tmp").write_bytes(b"torn")
    strange = [first.folder / name for name in ("notes.txt", "a-b.npz", "7.npz")]
    for path in strange:
        path.write_text("mine")
    other = parts(tmp_path, model_hash="def")
    other.begin(anew=True)
    assert other.missing().tolist() == list(range(6))
    assert sorted(other.folder.iterdir()) == sorted([*strange, other.folder / "parts.json"])
    other.remove()
    assert sorted(other.folder.iterdir()) == sorted(strange)


@pytest.mark.parametrize("found", [None, "{", "[1]"])
def test_parts_that_nothing_describes_are_not_used(tmp_path: Path, found: str | None) -> None:
    kept = parts(tmp_path)
    kept.begin()
    kept.write(0, [batch(0)])
    description = kept.folder / "parts.json"
    description.unlink() if found is None else description.write_text(found)
    with pytest.raises(ConfigError, match="missing or damaged"):
        parts(tmp_path).begin()
    parts(tmp_path).begin(anew=True)
    assert kept.kept() == []


def test_a_torn_part_is_made_again_and_a_damaged_one_too(tmp_path: Path) -> None:
    kept = parts(tmp_path)
    kept.begin()
    kept.write(0, [batch(0), batch(1)])
    kept.write(2, [batch(2), batch(3)])
    torn, damaged = (part.path for part in kept.kept())
    torn.write_bytes(torn.read_bytes()[:-30])
    assert kept.missing().tolist() == [0, 1, 4, 5]
    content = bytearray(damaged.read_bytes())
    content[content.index(batch(2).embeddings.numpy().tobytes()) + 5] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ArtifactError, match="the same command embeds its samples again"):
        list(kept.rows())
    assert kept.missing().tolist() == list(range(6))


def test_what_float16_cannot_hold_is_refused_with_its_ids(tmp_path: Path) -> None:
    kept = parts(tmp_path, dtype="float16")
    kept.begin()
    large = batch(1)
    large.embeddings[2, 1] = 1e6
    with pytest.raises(ArtifactError, match="not finite as float16: ids 6; write float32"):
        kept.write(1, [large])
    assert not any(path.suffix == ".tmp" for path in kept.folder.iterdir())
    kept.write(0, [batch(0)])
    assert read(kept)[1].dtype == np.float16


def test_the_writer_cuts_parts_where_batches_do_not_follow_each_other(tmp_path: Path) -> None:
    kept = parts(tmp_path, batches=9)
    kept.begin()
    with PartWriter(kept) as writer:
        for number in (0, 1, 4, 5, 8):
            writer.add(number, batch(number))
    assert [(part.first, part.stop) for part in kept.kept()] == [(0, 2), (4, 6), (8, 9)]
    assert kept.missing().tolist() == [2, 3, 6, 7]


@pytest.mark.parametrize(("limit", "value"), [("_SECONDS", 0.0), ("_BYTES", 60)])
def test_parts_end_after_a_time_or_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(embedding_parts, limit, value)
    kept = parts(tmp_path)
    kept.begin()
    with PartWriter(kept) as writer:
        for number in range(6):
            writer.add(number, batch(number))
    ends = [part.stop for part in kept.kept()]
    assert ends == ([1, 2, 3, 4, 5, 6] if limit == "_SECONDS" else [2, 4, 6])


def test_the_writer_keeps_what_was_done_before_an_error_and_tells_its_own(tmp_path: Path) -> None:
    kept = parts(tmp_path, dtype="float16")
    kept.begin()

    def breaking() -> None:
        with PartWriter(kept) as writer:
            writer.add(0, batch(0))
            raise RuntimeError("the network broke")

    with pytest.raises(RuntimeError, match="the network broke"):
        breaking()
    assert kept.missing().tolist() == [1, 2, 3, 4, 5]
    large = batch(1)
    large.embeddings[0] = 1e6
    with pytest.raises(ArtifactError, match="not finite"), PartWriter(kept) as writer:
        writer.add(1, large)


def test_what_a_kill_left_of_the_target_is_removed_with_the_parts(tmp_path: Path) -> None:
    torn = tmp_path / ".photos.emb.0123abcd.tmp"
    old = tmp_path / ".photos.emb.0123abcd.old"
    mine = tmp_path / ".photos.emb.89abcdef.tmp"
    neighbour = tmp_path / ".other.emb.0123abcd.tmp"
    for folder in (torn, old, mine, neighbour):
        folder.mkdir()
        (folder / "items.csv").write_text("id")
    (mine / "notes.txt").write_text("mine")
    kept = parts(tmp_path)
    kept.begin()
    assert not torn.exists()
    assert old.exists()  # the only whole set until the new one is there
    kept.remove()
    assert sorted(tmp_path.iterdir()) == sorted([mine, neighbour])


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match="choose another folder"):
        parts(tmp_path / "file")


def test_the_description_is_plain_json(tmp_path: Path) -> None:
    kept = parts(tmp_path, preprocessing={"size": 32})
    kept.begin()
    found = json.loads((kept.folder / "parts.json").read_text())
    assert (found["model_hash"], found["batches"], found["dtype"]) == ("abc", 6, "float32")
