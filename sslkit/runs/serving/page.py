"""The page: a frame of gradio's, with the parts that our own scripts fill.

Nothing of it runs on the server: the controls hand their values to the scripts, which ask our routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import gradio as gr

from sslkit.retrieval.filters import COLUMNS
from sslkit.runs.serving.guard import OWN

_ASSETS = f"{OWN}assets"
HEAD = f'<link rel="stylesheet" href="{_ASSETS}/page.css"><link rel="icon" href="data:,">'

# A part asks for its script when gradio has put it on the page: the map, when its tab is first opened.
_STARTS = f"import('{_ASSETS}/page.js').then((page) => page.start(element))"
_TOLD = f"(...values) => import('{_ASSETS}/page.js').then((page) => page.conditions(values))"
_RESTORED = f"async () => (await import('{_ASSETS}/page.js')).restored()"


def blocks(facts: Mapping[str, Any]) -> gr.Blocks:
    """The page for an index, from what `Desk.facts` says of it."""
    page = gr.Blocks(title=f"{facts['name']} - sslkit", analytics_enabled=False)
    with page:
        _part("title")
        with gr.Tabs():
            with gr.Tab("Search"), gr.Row(equal_height=False):
                with gr.Column(scale=1, min_width=300):
                    _part("query")
                    with gr.Accordion("Conditions", elem_id="sslkit-conditions"):
                        _conditions(facts)
                with gr.Column(scale=3, min_width=300):
                    _part("results")
            with gr.Tab("Map"):
                _part("map")
    return page


def theme() -> gr.Theme:
    """Plain, and with the fonts of the machine: none is fetched."""
    return gr.themes.Base(
        primary_hue="blue",
        neutral_hue="zinc",
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    ).set(  # its own greys are too faint to read
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def _part(name: str) -> None:
    html = files("sslkit.runs.serving").joinpath("assets", f"{name}.html").read_text("utf-8")
    gr.HTML(html, js_on_load=_STARTS, apply_default_css=False)


def _conditions(facts: Mapping[str, Any]) -> None:
    """What is found, and how many: in the order that page.js has them."""
    columns = ", ".join((*COLUMNS, *facts["keys"]))
    number = gr.Slider(1, 200, value=24, step=1, label="Results")
    label = gr.Dropdown(
        [("any", ""), *facts["classes"]], value="", label="Label", visible=bool(facts["classes"]) or "hidden"
    )
    path = gr.Textbox(label="Path", placeholder="*/2024/*.jpg", max_lines=1)
    time = gr.Textbox(
        label="Seconds of the video", placeholder="3-5", max_lines=1, visible=facts["moments"] or "hidden"
    )
    where = gr.Textbox(
        label="Condition", placeholder="label = 'cat' AND id < 1000", max_lines=1, info=f"SQL, of {columns}"
    )
    exact = gr.Checkbox(label="Exact: compare with every vector")
    every: list[Any] = [number, label, path, time, where, exact]
    changes = [number.change, label.change, exact.change]
    changes += [event for text in (path, time, where) for event in (text.submit, text.blur)]
    gr.on(changes, None, every, js=_TOLD, queue=False, api_visibility="private")
    # page.js presses it when the way back leads to other conditions.
    restore = gr.Button("restore", elem_id="sslkit-restore", visible="hidden")
    restore.click(None, None, every, js=_RESTORED, queue=False, api_visibility="private")
