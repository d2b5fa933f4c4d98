"""`sslkit serve`: the page of an index on a port of this machine, until Ctrl-C."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sslkit.errors import ConfigError
from sslkit.retrieval.artifact import Index

if TYPE_CHECKING:
    from uvicorn import Server

HOST = "127.0.0.1"
_PATIENCE = 1  # seconds that open requests get at the end


def serve(
    index: str | Path,
    *,
    port: int = 0,
    model: str | Path | None = None,
    browser: bool = False,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve the page of an index to this machine alone, until the process is interrupted.

    port: 0 for a free one. model: the run or network that made the index; default: where it was then.
    browser: open the page. tell: gets the address with its token at the start, and a word at the end.
    Raises ConfigError when gradio is missing or the port is taken, ArtifactError for what is no index.
    """
    with Index.load(index) as opened, bound(port) as listening:
        server, address = prepared(opened, listening, model)
        tell(f"{len(opened):,} items of {index}: open {address}\nCtrl-C ends it")
        if browser:
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):  # uvicorn ends in order and hands it on
            server.run(sockets=[listening])
        tell("ended")


def prepared(index: Index, listening: socket.socket, model: str | Path | None) -> tuple[Server, str]:
    """The server of an index for a bound socket, and the address to open, with its token."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    try:
        import uvicorn

        from sslkit.runs.serving.app import application
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the page needs gradio, and {error.name} is not installed; pip install 'sslkit[ui]'"
        ) from error
    token, port = secrets.token_urlsafe(24), listening.getsockname()[1]
    config = uvicorn.Config(
        application(index, token=token, port=port, model=model),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_PATIENCE,
    )
    # Who is still waiting at the end is told so; that is no error of the server's.
    logging.getLogger("uvicorn.error").addFilter(lambda record: "graceful shutdown" not in str(record.msg))
    return uvicorn.Server(config), f"http://{HOST}:{port}/?token={token}"


def bound(port: int) -> socket.socket:
    """A socket on a port of this machine, 0 for a free one; ConfigError when it cannot be had."""
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()  # who asks before the server runs waits for it
    except (OSError, OverflowError) as error:
        listening.close()
        raise ConfigError(f"port {port} cannot be had ({error}); leave it out for a free one") from error
    return listening
