"""The web application: our routes and gradio's frame behind the guard."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from fastapi import FastAPI

from sslkit.retrieval.artifact import Index
from sslkit.runs.serving.desk import Desk
from sslkit.runs.serving.guard import Guard
from sslkit.runs.serving.page import HEAD, blocks, theme
from sslkit.runs.serving.routes import routes


def application(index: Index, *, token: str, port: int, model: str | Path | None = None) -> Guard:
    """The ASGI application of an index, for the server on a port of this machine."""
    desk = Desk(index, model)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, routes=[*routes(desk)])
    gr.mount_gradio_app(
        app,
        blocks(desk.facts()),
        path="/",
        theme=theme(),
        head=HEAD,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        allowed_paths=[],
        max_file_size=0,
    )
    return Guard(app, token, port)
