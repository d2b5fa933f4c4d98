"""The gallery shows every query with its hits, whatever their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sslkit.retrieval.artifact import Hit
from sslkit.retrieval.gallery import Query, write_gallery

RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)


def test_a_gallery_holds_pictures_similarities_names_and_classes(tmp_path: Path) -> None:
    hits = [Hit(1, '<i>"one"</i>\n.png', 1, 0.98765), Hit(2, "two.png", None, -0.25), Hit(3, "three", 9, 0.5)]
    queries = [Query("first & only", RED, hits)]
    asked: list[int] = []

    def picture_of(hit: Hit) -> np.ndarray | None:
        asked.append(hit.id)
        return None if hit.id == 2 else RED

    write_gallery(tmp_path / "g.html", queries, picture_of, title="Search", classes=["cat", "dog"])
    html = (tmp_path / "g.html").read_text("utf-8")
    assert asked == [1, 2, 3]
    assert html.count("<img") == 3  # the query and two hits
    assert html.count("no picture") == 1
    for shown in ("first &amp; only", "&lt;i&gt;&quot;one&quot;", "0.988", "-0.250", "dog", "class 9"):
        assert shown in html
    assert "<i>" not in html
