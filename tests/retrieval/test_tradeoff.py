"""The table lines up and marks what was chosen; the picture draws every trial."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from sslkit.neighbours.plan import Effort
from sslkit.neighbours.trials import Trial
from sslkit.page import Page
from sslkit.retrieval.tradeoff import figure, picture, table

FLAT = Trial("flat", "Flat", None, 200_000, 1.0, 1.0, 1.0, 5.25, 0.7, 200_000 * 512, 0.0)
LISTS = Trial(
    *("ivf_sq8", "IVF1024,SQ8", Effort(probes=4, candidates=2), 200_000, 0.91, 0.9, 0.92),
    *(0.125, 0.05, 26 << 20, 3.25),
)
MORE = replace(
    LISTS, effort=Effort(probes=16, candidates=4), recall=0.97, low=0.965, high=0.975, milliseconds=0.25
)
GRAPH = replace(
    LISTS, kind="hnsw", factory="HNSW32,Flat", effort=Effort(ef_search=64), rows=50_000, recall=0.99
)
TRIALS = (FLAT, LISTS, replace(MORE, chosen=True, note="one query takes too long"), GRAPH)


def test_columns_line_up_and_an_arrow_marks_the_chosen_row() -> None:
    lines = table(TRIALS, 10).splitlines()
    assert [line.startswith("->") for line in lines] == [False, False, False, True, False, False]
    assert lines[-1] == "note: one query takes too long"
    end = lines[0].index("recall@10") + len("recall@10")
    assert [line[:end].split()[-1] for line in lines[1:5]] == ["1.0000", "0.9100", "0.9700", "0.9900"]
    assert all(len(line) == len(lines[0]) for line in lines[1:5])


def test_a_row_says_what_was_measured() -> None:
    row = table(TRIALS, 10).splitlines()[3]
    for part in ("IVF1024,SQ8", str(MORE.effort), "200,000", "0.9650-0.9750", "0.250", "26.0", "3.2"):
        assert part in row
    assert "exact" in table(TRIALS, 10).splitlines()[1]


def test_every_structure_has_a_line_and_the_chosen_trial_a_ring() -> None:
    axes = figure(TRIALS, 10, 0.95).axes[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["Flat", "IVF1024,SQ8", "HNSW32,Flat on 50,000"]
    drawn = [list(zip(*line.get_data(), strict=True)) for line in axes.lines]
    assert drawn[:3] == [[(5.25, 1.0)], [(0.125, 0.91), (0.25, 0.97)], [(0.125, 0.99)]]
    assert drawn[-1] == [(0.25, 0.97)]
    np.testing.assert_array_equal(axes.lines[3].get_ydata(), 0.95)
    assert {text.get_text() for text in axes.texts} == {"asked: 0.95", "chosen"}
    assert axes.get_xscale() == "log"


def test_the_picture_is_dark_on_white_and_fits_a_page() -> None:
    image = np.asarray(Image.open(io.BytesIO(picture(TRIALS, 10, 0.95))).convert("L"))
    assert image[0].min() == 255
    assert image.min() < 40
    assert "<svg" in Page("an index").figure(figure(TRIALS, 10, 0.95)).html()
