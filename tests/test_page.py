"""The page stands alone, escapes what it is given, and replaces an old one in one step."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import ConfigError, DataError
from sslkit.page import Cell, Interval, Noted, Page, Tile
from sslkit.plots import bar_plot

NASTY = "<script>alert('x')</script> \"q\" & \u2028 図 \udce9\nnext"


class Tags(HTMLParser):
    """Collects what a browser would see: tags, their attributes and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def full(text: str) -> Page:
    image = np.zeros((10, 20, 3), np.uint8)
    page = Page(text, text).heading(text).text(text).code(text).facts({text: text})
    page.table([text, "n"], [[text, 1]]).figure(
        bar_plot({text.replace("\udce9", ""): 0.5}, x_label="x"), text
    )
    page.points([text]).warning(text).intervals([Interval(text, 1.0, -1.0, 2.0, text, text)], text, text)
    with page.fold(text):
        page.table([text], [[Noted(text, text)]])
    page.figures([(bar_plot({"a": 0.5}, x_label="x"), text)]).pictures([(image, text)], most_bytes=9999)
    return page.images([Tile(image, text, text, 0.5, True), Tile(None, text)], text)


def test_tags_are_balanced_and_text_is_only_text() -> None:
    seen = Tags(full(NASTY).html())
    assert seen.open == []
    assert not [tag for tag, _ in seen.tags if tag == "script"]
    assert seen.text.count("<script>alert('x')</script> \"q\" &") >= 20


def test_nothing_is_fetched_from_anywhere() -> None:
    html = full("plain").html()
    for tag, attributes in Tags(html).tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name in ("src", "href", "xlink:href", "action"):
            value = attributes.get(name) or "data:"
            assert value.startswith(("data:", "#")), (tag, name, value[:60])
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_a_page_can_be_read_in_the_dark_and_on_a_phone() -> None:
    html = full("plain").html()
    assert "prefers-color-scheme: dark" in html
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in Tags(html).tags


def test_figures_take_the_ink_of_the_page_and_repeat_exactly() -> None:
    html = [Page("p").figure(bar_plot({"a": 1.0}, x_label="x")).html() for _ in range(2)]
    assert html[0] == html[1]
    assert "currentColor" in html[0].partition("<svg")[2]
    assert "#000000" not in html[0]


