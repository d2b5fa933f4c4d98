"""The gallery shows every query with its hits, whatever their names."""

from __future__ import annotations

import base64
import io
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.retrieval.artifact import Hit
from sslkit.retrieval.filters import Where
from sslkit.retrieval.gallery import Query, item_lines, item_name, told_where, write_gallery

RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)
NASTY = "<script>alert('x')</script> \"q\" & \n'\udcff ' onerror=alert(1)"


def drawn(tmp_path: Path, *queries: Query) -> str:
    write_gallery(tmp_path / "g.html", queries, lambda hit: RED, title="Search", classes=["cat"])
    return (tmp_path / "g.html").read_text("utf-8")


def first_image(html: str) -> np.ndarray:
    found = re.search(r'src="data:image/\w+;base64,([^"]+)"', html)
    assert found
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGB"))


def test_a_gallery_holds_pictures_similarities_names_and_classes(tmp_path: Path) -> None:
    hits = [
        Hit(1, '<i>"one"</i>\n.png', 1, similarity=0.98765),
        Hit(2, "two.png", None, similarity=-0.25),
        Hit(3, "three", 9, similarity=0.5),
    ]
    asked: list[int] = []

    def picture_of(hit: Hit) -> np.ndarray | None:
        asked.append(hit.id)
        return None if hit.id == 2 else RED

    queries = [Query("first & only", RED, hits)]
    write_gallery(tmp_path / "g.html", queries, picture_of, title="Search", classes=["cat", "dog"])
    html = (tmp_path / "g.html").read_text("utf-8")
    assert asked == [1, 2, 3]
    assert html.count("<img") == 3  # the query and two hits
    assert html.count("no picture") == 1
    for shown in ("first &amp; only", "&lt;i&gt;&quot;one&quot;", "0.988", "-0.250", "dog", "class 9"):
        assert shown in html
    assert "<i>" not in html


def test_no_name_or_metadata_becomes_part_of_the_page(tmp_path: Path) -> None:
    hit = Hit(1, NASTY, 0, source=NASTY, metadata={NASTY: NASTY}, similarity=1.0)
    plain = drawn(tmp_path, Query("a", RED, [Hit(1, "a", 0, metadata={"a": "a"}, similarity=1.0)], note="a"))
    nasty = drawn(tmp_path, Query(NASTY, RED, [hit], note=NASTY))
    assert "&lt;script&gt;" in nasty
    assert re.findall(r"</?\w+", nasty) == re.findall(r"</?\w+", plain)
    assert "onerror" not in "".join(re.findall(r"<[^>]*>", nasty))


def test_an_item_is_told_line_by_line() -> None:
    metadata = {"who": "O'Hara", "year": 2011, "long": "x" * 200}
    hit = Hit(1, "walk/a.avi @ 12.5 s", 0, 12.5, 13.0, metadata=metadata, similarity=1.0)
    assert item_lines(hit, ["walk"]) == [
        "walk/a.avi",
        "12.5-13.0 s",
        "walk",
        "who: O'Hara",
        "year: 2011",
        "long: " + "x" * 77 + "...",
    ]
    many = Hit(1, "a.jpg", None, metadata={str(key): key for key in range(20)})
    assert item_lines(many, [])[-2:] == ["7: 7", "..."]
    assert item_name(Hit(1, "a @ 1 s", None)) == "a @ 1 s"  # the name of a still


def test_a_condition_is_told_in_a_line() -> None:
    assert told_where(Where(" year > 2000 ", "cat", "*/a*", (3.0, 5.0))) == (
        "class cat, path */a*, time 3.0-5.0 s, year > 2000"
    )
    assert told_where(Where(time=(3.0, math.inf))) == "time from 3.0 s"


def test_a_query_without_neighbours_says_so(tmp_path: Path) -> None:
    assert "Nothing was found" in drawn(tmp_path, Query("a", RED, []))


def test_a_vector_has_no_tile_of_its_own(tmp_path: Path) -> None:
    hits = [Hit(1, "one", None, similarity=1.0)]
    assert drawn(tmp_path, Query("vector 0", None, hits)).count('<div class="frame">') == 1
    html = drawn(tmp_path, Query("lost.jpg", None, hits, note="id 7"))  # an item whose file is gone
    assert html.count('<div class="frame">') == 2
    assert html.count("no picture") == 1


def test_the_box_is_framed_and_the_rest_is_dim(tmp_path: Path) -> None:
    grey = np.full((80, 80, 3), 200, np.uint8)  # kept exactly in the page
    shown = first_image(drawn(tmp_path, Query("a", grey, [], (0.25, 0.5, 0.25, 0.25))))
    assert (shown[40:60, 20:40] == 200).all()
    assert (shown[39, 19:41] == 255).all()  # the white line, right outside of the part
    assert (shown[60, 19:41] == 255).all()
    assert (shown[38, 18:42] == 0).all()  # a black one around it
    assert (shown[:37] == 100).all()
    assert (grey == 200).all()  # the picture that was given is left alone


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 1.0, 1.0), (0.999, 0.999, 0.001, 0.001), (0.0, 0.0, 0.001, 0.001)]
)
def test_a_box_at_any_edge_can_be_drawn(tmp_path: Path, box: tuple[float, float, float, float]) -> None:
    assert first_image(drawn(tmp_path, Query("a", RED, [], box))).shape == RED.shape


FRAMES = """<!doctype html><body><script>
addEventListener("message", event => { document.title += event.data + "; "; });
</script>{frames}</body>"""
SEND = """<script>addEventListener("load", () => {
  const own = document.documentElement;
  const wide = [...document.querySelectorAll("h1,h2,p,figure,figcaption,img,meter")]
    .filter(one => one.getBoundingClientRect().right > own.clientWidth + 0.5);
  parent.postMessage(`${innerWidth}: ${own.scrollWidth - own.clientWidth} + ${wide.length}`, "*");
});</script></body>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here to show the page")
def test_a_browser_shows_the_page_without_scrolling_sideways(tmp_path: Path) -> None:
    metadata = {"a_key_without_any_place_to_break_it_in_two": "x" * 200, "tags": ["a", NASTY]}
    hits = [Hit(1, "deep/" * 20 + "x" * 60 + ".jpg", 0, 1.0, 2.0, metadata=metadata, similarity=0.5)] * 3
    html = drawn(tmp_path, Query("/long" * 60, RED, hits, (0.1, 0.1, 0.5, 0.5), NASTY))
    source = html.replace("</body>", SEND).replace("&", "&amp;").replace('"', "&quot;")
    frames = "".join(
        f'<iframe style="width:{width}px;height:800px;border:0" srcdoc="{source}"></iframe>'
        for width in (380, 1280)
    )
    (tmp_path / "framed.html").write_text(FRAMES.replace("{frames}", frames), "utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]
    address = (tmp_path / "framed.html").as_uri()
    shown = subprocess.run(
        ["chromium", *options, address], capture_output=True, text=True, timeout=120, check=True
    )
    told = shown.stdout[shown.stdout.index("<title>") : shown.stdout.index("</title>")]
    assert "380: 0 + 0;" in told
    assert "1280: 0 + 0;" in told
    assert ":CONSOLE" not in shown.stderr  # no script of a name was run, and nothing was missed
