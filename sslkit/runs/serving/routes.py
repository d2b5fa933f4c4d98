"""Our own routes: what the page reads and asks, as JSON, JPEG and packed numbers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sslkit.errors import ConfigError, DataError, SslkitError
from sslkit.runs.serving.asking import asked_of
from sslkit.runs.serving.desk import Desk
from sslkit.runs.serving.guard import OWN
from sslkit.runs.serving.threads import in_thread
from sslkit.runs.serving.uploads import MOST_BYTES

_ASSETS = {
    name: f"text/{'css' if name.endswith('.css') else 'javascript'}"
    for name in ("page.css", "page.js", "asking.js", "query.js", "results.js", "map.js", "points.js")
}
_MOST_ASKED = 65536  # bytes of a search; a picture has its own bound
_KEPT = {"cache-control": "private, max-age=300"}
_FRESH = {"cache-control": "no-store"}

Work = Callable[[Request, bytes], Response]


def routes(desk: Desk) -> list[Route]:
    """The routes of one index; each answers in a thread of its own."""
    return [
        _route("facts", lambda request, _: _json(desk.facts())),
        _route("map", lambda request, _: _map(desk)),
        _route("items/{id}", lambda request, _: _json(desk.described(_id(request)))),
        _route("items/{id}/tile", lambda request, _: _jpeg(desk.tile(_id(request)))),
        _route("items/{id}/whole", lambda request, _: _jpeg(desk.whole(_id(request)))),
        _route(
            "pictures/{key}", lambda request, _: _jpeg(desk.uploads.get(request.path_params["key"]).shown)
        ),
        _route("assets/{name}", lambda request, _: _asset(request.path_params["name"])),
        _route("search", lambda _, body: _json(desk.search(asked_of(_parsed(body)))), takes=_MOST_ASKED),
        _route("pictures", lambda _, body: _json({"picture": desk.uploads.keep(body).key}), takes=MOST_BYTES),
    ]


def _route(path: str, work: Work, *, takes: int = 0) -> Route:
    """A route that reads, or one that takes a body of at most so many bytes."""

    def answered(request: Request, body: bytes) -> Response:
        try:
            return work(request, body)
        except SslkitError as error:
            return _json({"error": str(error)}, status=400 if takes else 404)

    async def endpoint(request: Request) -> Response:
        try:
            body = await _body(request, takes) if takes else b""
        except DataError as error:
            return _json({"error": str(error)}, status=413)
        try:
            return await in_thread(partial(answered, request, body))
        except asyncio.CancelledError:  # Ctrl-C, and this takes longer than anyone waits
            return _json({"error": "the server was ended"}, status=503)

    served: Callable[[Request], Awaitable[Response]] = endpoint
    return Route(OWN + path, served, methods=["POST" if takes else "GET"])


async def _body(request: Request, most: int) -> bytes:
    """What was sent; DataError as soon as it is too much."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise DataError(f"more than {most} bytes were sent; make it smaller")
    return bytes(body)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"what was sent is no JSON: {error}") from error


def _id(request: Request) -> int:
    text = str(request.path_params["id"])
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ConfigError(f"{text[:40]!r} is no id; ids are whole numbers")
    return int(text)


def _json(plain: Any, status: int = 200) -> Response:
    # Escaped, because names may hold bytes that are no text.
    return Response(json.dumps(plain), status, media_type="application/json", headers=_FRESH)


def _jpeg(content: bytes) -> Response:
    return Response(content, media_type="image/jpeg", headers=_KEPT)


def _map(desk: Desk) -> Response:
    made = desk.map()
    headers = {**_FRESH, "x-count": str(len(made.ids)), "x-described": made.described}
    return Response(made.to_bytes(), media_type="application/octet-stream", headers=headers)


def _asset(name: str) -> Response:
    if name not in _ASSETS:
        raise DataError("there is no such file")
    content = files("sslkit.runs.serving").joinpath("assets", name).read_bytes()
    return Response(content, media_type=_ASSETS[name], headers=_FRESH)
