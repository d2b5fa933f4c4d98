"""Curves, classes, gaps and sheets of a transfer matrix."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.contracts import Curve
from sslkit.page import Page
from sslkit.runs.transfer_bench import row_folder
from sslkit.runs.transfer_pictures import add_classes, add_curves, add_gaps, add_sheets, band
from tests.runs.made_results import RUN, made


def curve(x: tuple[float, ...], y: tuple[float, ...]) -> Curve:
    return Curve(x, y, "x", "y")


def test_a_band_is_the_mean_and_the_range_of_the_seeds() -> None:
    x = (1.0, 5.0, 10.0)
    found = band([curve(x, (0.0, 0.5, 1.0)), curve(x, (0.2, 0.5, 0.4)), curve(x, (0.1, 0.2, 0.7))])
    assert found.x == list(x)
    assert found.y == pytest.approx([0.1, 0.4, 0.7])
    assert found.low == pytest.approx([0.0, 0.2, 0.4])
    assert found.high == pytest.approx([0.2, 0.5, 1.0])


def test_curves_over_other_x_are_read_off_where_all_are_known() -> None:
    found = band([curve((0.0, 1.0), (0.0, 1.0)), curve((0.2, 0.5, 2.0), (0.2, 0.5, 2.0))])
    assert (found.x[0], found.x[-1]) == (0.2, 1.0)
    assert found.y == pytest.approx(found.x)
    assert found.low == pytest.approx(found.high)


def test_a_curve_of_very_many_points_is_drawn_with_few() -> None:
    x = tuple(np.linspace(0, 1, 5000).tolist())
    found = band([curve(x, x)])
    assert len(found.x) == 201
    assert found.y == pytest.approx(found.x)


def test_every_curve_of_every_task_is_drawn_for_every_backbone() -> None:
    page = Page("p")
    add_curves(page, made(failing=[("few-shot", "random", -1)]))
    html = page.html()
    assert html.count("<svg") == 3
    assert html.count(f">{RUN}</text>") == 3
    assert html.count(">random</text>") == 2
    assert "<figcaption>verification: roc</figcaption>" in html
    none = Page("p")
    add_curves(none, made({"knn": ("top1", 0.4)}))
    assert "Curves" not in none.html()


def test_classes_are_means_over_seeds_beside_the_difference_and_long_tables_are_folded() -> None:
    results = made({"knn": ("top1", 0.4), "segmentation": ("miou", 0.3)}, seeds=2)
    rows = list(results.rows)
    rows[0] = replace(rows[0], per_class={**rows[0].per_class, "class 1": None})  # not drawn with this seed
    page = Page("p")
    add_classes(page, replace(results, rows=tuple(rows)))
    html = page.html()
    assert html.count("<details>") == 1
    assert "knn, 15 classes" in html
    first = rows[1].per_class["class 1"]
    base = np.mean(
        [row.per_class["class 1"] for row in rows if row.task == "knn" and row.subject == "random"]
    )
    assert first is not None
    line = re.search(r"<tr><td>class 1</td>(.*?)</tr>", html)
    assert line
    shown = re.findall(r">([-\d.]+)<", line[1])
    assert shown == [f"{value:.3f}" for value in (first, base, first - base)]


def test_the_gap_to_another_domain_is_the_mean_of_the_seeds_gaps() -> None:
    results = made({"detection": ("ap50", 0.5), "knn": ("top1", 0.4)}, seeds=3)
    page = Page("p")
    add_gaps(page, results)
    html = page.html()
    values = [row.value for row in results.of("detection", RUN)]
    gaps = [-0.4 * value for value in values if value is not None]
    assert f"{np.mean(gaps):+.3f}".replace("0.", ".") in html
    assert "real/photos" in html
    assert html.count("<td>detection</td>") == 2
    without = [
        replace(row, transfer={"figures": {"ap50": None}} if row.transfer else None) for row in results.rows
    ]
    page = Page("p")
    add_gaps(page, replace(results, rows=tuple(without)))
    assert html.count("–") == page.html().count("–") - 6  # noqa: RUF001
    none = Page("p")
    add_gaps(none, made({"knn": ("top1", 0.4)}))
    assert "domain" not in none.html()


def with_sheets(out: Path, count: int) -> tuple[Page, str]:
    """A page of sheets of noise for so many tasks, two backbones each."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 320, 3), np.uint8)
    results = made({f"task {n}": ("top1", 0.4) for n in range(count)}, seeds=2)
    rows = []
    for row in results.rows:
        if row.seed == 1:  # the first seed failed, say
            folder = row_folder(out, row.task, row.subject, row.seed)
            folder.mkdir(parents=True)
            Image.fromarray(noise).save(folder / "sheet.png")
            row = replace(row, sheet="sheet.png")
        rows.append(row)
    page = Page("p")
    add_sheets(page, replace(results, rows=tuple(rows)), out)
    return page, page.html()


def test_sheets_stand_side_by_side_and_the_page_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, html = with_sheets(tmp_path / "one", 1)
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert [Image.open(io.BytesIO(base64.b64decode(one))).size for one in pictures] == [(320, 400)] * 2
    assert f"{RUN}, seed 1: top1" in html
    monkeypatch.setattr("sslkit.runs.transfer_pictures._SHEET_BYTES", 480_000)
    _, many = with_sheets(tmp_path / "many", 4)
    assert many.count("<img") == 8
    assert len(many) < 482_000 + len(Page("p").html())


def test_a_sheet_that_is_gone_is_named(tmp_path: Path) -> None:
    results = made({"knn": ("top1", 0.4)}, seeds=1)
    rows = tuple(replace(row, sheet="sheet.png") for row in results.rows)
    page = Page("p")
    add_sheets(page, replace(results, rows=rows), tmp_path)
    assert f"knn on {RUN}: " in page.html()
    assert "sheet.png" in page.html()
    none = Page("p")
    add_sheets(none, results, tmp_path)
    assert "Predictions" not in none.html()