def picture(html: str) -> Image.Image:
    found = re.search(r'src="data:image/\w+;base64,([^"]+)"', html)
    assert found
    return Image.open(io.BytesIO(base64.b64decode(found[1])))


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3)])
def test_a_small_picture_is_kept_exactly(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    shown = np.asarray(picture(Page("p").images([Tile(image)]).html()))
    np.testing.assert_array_equal(shown, image[..., 0] if shape[-1] == 1 else image)


def test_a_large_picture_is_shrunk_in_its_proportions() -> None:
    shown = picture(Page("p").images([Tile(np.zeros((1000, 2000, 3), np.uint8))]).html())
    assert shown.size == (480, 240)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(image: np.ndarray) -> None:
    with pytest.raises(DataError, match="a picture"):
        Page("p").images([Tile(image)])


def test_columns_of_numbers_are_set_right() -> None:
    rows: list[list[Cell]] = [["one", 0.5, 12345, None], ["two", 123.456, 7, 0.00001]]
    html = Page("p").table(["name", "share", "count", "rate"], rows).html()
    assert html.count("<th class=number>") == 3
    assert re.findall(r"<td class=number>([^<]+)<", html) == ["0.500", "12,345", "–", "123.5", "7", "1e-05"]  # noqa: RUF001


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(DataError, match="1 cells under 2 headings"):
        Page("p").table(["a", "b"], [["only one"]])


def test_a_noted_number_is_still_a_number_and_its_note_keeps_its_lines() -> None:
    html = Page("p").table(["a", "b"], [[Noted(0.5, "one\ntwo"), Noted("x", "")], [1.5, "y"]]).html()
    assert "<td class=number>0.500<small>one\ntwo</small></td>" in html
    assert "<td>x</td>" in html


def test_what_is_folded_is_closed_even_when_it_fails() -> None:
    page = Page("p")
    with pytest.raises(ZeroDivisionError), page.fold("more"):
        page.text(str(1 / 0))
    assert Tags(page.text("after").html()).open == []


def test_no_sentences_are_no_list() -> None:
    assert "<ul>" not in Page("p").points([]).html()


def drawn(*rows: Interval) -> list[dict[str, float]]:
    """Of each row the per cents of its point and reach, and of the zero, as a browser would place them."""
    found = []
    for line in re.findall(r"<tr><th scope.*?</tr>", Page("p").intervals(rows, "%").html()):
        places = {}
        for kind, style in re.findall(r'<i class="(zero|reach|dot)" style="([^"]*)"', line):
            for name, value in re.findall(r"(left|width):(-?[\d.]+)%", style):
                places[f"{kind} {name}"] = float(value)
        found.append(places)
    return found


def test_points_and_reaches_lie_where_their_values_are() -> None:
    rows = [
        Interval("a", 10.0, -10.0, 30.0),
        Interval("b", -20.0, -30.0, -10.0),
        Interval("c", 0.0, 0.0, 0.0),
    ]
    first, second, third = drawn(*rows)
    per_unit = (first["dot left"] - first["zero left"]) / 10
    assert per_unit > 0
    for row, places in zip(rows, (first, second, third), strict=True):
        assert row.low is not None
        assert row.mean is not None
        assert row.high is not None
        zero = places["zero left"]
        assert places["dot left"] == pytest.approx(zero + per_unit * row.mean, abs=0.02)
        assert places["reach left"] == pytest.approx(zero + per_unit * row.low, abs=0.02)
        assert places["reach width"] == pytest.approx(per_unit * (row.high - row.low), abs=0.02)


def test_a_wild_row_is_cut_and_the_others_stay_readable() -> None:
    tame = [Interval(str(n), 1.0, 0.5, 1.5) for n in range(3)]
    wild = Interval("wild", 900.0, -1000.0, 1900.0)
    places = drawn(*tame, wild)
    assert places[0]["reach width"] > 5
    assert "dot left" not in places[-1]  # it lies outside, and is not shown at a place where it is not
    assert places[-1]["reach left"] == 0
    assert places[-1]["reach width"] == 100
    html = Page("p").intervals([*tame, wild], "%").html()
    assert html.count('class="cut left"') == html.count('class="cut right"') == 1


def test_rows_without_a_figure_are_named_and_not_drawn() -> None:
    assert drawn(Interval("a", None, None, None, "failed")) == [{"zero left": 50.0}]
    assert drawn() == []


def test_a_large_picture_is_shrunk_to_its_bytes_and_no_further_than_240_pixels() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 600, 3), np.uint8)
    for most, sides in ((10**7, (600, 700)), (100_000, None), (10, None)):
        html = Page("p").pictures([(noise, "noise")], most_bytes=most).html()
        uri = re.search(r'src="([^"]+)"', html)
        assert uri
        width, height = picture(html).size
        assert sides is None or (width, height) == sides
        assert max(width, height) == 240 if most == 10 else len(uri[1]) <= most
        assert width / height == pytest.approx(600 / 700, rel=0.02)


@pytest.mark.parametrize(("level", "shown"), [(-0.3, "0.0000"), (0.25, "0.2500"), (1.2, "1.0000")])
def test_a_level_is_drawn_within_its_bar(level: float, shown: str) -> None:
    assert f'<meter value="{shown}">' in Page("p").images([Tile(None, level=level)]).html()


def test_writing_replaces_the_old_page_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    Page("one").write(path)
    Page("two \udce9").write(path)
    assert "two" in path.read_text("utf-8")
    assert [entry.name for entry in path.parent.iterdir()] == ["page.html"]


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ConfigError, match="choose another place"):
        Page("one").write(tmp_path / "folder.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.html"]
