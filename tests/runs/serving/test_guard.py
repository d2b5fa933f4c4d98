"""The guard by itself, before an application that would give everything away."""

import asyncio
from typing import Any

import pytest

from sslkit.runs.serving.guard import Guard

TOKEN = "secret"


def asked(
    path: str, *, kind: str = "http", method: str = "GET", query: str = "", **headers: str
) -> list[dict[str, Any]]:
    """The messages that a request gets for an answer."""
    sent: list[dict[str, Any]] = []
    reached: list[bytes] = []

    async def generous(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["query_string"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"everything"})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    named = {"host": "127.0.0.1:80", "cookie": f"sslkit-80={TOKEN}"} | headers
    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()],
    }
    asyncio.run(Guard(generous, TOKEN, 80)(scope, receive, send))
    assert reached in ([], [b""]), "the token is nobody else's business"
    return sent


def status(*given: Any, **how: Any) -> int:
    return int(asked(*given, **how)[0]["status"])


def test_what_the_page_needs_comes_through() -> None:
    for path in ("/", "/assets/a.js", "/static/a.svg", "/theme.css", "/sslkit/anything"):
        assert status(path) == 200
        assert status(path, cookie="", query=f"token={TOKEN}") == 200
    assert status("/sslkit/search", method="POST", origin="http://127.0.0.1:80") == 200


def test_nothing_else_does() -> None:
    for path in (
        "/config",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/upload",
        "/sslkit",
        "//",
        "",
        "/assets/../x",
    ):
        assert status(path) == 404
    for path in ("/assets/a.js", "/", "/gradio_api/queue/join"):
        assert status(path, method="POST", origin="http://127.0.0.1:80") == 404
    for path in ("/assets/..\\x", "/assets/a\0b", "/sslkit/../config"):
        assert status(path) == 404


def test_a_socket_is_closed_at_once() -> None:
    for query in ("", f"token={TOKEN}"):
        assert asked("/", kind="websocket", query=query) == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("token", ["", "Secret", "secre", "secrets", "sécret", "\udcff", "%ff"])
def test_a_token_that_is_nearly_right_is_wrong(token: str) -> None:
    query = f"token={token}".encode("utf-8", "surrogatepass").decode("latin-1")
    assert status("/", cookie="", query=query) == 403


def test_a_post_without_an_origin_is_refused_even_with_the_token() -> None:
    assert status("/sslkit/search", method="POST") == 403
    assert status("/sslkit/search", method="POST", query=f"token={TOKEN}") == 403


def test_the_refused_get_no_cookie() -> None:
    for how in ({"host": "evil"}, {"origin": "http://evil"}):
        start = asked("/", query=f"token={TOKEN}", **how)[0]
        assert start["status"] in (403, 421)
        assert b"set-cookie" not in dict(start["headers"])
