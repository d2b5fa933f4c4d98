"""Nobody but the one with the token gets anything, and that one nothing but the index."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.runs.serving.uploads import MOST_BYTES

OURS = (
    "/sslkit/facts",
    "/sslkit/map",
    "/sslkit/items/0",
    "/sslkit/items/0/tile",
    "/sslkit/items/0/whole",
    "/sslkit/assets/page.js",
)
FRAME = ("/", "/theme.css", "/config", "/favicon.ico", "/gradio_api/info", "/gradio_api/queue/data")
# What gradio would answer, were it asked.
CLOSED = (
    "/config",
    "/openapi.json",
    "/docs",
    "/monitoring",
    "/robots.txt",
    "/manifest.json",
    "/login_check",
    "/gradio_api/info",
    "/gradio_api/openapi.json",
    "/gradio_api/app_id",
    "/gradio_api/queue/data?session_hash=a",
    "/gradio_api/heartbeat/a",
    "/gradio_api/startup-events",
    "/gradio_api/upload_progress?upload_id=a",
    "/gradio_api/deep_link?session_hash=a",
    "/gradio_api/proxy=https://example.org/",
    "/gradio_api/vibe-code/",
    "/gradio_api/runs",
    "/gradio_api/file=/etc/passwd",
    "/gradio_api/file/etc/passwd",
    "/gradio_api/file=%2Fetc%2Fpasswd",
    "/gradio_api/file=..%2F..%2F..%2F..%2Fetc%2Fpasswd",
    "/file=/etc/passwd",
    "/custom_component/a/client/component/../../../../etc/passwd",
)
TRAVERSALS = (
    "/assets/../../../../../../../../../etc/passwd",
    "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/assets//etc/passwd",
    "/assets/%2fetc%2fpasswd",
    "/static/..%5c..%5c..%5c..%5cetc%5cpasswd",
    "/static/../assets/../../../../routes.py",
    "/svelte/../../../../../etc/passwd",
    "/sslkit/assets/../../../../../../../etc/passwd",
    "/sslkit/assets/..%2fdesk.py",
    "/sslkit/assets/%2fetc%2fpasswd",
    "/sslkit/assets/query.html",
    "/sslkit/pictures/..%2f..%2fetc%2fpasswd",
    "/sslkit/pictures/%2fetc%2fpasswd",
    "/sslkit/items/..%2f0/tile",
    "/sslkit/items/-1/tile",
    "/sslkit/items/0x0/tile",
    "/sslkit/items/99999999999999999999999/tile",
    "/sslkit/items/%D9%A3/tile",  # a digit, but no number of ours
    "/sslkit/items/left%2f00.png/tile",
)


@pytest.mark.parametrize("path", [*OURS, *FRAME])
def test_without_the_token_nothing_is_answered(served, path: str) -> None:
    for wrong in ("", "?token=", "?token=wrong", f"?token={served.token[:-1]}", f"?other={served.token}"):
        status, content, headers = served.ask(path + wrong, token=False)
        assert status == 403
        assert b"sslkit serve" in content
        assert "set-cookie" not in headers
    for cookie in ("", "x", f"sslkit-{served.port}=wrong", f"sslkit-1={served.token}", '="; =;;'):
        assert served.ask(path, token=False, headers={"Cookie": cookie})[0] == 403


@pytest.mark.parametrize("path", ["/sslkit/search", "/sslkit/pictures", "/gradio_api/upload"])
def test_without_the_token_nothing_is_taken(served, path: str) -> None:
    assert served.ask(path, method="POST", body=b"{}", token=False)[0] == 403


def test_the_token_in_the_address_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(served) -> None:
    status, content, headers = served.ask(f"/?token={served.token}", token=False)
    assert status == 200
    assert b"gradio-app" in content
    name, _, rest = headers["set-cookie"].partition("=")
    assert name == f"sslkit-{served.port}"
    assert set(rest.split("; ")) == {served.token, "Path=/", "HttpOnly", "SameSite=Strict"}
    assert "set-cookie" not in served.ask("/")[2]
    assert served.token.encode() not in content


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "localhost", "0.0.0.0:{port}", "127.0.0.1:1", ""]
)
def test_another_name_for_this_machine_is_refused(served, host: str) -> None:
    for path in (f"/?token={served.token}", "/sslkit/facts"):
        status, content, headers = served.ask(path, headers={"Host": host.format(port=served.port)})
        assert status in (400, 421)
        assert b"photos" not in content
        assert "set-cookie" not in headers


def test_two_names_at_once_are_refused(served) -> None:
    assert served.ask("/sslkit/facts", headers={"host": "evil.example"})[0] in (400, 421)


def test_localhost_is_a_name_of_this_machine(served) -> None:
    assert served.ask("/sslkit/facts", headers={"Host": f"localhost:{served.port}"})[0] == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://localhost:{port}",
        "https://127.0.0.1:{port}",
        "",
    ],
)
def test_a_page_of_another_origin_can_send_nothing(served, origin: str) -> None:
    headers = {"Origin": origin.format(port=served.port)}
    asked = {"item": 0}
    assert served.ask("/sslkit/search", method="POST", body=asked, headers=headers)[0] == 403
    assert served.ask("/sslkit/facts", headers=headers)[0] == 403


def test_a_browser_that_says_that_another_site_asks_is_believed(served) -> None:
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site}
        assert served.ask("/sslkit/items/0/tile", headers=headers)[0] == 403
        assert served.ask("/", headers=headers)[0] == 403
        # Someone clicked the address in a page: it has the token.
        assert served.ask(f"/?token={served.token}", headers=headers, token=False)[0] == 200
    assert served.ask("/sslkit/facts", headers={"Sec-Fetch-Site": "same-origin"})[0] == 200


@pytest.mark.parametrize("path", CLOSED)
def test_no_route_of_gradio_that_gives_or_takes_is_open(served, path: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        status, content, _ = served.ask(path, method=method, body=b"{}" if method == "POST" else None)
        assert status == 404
        assert b"root:" not in content


def test_nothing_can_be_uploaded_to_gradio_and_fetched(served, tmp_path: Path) -> None:
    parts = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhello\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for path in ("/gradio_api/upload", "/upload", "/gradio_api/upload?upload_id=1"):
        assert served.ask(path, method="POST", body=parts, headers=headers)[0] == 404
    for path in ("/gradio_api/run/predict", "/gradio_api/queue/join", "/gradio_api/call/v2/x", "/login"):
        assert served.ask(path, method="POST", body={"data": []})[0] == 404


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_way_leads_out(served, path: str) -> None:
    status, content, _ = served.ask(path)
    assert status in (400, 403, 404)
    assert b"root:" not in content
    assert b"import" not in content


def test_an_indexed_name_that_points_elsewhere_gives_no_file(served) -> None:
    """Pictures are given by id, made anew from pixels; even an indexed file never comes as it is."""
    given = served.ask("/sslkit/items/0/tile")[1]
    assert given[:3] == b"\xff\xd8\xff"
    assert given != (served.photos / served.index.items([0])[0].name).read_bytes()


def test_every_answer_forbids_what_is_not_needed(served) -> None:
    for path in ("/", "/sslkit/facts", "/nothing", "/sslkit/items/0/tile"):
        headers = served.ask(path)[2]
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert "uvicorn" not in headers.get("server", "")


def test_where_the_data_lie_is_told_to_nobody(served) -> None:
    told = served.ask("/sslkit/items/0")[1] + served.ask("/sslkit/search", method="POST", body={"item": 0})[1]
    assert str(served.photos).encode() not in told


@pytest.mark.parametrize("content", [b"", b"no picture", b"GIF89a", b"%!PS-Adobe", b"<svg xmlns='a'/>"])
def test_what_is_no_picture_is_refused_in_words(served, content: bytes) -> None:
    status, answer, _ = served.ask("/sslkit/pictures", method="POST", body=content)
    assert status == 400
    assert json.loads(answer)["error"]


def test_a_picture_of_too_many_bytes_is_not_read_to_the_end(served) -> None:
    status, answer, _ = served.ask("/sslkit/pictures", method="POST", body=b"\0" * (MOST_BYTES + 1))
    assert status == 413
    assert "make it smaller" in json.loads(answer)["error"]


def test_a_small_file_of_too_many_pixels_is_not_decoded(served) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((9000, 9000), np.uint8)).save(stream, "PNG")
    status, answer, _ = served.ask("/sslkit/pictures", method="POST", body=stream.getvalue())
    assert status == 400
    assert "9000 x 9000" in json.loads(answer)["error"]


def test_a_search_that_is_too_long_is_refused(served) -> None:
    asked = {"item": 0, "where": "1" * 70000}
    assert served.ask("/sslkit/search", method="POST", body=asked)[0] == 413


def test_other_methods_do_nothing(served) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        for path in ("/", "/sslkit/search", "/sslkit/items/0", "/assets/"):
            assert served.ask(path, method=method)[0] in (403, 404, 405)
