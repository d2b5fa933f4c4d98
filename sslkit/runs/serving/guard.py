"""Who may ask the server, and what for: who has the token, from this machine, for what the page needs."""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OWN = "/sslkit/"
"""Where our own routes lie."""

# Of gradio's routes these, for reading: its page, scripts and styles. What its controls do is done in the
# browser, so that none which takes, runs or gives away anything has to be open.
_FRAME = ("/", "/theme.css", "/favicon.ico")
_FRAME_FOLDERS = ("/assets/", "/static/")
_READING = ("GET", "HEAD")

_HEADERS = {
    # The frame runs scripts of its own; nothing is loaded from, or sent to, another host.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; "
    "manifest-src 'none'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """Lets through what carries the token, in the address (`?token=...`) or in the cookie that it sets then.

    The Host header must name this machine, so that no foreign name can be made to lead here (DNS rebinding);
    pages of other origins, those of other servers on this machine too, can neither read nor send.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._cookie = f"sslkit-{port}"  # the ports of a host share their cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._guarded(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        addressed = self._is_token(parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0])

        async def send_kept(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers.update(_HEADERS)
                if addressed:
                    cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
                    headers.append("set-cookie", cookie)
            await send(message)

        refused = self._refused(scope, Headers(scope=scope), addressed=addressed)
        if refused is not None:
            addressed = False
            await refused(scope, receive, send_kept)
        else:
            await self._app({**scope, "query_string": b""}, receive, send_kept)

    def _refused(self, scope: Scope, headers: Headers, *, addressed: bool) -> PlainTextResponse | None:
        reading, path = scope["method"] in _READING, str(scope["path"])
        hosts, origin = headers.getlist("host"), headers.get("origin")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return PlainTextResponse("this server is 127.0.0.1 and has no other name\n", 421)
        if not addressed and not self._remembered(headers):
            return PlainTextResponse(
                "open this page with the address that `sslkit serve` printed, with its token\n", 403
            )
        # Older browsers do not tell where a request comes from; all of them name the origin of a POST.
        foreign = headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
        if (foreign and not (addressed and reading)) or origin not in (
            *([None] if reading else []),
            f"http://{hosts[0]}",
        ):
            return PlainTextResponse("asked by a page of another origin\n", 403)
        if not _is_needed(path, reading=reading):
            return PlainTextResponse("there is nothing here\n", 404)
        return None

    def _remembered(self, headers: Headers) -> bool:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return cookie is not None and self._is_token(cookie.value)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._token.encode())


def _is_needed(path: str, *, reading: bool) -> bool:
    if "\\" in path or "\0" in path or ".." in path.split("/"):
        return False
    return path.startswith(OWN) or (reading and (path in _FRAME or path.startswith(_FRAME_FOLDERS)))
