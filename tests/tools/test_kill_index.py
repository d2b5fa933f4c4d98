"""An index whose writer is killed loses nothing and mixes nothing up; the tool that shows it can fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sslkit.errors import ArtifactError
from sslkit.retrieval.artifact import Index
from tools.kill_index import check, kill_often, made, metadata_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def test_nothing_is_lost_in_twenty_kills(tmp_path: Path) -> None:
    counted = kill_often(tmp_path / "index", 20, seed=1, longest=0.15)
    assert counted["kills"] == 20
    assert counted["undone"] + counted["made"] + counted["nothing open"] == 20


def test_what_the_check_looks_for_is_found(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    held = {id: (name, 0) for id, name in enumerate(names)}
    Index.build(made(names, 0), tmp_path / "good", metadata=metadata_of(names, 0)).close()
    assert check(tmp_path / "good", dict(held), None) == (held, "nothing open")
    with pytest.raises(AssertionError, match="3 items, 4 were acknowledged"):
        check(tmp_path / "good", {**held, 3: ("d", 1)}, None)
    half = {"begun": "add", "serial": 5, "names": ["b", "c"]}
    with pytest.raises(AssertionError, match="half made"):
        check(tmp_path / "good", {0: held[0], 1: held[1]}, half)
    with pytest.raises(AssertionError, match="1 of 2 items"):
        check(tmp_path / "good", {0: held[0], 1: held[1]}, {**half, "names": ["c", "d"]})
    Index.build(made(["b", "a", "c"], 0), tmp_path / "mixed", metadata=metadata_of(names, 0)).close()
    for file in ("vectors-1.faiss",):
        (tmp_path / "good" / file).write_bytes((tmp_path / "mixed" / file).read_bytes())
    with pytest.raises(ArtifactError, match=r"vectors-1.faiss is not the file"):
        check(tmp_path / "good", dict(held), None)
