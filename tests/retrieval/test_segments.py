"""A segment is described, written whole, and refused when its files are others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sslkit.errors import ArtifactError
from sslkit.neighbours.structure import Effort
from sslkit.retrieval.segments import Described, FilePrint, Segment, write_segment
from tests.retrieval.named_vectors import unit_of

IDS = np.array([2, 3, 5, 8, 13])
UNIT = np.stack([unit_of(str(id)) for id in IDS]).astype(np.float32)


def written(folder: Path) -> Described:
    parts = iter([(IDS[:2], UNIT[:2]), (IDS[2:], UNIT[2:])])
    return write_segment(folder, 4, parts, UNIT.shape[1])[0]


def test_rows_have_their_ids_and_vectors_to_the_bit(tmp_path: Path) -> None:
    segment = Segment(tmp_path, written(tmp_path))
    assert len(segment) == 5
    assert segment.ids.tolist() == IDS.tolist()
    assert np.array_equal(segment.vectors.view(), UNIT)
    assert np.array_equal(np.load(tmp_path / "ids-4.npy"), IDS)  # as anyone can read it
    rows, similarities = segment.search(UNIT, 9, allowed=None, exact=False)
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(similarities[:, 0], 1, atol=1e-6)
    segment.verify()


def test_a_description_comes_back_and_a_wrong_one_is_refused() -> None:
    files = {"vectors-1.faiss": FilePrint(3, "ab")}
    for effort in (None, Effort(probes=4, candidates=2)):
        described = Described(1, 2, 3, files, "IVF4,SQ8", effort)
        assert Described.from_json(json.dumps(described.to_dict())) == described
    for wrong in ("", "[]", "{}", "3", '{"files": {"x": 3}}', '{"files": {}, "effort": {"x": 1}}'):
        with pytest.raises(ArtifactError, match="not described"):
            Described.from_json(wrong)


def test_ids_that_changed_are_refused_when_they_are_first_used(tmp_path: Path) -> None:
    described = written(tmp_path)
    whole = (tmp_path / "ids-4.npy").read_bytes()
    (tmp_path / "ids-4.npy").write_bytes(whole[:-8] + (14).to_bytes(8, "little"))
    segment = Segment(tmp_path, described)
    for _ in range(2):
        with pytest.raises(ArtifactError, match=r"ids-4.npy is not the file that was written"):
            _ = segment.ids


def test_a_segment_outlives_its_files(tmp_path: Path) -> None:
    segment = Segment(tmp_path, written(tmp_path))
    for file in tmp_path.iterdir():
        file.unlink()
    assert segment.ids.tolist() == IDS.tolist()
    assert np.array_equal(segment.vectors.rows(np.arange(5)), UNIT)
    with pytest.raises(ArtifactError, match="is missing"):
        segment.verify()
