"""The page of a transfer matrix answers first, warns before any score, and stands alone."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sslkit.cli.app import app
from sslkit.errors import ConfigError
from sslkit.evaluation.transfer_results import Overlap, TransferResults
from sslkit.runs.transfer_report import evaluate_command, warnings, write_transfer_report
from tests.runs.made_results import RUN, made, seen

LONG = "図-très-long-name-of-a-network-that-never-ends"
MANY = {f"task-{n}-{'x' * n}": (("epe", 3.0), ("top1", 0.4))[n % 2] for n in range(12)}
FOUR = (RUN, "random", "resnet18.a1_in1k", LONG)


class Balanced(HTMLParser):
    """Refuses tags that are not closed where they should be, and anything that is fetched."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name, value in attrs:
            if name in ("src", "href", "xlink:href"):
                assert value is not None
                assert value.startswith(("data:", "#"))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass


def page_of(results: TransferResults, out: Path) -> str:
    path = write_transfer_report(results, out)
    assert path == out / "report.html"
    html = path.read_text("utf-8")
    Balanced(html)
    return html


def test_the_answer_comes_first_and_every_section_in_its_place(tmp_path: Path) -> None:
    html = page_of(made(overlaps=(seen(),)), tmp_path)
    headings = re.findall(r"<h[12]>(.*?)</h", html)
    assert headings == [
        f"Did pretraining help {RUN}?",
        "The matrix",
        "Differences",
        "Curves",
        "From one domain to another",
        "Class by class",
        "What it cost",
        "What was measured",
        "To repeat it",
    ]
    top = html.partition("<h2>")[0]
    assert "<li>Pretraining helped on " in top
    assert "<dt>better than random</dt><dd>" in top


def test_what_was_seen_before_is_told_before_any_score(tmp_path: Path) -> None:
    gone = Overlap(RUN, "detection", reason="the folder <photos> is gone")
    overlaps = (seen(), seen("few-shot"), gone, Overlap(RUN, "verification"))
    html = page_of(made(overlaps=overlaps), tmp_path)
    body = html.partition("<header>")[2]
    warning = body.index(f"<b>Warning</b> {RUN} was pretrained on 12.5% of the test samples of knn, few-shot")
    assert warning < body.index("<li>Pretraining helped")
    matrix = body.index("The matrix")
    assert body.index("test/19.jpg") < matrix
    assert "test/20.jpg" not in body
    assert (
        body.index("samples of detection before could not be found out: the folder &lt;photos&gt;") < matrix
    )
    assert body.index("No test sample of 1 task was found") < matrix
    assert warnings(made()) == []
    assert "Warning" not in page_of(made(), tmp_path)


@pytest.mark.parametrize(
    "results",
    [
        made(MANY, FOUR),
        made(subjects=(RUN,)),
        made(seeds=1),
        made({"knn": ("top1", 0.4)}, failing=[("knn", RUN, -1), ("knn", "random", -1)]),
        replace(made(), rows=tuple(row for row in made().rows if (row.subject, row.seed) != ("random", 2))),
        replace(made(), rows=(), seconds={}),
        made({}),
    ],
    ids=["12 tasks x 4", "alone", "one seed", "all failed", "a seed missing", "no rows", "no tasks"],
)
def test_whatever_was_found_makes_a_page(results: TransferResults, tmp_path: Path) -> None:
    html = page_of(results, tmp_path)
    assert len(html) < 1_500_000
    assert "nan" not in re.sub(r"<svg.*?</svg>|<style>.*?</style>", "", html, flags=re.DOTALL).lower()


def test_the_commands_repeat_the_whole_and_each_task(tmp_path: Path) -> None:
    results = made({"detection": ("ap50", 0.4), "knn": ("top1", 0.4)}, seeds=2)
    html = page_of(results, tmp_path)
    assert results.command in html
    words = shlex.split(evaluate_command(results, "detection"))
    assert words[:3] == ["sslkit", "evaluate", f"runs/{RUN}"]
    assert "training.steps=500" in words
    options = dict(zip(words[4::2], words[5::2], strict=True))
    assert options == {
        "--data": "shapes:count=600",
        "--head": "detection",
        "--transfer-to": "real/photos",
        "--protocol": "detection-1",
        "--seed": "0",
        "--seeds": "2",
    }
    command = __import__("typer").main.get_command(app).commands["evaluate"]  # the options are real ones
    command.make_context("evaluate", words[2:])
    assert "detection-1@0123456789ab: Chen et al. 2020, A &lt;Simple&gt; Framework" in html


def test_results_md_has_the_answer_the_matrix_and_the_warnings(tmp_path: Path) -> None:
    page_of(made(overlaps=(seen(),), failing=[("knn", RUN, -1)]), tmp_path)
    text = (tmp_path / "results.md").read_text("utf-8")
    assert (
        text.index("**Warning**") < text.index("- Pretraining helped on ") < text.index("| task | metric |")
    )
    assert "[1] the head of knn needs stride 4" in text
    assert "    sslkit transfer " in text


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(ConfigError, match="choose another place"):
        write_transfer_report(made({"knn": ("top1", 0.4)}), tmp_path)


FRAMES = """<!doctype html><body><script>
addEventListener("message", event => { document.title += event.data + "; "; });
</script>{frames}</body>"""
SEND = """<script>addEventListener("load", () => {
  const own = document.documentElement, parts = "h1,h2,p,li,dd,.strip,figure,summary";
  const wide = [...document.querySelectorAll(parts)]
    .filter(one => one.getBoundingClientRect().right > own.clientWidth + 0.5 && !one.closest(".wide"));
  parent.postMessage(`${innerWidth}: ${own.scrollWidth - own.clientWidth} + ${wide.length}`, "*");
});</script></body>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here to show the page")
def test_a_browser_shows_the_page_without_scrolling_sideways(tmp_path: Path) -> None:
    html = page_of(made(MANY, FOUR, seeds=1, overlaps=(seen("task-1-x"),)), tmp_path)
    html = html.replace("<details>", "<details open>").replace("</body>", SEND)
    source = html.replace("&", "&amp;").replace('"', "&quot;")
    frames = "".join(
        f'<iframe style="width:{width}px;height:800px;border:0" srcdoc="{source}"></iframe>'
        for width in (380, 1280)
    )
    (tmp_path / "framed.html").write_text(FRAMES.replace("{frames}", frames), "utf-8")
    shown = subprocess.run(
        [
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            (tmp_path / "framed.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told = shown.stdout[shown.stdout.index("<title>") : shown.stdout.index("</title>")]
    assert "380: 0 + 0;" in told
    assert "1280: 0 + 0;" in told
    assert ":CONSOLE" not in shown.stderr
